"""Compare the candidate with an adapter trained on other authors, on the author's passages.

Scope: the comparison and its claim. Out of scope: that adapter
(`other_authors/reference_adapter.py`) and comparing with the gain on other people's passages
(`author_control.py`).

The claim `learns_this_author` compares passages by different people, so its interval includes the
differences between them. Here, both models have the same base model and read the author's passages
that the control uses, so the posts' common traits cancel out. A candidate that has only learned how
people write posts gains no more than the adapter.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood, perplexity_ratio
from twin_assets.evaluation.measures import author_control
from twin_assets.evaluation.measures.measure import (
    ClaimRule,
    Measure,
    MeasureContext,
    Measurements,
    NotMeasured,
)
from twin_assets.evaluation.statistics.bootstrap import Interval, format_change
from twin_resources.registry.moves import GateClaim

CLAIM = "beats_other_authors_adapter"
NO_ADAPTER = (
    "there is no adapter of other authors: one is trained after an author's first release "
    "(TWIN_REFERENCE_ADAPTER)"
)


@dataclass(frozen=True)
class OtherAuthorsComparison:
    """Perplexity ratios on the author's held-out passages, in prompts without context.

    Attributes:
        passages: number of passages.
        adapter: hash of the adapter of other authors.
        of: authors on whose posts the adapter was trained; empty if the adapter was configured.
        candidate_to_base, adapter_to_base: perplexity of the candidate, or of the adapter, divided
            by the base model's.
        ratio: the candidate's perplexity divided by the adapter's; the candidate is better below 1.
    """

    passages: int
    adapter: str
    of: tuple[str, ...]
    candidate_to_base: Interval
    adapter_to_base: Interval
    ratio: Interval

    @property
    def adapter_label(self) -> str:
        """Label of the adapter, as in `the adapter of oona-petrie, tomas-okafor (1a2b3c4d5e6f)`."""
        return f"the adapter of {', '.join(self.of) or 'other authors'} ({self.adapter[:12]})"


def compare(
    *,
    candidate: AnswerLikelihood,
    base: AnswerLikelihood,
    adapter: AnswerLikelihood,
    documents: Sequence[str],
    adapter_hash: str,
    authors: Sequence[str],
) -> OtherAuthorsComparison:
    """Compare the three models on the same passages; intervals resample documents.

    Args:
        documents: document of each passage.
        adapter_hash: hash of the adapter.
        authors: authors on whose posts the adapter was trained.

    Raises:
        ValueError: the models read different passages, or fewer than two.
    """
    pairs = ((candidate, base), (adapter, base), (candidate, adapter))
    candidate_to_base, adapter_to_base, ratio = (
        perplexity_ratio(model, reference, documents=documents) for model, reference in pairs
    )
    return OtherAuthorsComparison(
        len(documents), adapter_hash, tuple(authors), candidate_to_base, adapter_to_base, ratio
    )


def decide_claim(comparison: OtherAuthorsComparison) -> GateClaim:
    """Decide `beats_other_authors_adapter`: the interval of the ratio ends below 1."""
    detail = (
        f"perplexity relative to {comparison.adapter_label}: {comparison.ratio.describe_change()} "
        f"on {comparison.passages} passages of the author; relative to the base model: candidate "
        f"{format_change(comparison.candidate_to_base.value)}, "
        f"adapter {format_change(comparison.adapter_to_base.value)}"
    )
    return GateClaim(CLAIM, comparison.ratio.high < 1.0, comparison.ratio.value, 1.0, detail)


def _compute(context: MeasureContext) -> OtherAuthorsComparison | NotMeasured | None:
    spec, likelihoods = context.spec, context.likelihoods
    reference, own_samples = spec.reference, likelihoods.samples.own
    if reference is None:
        return NotMeasured(NO_ADAPTER)
    if len(own_samples) < author_control.MIN_CONTROL_PASSAGES:
        not_measured = NotMeasured(
            f"fewer than {author_control.MIN_CONTROL_PASSAGES} passages of the author"
        )
        return None if context.has_too_few_passages else not_measured
    return compare(
        candidate=likelihoods.get_part(spec.candidate.name, "own"),
        base=likelihoods.get_part(spec.base.name, "own"),
        adapter=likelihoods.likelihoods[reference.model.name],  # the adapter reads only this part
        documents=[sample.document_id for sample in own_samples],
        adapter_hash=reference.model.weights_id,
        authors=reference.authors,
    )


def _decide_without_adapter(measurements: Measurements) -> GateClaim | None:
    """Return a met claim if there is no adapter to beat."""
    if measurements.why_not.get(CLAIM) != NO_ADAPTER:
        return None
    return GateClaim(CLAIM, True, None, 1.0, f"not measured: {NO_ADAPTER}")


MEASURE = Measure(
    name="beside_other_authors",
    value_type=OtherAuthorsComparison,
    compute=_compute,
    needs_no_answers=True,
    claims=(
        ClaimRule(
            CLAIM,
            "The author's passages are likelier under the candidate than under the adapter of "
            "other authors, even at the upper end of the 95 % interval. Without such an adapter, "
            "the claim is met.",
            decide_claim,
            decide_missing=_decide_without_adapter,
        ),
    ),
)
