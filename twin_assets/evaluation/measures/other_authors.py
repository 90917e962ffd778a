"""Compare the candidate, on the author's passages, with an adapter trained on other authors.

Scope: the comparison, its claim, its table. Out of scope: that adapter
(`other_authors/reference_adapter.py`), the gain beside other people's passages
(`author_control.py`).

`learns_this_author` compares passages of different people, so its interval contains the differences
between them. Here both models, of the same base model, read the control's passages of the author,
and the posts' common traits cancel out: a candidate that only learnt how people write posts gains
as much on them as the adapter.
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
    NotTaken,
)
from twin_assets.evaluation.statistics.bootstrap import Interval
from twin_resources.registry.moves import GateClaim

CLAIM = "beats_other_authors_adapter"
NO_ADAPTER = (
    "there is no adapter of other authors: one is trained after an author's first release "
    "(TWIN_REFERENCE_ADAPTER)"
)


@dataclass(frozen=True)
class BesideOtherAuthors:
    """Perplexity ratios on the author's held-out passages, in prompts without context.

    Attributes:
        passages: number of passages.
        adapter: hash of the adapter of other authors.
        of: its authors; empty if a person named the adapter.
        candidate_to_base, adapter_to_base: either's perplexity divided by the base model's.
        ratio: the candidate's divided by the adapter's; the candidate is better below 1.
    """

    passages: int
    adapter: str
    of: tuple[str, ...]
    candidate_to_base: Interval
    adapter_to_base: Interval
    ratio: Interval

    @property
    def told_adapter(self) -> str:
        """Name of the adapter, as in `the adapter of oona-petrie, tomas-okafor (1a2b3c4d5e6f)`."""
        return f"the adapter of {', '.join(self.of) or 'other authors'} ({self.adapter[:12]})"


def compare(
    *,
    candidate: AnswerLikelihood,
    base: AnswerLikelihood,
    adapter: AnswerLikelihood,
    documents: Sequence[str],
    weights: str,
    of: Sequence[str],
) -> BesideOtherAuthors:
    """Compare the three models on the same passages; intervals resample documents.

    Args:
        documents: document of each passage.
        weights: hash of the adapter.
        of: authors of the adapter.

    Raises:
        ValueError: they read different passages, or fewer than two.
    """
    pairs = ((candidate, base), (adapter, base), (candidate, adapter))
    to_base, adapter_to_base, ratio = (
        perplexity_ratio(one, other, documents=documents) for one, other in pairs
    )
    return BesideOtherAuthors(len(documents), weights, tuple(of), to_base, adapter_to_base, ratio)


def claim(found: BesideOtherAuthors) -> GateClaim:
    """Decide `beats_other_authors_adapter`: the interval of the ratio ends below 1."""
    detail = (
        f"perplexity beside {found.told_adapter}: {_told(found.ratio)} on {found.passages} "
        f"passages of the author; against the base model {_percent(found.candidate_to_base.value)} "
        f"and the adapter's {_percent(found.adapter_to_base.value)}"
    )
    return GateClaim(CLAIM, found.ratio.high < 1.0, found.ratio.value, 1.0, detail)


def _take(context: MeasureContext) -> BesideOtherAuthors | NotTaken | None:
    question, read = context.question, context.read
    reference, own = question.reference, read.reading.own
    if reference is None:
        return NotTaken(NO_ADAPTER)
    if len(own) < author_control.FEWEST:
        why = NotTaken(f"fewer than {author_control.FEWEST} passages of the author")
        return None if context.too_few else why
    return compare(
        candidate=read.part(question.candidate.name, "own"),
        base=read.part(question.base.name, "own"),
        adapter=read.likelihoods[reference.model.name],  # it reads only this part
        documents=[sample.document_id for sample in own],
        weights=reference.model.weights,
        of=reference.authors,
    )


def _without(measured: Measurements) -> GateClaim | None:
    """Meet the claim if there is no adapter to beat: nothing is left open."""
    if measured.why_not.get(CLAIM) != NO_ADAPTER:
        return None
    return GateClaim(CLAIM, True, None, 1.0, f"not measured: {NO_ADAPTER}")


def _told(ratio: Interval) -> str:
    return f"{_percent(ratio.value)} (95 %: {_percent(ratio.low)} to {_percent(ratio.high)})"


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %"


MEASURE = Measure(
    name="beside_other_authors",
    value=BesideOtherAuthors,
    take=_take,
    early=True,
    claims=(
        ClaimRule(
            CLAIM,
            "The author's passages are likelier than to an adapter that other authors taught, "
            "95 % interval included, once there is one.",
            claim,
            without=_without,
        ),
    ),
)
