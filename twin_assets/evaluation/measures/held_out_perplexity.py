"""Held-out perplexity of the candidate beside the base's and those of released versions.

Scope: the comparison, its two claims, its table. Out of scope: perplexity as such
(`likelihood/perplexity.py`), which passages are read (`sequential_plan.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twin_assets.evaluation.likelihood import perplexity, sample_likelihoods
from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext
from twin_assets.evaluation.statistics.bootstrap import LEVEL
from twin_resources.registry.moves import MAX_RATIO_TO_INCUMBENT, GateClaim

if TYPE_CHECKING:
    from twin_assets.evaluation.evaluation_spec import EvaluatedModel, EvaluationSpec
    from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood
    from twin_assets.evaluation.likelihood.sample_likelihoods import LikelihoodsByModel

BEATS_BASE, NOT_WORSE = "beats_base_model", "not_worse_than_incumbent"
MIN_PASSAGES = 30
WORSE_THAN_INCUMBENT_BY = 1.05


@dataclass(frozen=True)
class PerplexityRatio:
    """Perplexity of the candidate divided by another model's, on the same passages.

    Attributes:
        name: of the other model.
        perplexity: of the other model.
        ratio, low, high: below 1 the candidate is better; an interval at `level`.
        level: .95; more where the passages were looked at before all of them were read.
        passages: read; None: all that there are.
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
        passages: held-out ones in no compared training set.
        perplexity: of the candidate; None with too few passages.
        base: None with too few passages.
        incumbent: None also when no version is stable.
        incumbent_name: `v3`, or empty when no version is stable.
        best: the best version that ever answered; None where it is the incumbent.
        best_name: `v1`, empty where it is the incumbent or there is none; None: measured by a gate
            before `gate-9`, which took the ratio for met whatever its interval.
    """

    passages: int
    perplexity: float | None
    base: PerplexityRatio | None
    incumbent: PerplexityRatio | None
    incumbent_name: str
    best: PerplexityRatio | None = None
    best_name: str | None = None

    @property
    def released(self) -> dict[str, PerplexityRatio | None]:
        """Name → ratio of each released version that the candidate is compared with."""
        pairs = ((self.incumbent_name, self.incumbent), (self.best_name, self.best))
        return {name: ratio for name, ratio in pairs if name}


def undecided_of_few(name: str, passages: int, threshold: float | None) -> GateClaim:
    """A claim that too few passages leave open."""
    detail = (
        f"not decided: {passages} held-out passages, {MIN_PASSAGES} are needed; "
        "import more posts, or release by hand"
    )
    return GateClaim(name, None, None, threshold, detail)


def compared(question: EvaluationSpec, read: LikelihoodsByModel) -> HeldOutPerplexity:
    """The candidate beside the others, on the passages that were read."""
    mine = read.held_out(question.candidate.name)
    return HeldOutPerplexity(
        passages=read.reading.found,
        perplexity=mine.perplexity if mine else None,
        base=_ratio(question.base, read, mine),
        incumbent=_ratio(question.incumbent, read, mine),
        incumbent_name=question.incumbent.name if question.incumbent else "",
        best=_ratio(question.best, read, mine),
        best_name=question.best.name if question.best else "",
    )


def is_decided(measured: HeldOutPerplexity) -> bool:
    """Whether further passages would change no claim, as far as intervals tell.

    Beside the incumbent an interval that ends between `MAX_RATIO_TO_INCUMBENT` and the limit of the
    claim leaves open whether a release may go without a trial.
    """
    limit = WORSE_THAN_INCUMBENT_BY
    limits = (
        (measured.base, 1.0, 1.0),
        (measured.incumbent, MAX_RATIO_TO_INCUMBENT, limit),
        (measured.best, limit, limit),
    )
    return all(
        ratio.high < better or ratio.low > worse
        for ratio, better, worse in limits
        if ratio is not None
    )


def _take(context: MeasureContext) -> HeldOutPerplexity:
    return compared(context.question, context.read)


def _ratio(
    other: EvaluatedModel | None, read: LikelihoodsByModel, mine: AnswerLikelihood | None
) -> PerplexityRatio | None:
    theirs = read.held_out(other.name) if other is not None and mine is not None else None
    if other is None or mine is None or theirs is None:
        return None
    documents = sample_likelihoods.documents_of(read.reading.held_out)
    ratio = perplexity.perplexity_ratio(mine, theirs, documents=documents, level=read.level)
    return PerplexityRatio(
        other.name,
        theirs.perplexity,
        ratio.value,
        ratio.low,
        ratio.high,
        level=read.level,
        passages=len(documents),
    )


def _beats_base_model(measured: HeldOutPerplexity) -> GateClaim:
    ratio = measured.base
    if ratio is None:
        return undecided_of_few(BEATS_BASE, measured.passages, 1.0)
    detail = (
        f"held-out perplexity {measured.perplexity:.2f} against {ratio.perplexity:.2f} of the base "
        f"model: {_change(ratio)} on {_read_of(measured, ratio)} passages"
    )
    return GateClaim(BEATS_BASE, ratio.high < 1.0, ratio.ratio, 1.0, detail)


def _not_worse_than_incumbent(measured: HeldOutPerplexity) -> GateClaim:
    released, limit = measured.released, WORSE_THAN_INCUMBENT_BY
    if not released:
        detail = "no incumbent: no version is stable yet"
        return GateClaim(NOT_WORSE, True, None, limit, detail)
    ratios = [ratio for ratio in released.values() if ratio is not None]
    if len(ratios) < len(released):
        return undecided_of_few(NOT_WORSE, measured.passages, limit)
    first = f"held-out perplexity {measured.perplexity:.2f}"
    told = [f"against {one.perplexity:.2f} of {one.name}: {_change(one)}" for one in ratios]
    if measured.best is not None:
        told[-1] += ", the best that ever answered,"
    by_interval = measured.best_name is not None
    met = all((one.high if by_interval else one.ratio) <= limit for one in ratios)
    # of the release without a trial, which asks more of the interval beside the stable version
    beside = measured.incumbent
    shown = beside or ratios[0]
    return GateClaim(
        NOT_WORSE,
        met,
        shown.ratio,
        limit,
        f"{first} {' and '.join(told)} on {_read_of(measured, shown)} passages",
        high=beside.high if beside else None,
        beside=beside.name if beside else "",
    )


def _read_of(measured: HeldOutPerplexity, ratio: PerplexityRatio) -> str:
    """`48`, or `30 of 48` where so many decided."""
    if ratio.passages is None or ratio.passages == measured.passages:
        return str(measured.passages)
    return f"{ratio.passages} of {measured.passages}"


def _change(ratio: PerplexityRatio) -> str:
    """`-31.4 % (95 %: -33.0 to -29.7)`."""
    percent = [100 * (value - 1) for value in (ratio.ratio, ratio.low, ratio.high)]
    level = f"{100 * ratio.level:.0f} %"
    return f"{percent[0]:+.1f} % ({level}: {percent[1]:+.1f} to {percent[2]:+.1f})"


MEASURE = Measure(
    name="held_out_perplexity",
    value=HeldOutPerplexity,
    take=_take,
    early=True,
    claims=(
        ClaimRule(
            BEATS_BASE,
            "Held-out perplexity is below the base model's, 95 % interval included.",
            _beats_base_model,
            first=True,
        ),
        ClaimRule(
            NOT_WORSE,
            "Held-out perplexity is at most 5 % above the stable version's and above that of the "
            "best that ever answered, 95 % interval included.",
            _not_worse_than_incumbent,
            first=True,
        ),
    ),
    flat=True,
)
