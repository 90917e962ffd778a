"""Compare the held-out perplexities of the candidate, its base and released versions.

Scope: the comparison and its two claims. Out of scope: computing perplexity
(`likelihood/perplexity.py`) and choosing the passages to read (`sequential_plan.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twin_assets.evaluation.likelihood import perplexity, sample_likelihoods
from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext
from twin_assets.evaluation.statistics.bootstrap import LEVEL, Interval
from twin_resources.registry.moves import MAX_RATIO_TO_INCUMBENT, GateClaim

if TYPE_CHECKING:
    from twin_assets.evaluation.evaluation_spec import EvaluatedModel, EvaluationSpec
    from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood
    from twin_assets.evaluation.likelihood.sample_likelihoods import LikelihoodsByModel

BEATS_BASE, NOT_WORSE = "beats_base_model", "not_worse_than_incumbent"
MIN_PASSAGES = 30
INCUMBENT_RATIO_LIMIT = 1.05


@dataclass(frozen=True)
class PerplexityRatio:
    """Perplexity of the candidate divided by another model's, on the same passages.

    Attributes:
        name: name of the other model.
        perplexity: perplexity of the other model.
        ratio, low, high: the ratio with its interval at `level`; below 1 the candidate is better.
        level: 0.95, or more if there were interim looks before all passages were read.
        passages: number of passages read, or None for all.
    """

    name: str
    perplexity: float
    ratio: float
    low: float
    high: float
    level: float = LEVEL
    passages: int | None = None


@dataclass(frozen=True)
class HeldOutPerplexity:
    """Perplexities on held-out passages.

    Attributes:
        passages: number of held-out passages that are not in any compared training set.
        perplexity: perplexity of the candidate, or None if there are too few passages.
        base: ratio to the base, or None if there are too few passages.
        incumbent: ratio to the stable version, or None if there are too few passages or no version
            is stable.
        incumbent_name: for example `v3`; empty if no version is stable.
        best: ratio to the best version ever released, or None if that is the incumbent.
        best_name: for example `v1`; empty if there is none or it is the incumbent.
    """

    passages: int
    perplexity: float | None
    base: PerplexityRatio | None
    incumbent: PerplexityRatio | None
    incumbent_name: str
    best: PerplexityRatio | None = None
    best_name: str = ""

    @property
    def released_ratios(self) -> dict[str, PerplexityRatio | None]:
        """Ratios to the released versions that the candidate is compared with, by name."""
        pairs = ((self.incumbent_name, self.incumbent), (self.best_name, self.best))
        return {name: ratio for name, ratio in pairs if name}


def build_few_passages_claim(name: str, passage_count: int, threshold: float | None) -> GateClaim:
    """Return a claim that is undecided because there are too few passages."""
    detail = (
        f"not decided: {passage_count} held-out passages, but {MIN_PASSAGES} are needed; "
        "import more posts, or release a version manually"
    )
    return GateClaim(name, None, None, threshold, detail)


def compare_perplexities(
    spec: EvaluationSpec, likelihoods: LikelihoodsByModel
) -> HeldOutPerplexity:
    """Compare the candidate with the other models, on the passages that were read."""
    candidate = likelihoods.get_held_out(spec.candidate.name)
    return HeldOutPerplexity(
        passages=likelihoods.samples.held_out_count,
        perplexity=candidate.perplexity if candidate else None,
        base=_compare_with(spec.base, likelihoods, candidate),
        incumbent=_compare_with(spec.incumbent, likelihoods, candidate),
        incumbent_name=spec.incumbent.name if spec.incumbent else "",
        best=_compare_with(spec.best, likelihoods, candidate),
        best_name=spec.best.name if spec.best else "",
    )


def is_decided(comparison: HeldOutPerplexity) -> bool:
    """Return whether the intervals show that further passages would not change any claim.

    If the incumbent's interval ends between `MAX_RATIO_TO_INCUMBENT` and the claim's limit, it
    remains open whether a release needs a trial.
    """
    limit = INCUMBENT_RATIO_LIMIT
    limits = (
        (comparison.base, 1.0, 1.0),
        (comparison.incumbent, MAX_RATIO_TO_INCUMBENT, limit),
        (comparison.best, limit, limit),
    )
    return all(
        ratio.high < pass_limit or ratio.low > fail_limit
        for ratio, pass_limit, fail_limit in limits
        if ratio is not None
    )


def _compute(context: MeasureContext) -> HeldOutPerplexity:
    return compare_perplexities(context.spec, context.likelihoods)


def _compare_with(
    other: EvaluatedModel | None,
    likelihoods: LikelihoodsByModel,
    candidate: AnswerLikelihood | None,
) -> PerplexityRatio | None:
    if other is None or candidate is None:
        return None
    other_likelihood = likelihoods.get_held_out(other.name)
    if other_likelihood is None:
        return None
    documents = sample_likelihoods.document_ids(likelihoods.samples.held_out)
    ratio = perplexity.perplexity_ratio(
        candidate, other_likelihood, documents=documents, level=likelihoods.level
    )
    return PerplexityRatio(
        other.name,
        other_likelihood.perplexity,
        ratio.value,
        ratio.low,
        ratio.high,
        level=likelihoods.level,
        passages=len(documents),
    )


def _decide_beats_base(comparison: HeldOutPerplexity) -> GateClaim:
    ratio = comparison.base
    if ratio is None:
        return build_few_passages_claim(BEATS_BASE, comparison.passages, 1.0)
    detail = (
        f"held-out perplexity {comparison.perplexity:.2f}, base model {ratio.perplexity:.2f}: "
        f"{_format_change(ratio)} on {_describe_passages(comparison, ratio)} passages"
    )
    return GateClaim(BEATS_BASE, ratio.high < 1.0, ratio.ratio, 1.0, detail)


def _decide_not_worse(comparison: HeldOutPerplexity) -> GateClaim:
    released_ratios, limit = comparison.released_ratios, INCUMBENT_RATIO_LIMIT
    if not released_ratios:
        detail = "no incumbent: no version is stable yet"
        return GateClaim(NOT_WORSE, True, None, limit, detail)
    ratios = [ratio for ratio in released_ratios.values() if ratio is not None]
    if len(ratios) < len(released_ratios):
        return build_few_passages_claim(NOT_WORSE, comparison.passages, limit)
    intro = f"held-out perplexity {comparison.perplexity:.2f}"
    parts = [f"{other.name} {other.perplexity:.2f}: {_format_change(other)}" for other in ratios]
    if comparison.best is not None:
        parts[-1] = f"best released version {parts[-1]}"
    is_met = all(other.high <= limit for other in ratios)
    # a release without a trial has a stricter limit on the interval to the stable version
    incumbent = comparison.incumbent
    reported_ratio = incumbent or ratios[0]
    passages = _describe_passages(comparison, reported_ratio)
    return GateClaim(
        NOT_WORSE,
        is_met,
        reported_ratio.ratio,
        limit,
        f"{'; '.join([intro, *parts])} on {passages} passages",
        high=incumbent.high if incumbent else None,
        beside=incumbent.name if incumbent else "",
    )


def _describe_passages(comparison: HeldOutPerplexity, ratio: PerplexityRatio) -> str:
    """Return the number of passages as text: `48`, or `30 of 48` if the first 30 decided."""
    if ratio.passages is None or ratio.passages == comparison.passages:
        return str(comparison.passages)
    return f"{ratio.passages} of {comparison.passages}"


def _format_change(ratio: PerplexityRatio) -> str:
    return Interval(ratio.ratio, ratio.low, ratio.high).describe_change(ratio.level)


MEASURE = Measure(
    name="held_out_perplexity",
    value_type=HeldOutPerplexity,
    compute=_compute,
    needs_no_answers=True,
    claims=(
        ClaimRule(
            BEATS_BASE,
            "The held-out perplexity is below the base model's over the whole 95 % interval.",
            _decide_beats_base,
            is_in_first_verdict=True,
        ),
        ClaimRule(
            NOT_WORSE,
            "The held-out perplexity is at most 5 % above that of the stable version and that of "
            "the best released version, over the whole 95 % interval.",
            _decide_not_worse,
            is_in_first_verdict=True,
        ),
    ),
    is_flat=True,
)
