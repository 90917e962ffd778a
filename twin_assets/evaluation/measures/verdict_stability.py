"""How often topic, voice, perplexity and recitation would be decided otherwise on other questions.

Belongs here: which scores are drawn anew, the table. Does not belong here: drawing them
(`statistics/resampled_verdicts.py`), the claims (`on_topic.py`, `held_out_perplexity.py`,
`harm/memorisation.py`).

What a base cannot do either (`on_topic.py`) is no part of it: drawn is the candidate alone.
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twin_assets.evaluation.harm import memorisation
from twin_assets.evaluation.likelihood import perplexity, sample_likelihoods
from twin_assets.evaluation.measures import (
    author_voice,
    held_out_perplexity,
    on_topic,
    other_authors,
    recitation,
)
from twin_assets.evaluation.measures.measure import Measure, MeasureContext
from twin_assets.evaluation.statistics import resampled_verdicts
from twin_assets.evaluation.statistics.resampled_verdicts import ResampledVerdict
from twin_assets.evaluation.statistics.sequential import planned_looks

if TYPE_CHECKING:
    from twin_assets.evaluation.measures.held_out_perplexity import PerplexityRatio


@dataclass(frozen=True)
class VerdictStability:
    """Verdicts on scores that were drawn anew, as often as `resampled_verdicts.DRAWS` says."""

    verdicts: tuple[ResampledVerdict, ...]


def _take(context: MeasureContext) -> VerdictStability | None:
    verdicts = (
        *_of_perplexity(context),
        *_of_other_authors(context),
        *_of_topic(context),
        *_of_voice(context),
        *_of_recitation(context),
    )
    return VerdictStability(verdicts) if verdicts else None


def _of_perplexity(context: MeasureContext) -> list[ResampledVerdict]:
    measured = context.of(held_out_perplexity.MEASURE)
    if measured is None:
        return []
    beats = held_out_perplexity.BEATS_BASE
    not_worse, limit = held_out_perplexity.NOT_WORSE, held_out_perplexity.WORSE_THAN_INCUMBENT_BY
    compared = [
        (beats, measured.base, 1.0),
        *((not_worse, one, limit) for one in measured.released.values()),
    ]
    return [
        _of_ratio(context, claim, ratio, below=below)
        for claim, ratio, below in compared
        if ratio is not None and _is_number(ratio.high)
    ]


def _of_ratio(
    context: MeasureContext, claim: str, ratio: PerplexityRatio, *, below: float
) -> ResampledVerdict:
    read = context.read
    mine, theirs = read.held_out(context.question.candidate.name), read.held_out(ratio.name)
    assert mine is not None, "there is a ratio"
    assert theirs is not None, "there is a ratio"
    return resampled_verdicts.of_ratio(
        claim,
        perplexity.difference_of(mine, theirs),
        below=below,
        looks=planned_looks(
            read.reading.found, held_out_perplexity.LOOKS, level=held_out_perplexity.LOOKS_LEVEL
        ),
        documents=sample_likelihoods.documents_of(read.reading.held_out),
        beside=ratio.name,
    )


def _of_other_authors(context: MeasureContext) -> list[ResampledVerdict]:
    measured, question = context.of(other_authors.MEASURE), context.question
    if measured is None or question.reference is None or not _is_number(measured.ratio.high):
        return []
    own = context.read.reading.own
    mine = context.read.own(question.candidate.name)
    theirs = context.read.likelihoods[question.reference.model.name]
    return [
        resampled_verdicts.of_ratio(
            other_authors.CLAIM,
            perplexity.difference_of(mine, theirs),
            below=1.0,
            looks=[(len(own), held_out_perplexity.LOOKS_LEVEL)],  # one, at all of them
            documents=sample_likelihoods.documents_of(own),
            beside=question.reference.model.name,
        )
    ]


def _is_number(ratio: float) -> bool:
    """What is no number is not met, whatever is drawn."""
    return 0.0 < ratio < float("inf")


def _of_topic(context: MeasureContext) -> list[ResampledVerdict]:
    judge, prompts = context.known.judges.topic, context.asked
    if judge is None or context.of(on_topic.MEASURE) is None:
        return []
    shares = on_topic.shares_of_first(len(prompts.held_out), prompts, context.said, judge)
    return [
        resampled_verdicts.of_mean(
            on_topic.CLAIM,
            shares,
            at_least=on_topic.LIMIT,
            documents=on_topic.posts_of(prompts.documents)[: len(shares)],
        )
    ]


def _of_voice(context: MeasureContext) -> list[ResampledVerdict]:
    measured = context.of(author_voice.MEASURE)
    compared = None if measured is None else measured.against_all
    return [] if compared is None or compared.stability is None else [compared.stability]


def _of_recitation(context: MeasureContext) -> list[ResampledVerdict]:
    measured = context.of(recitation.MEASURE)
    if measured is None or not measured.reciting.of:
        return []
    reciting = measured.reciting
    return [
        resampled_verdicts.of_share(
            memorisation.CLAIM,
            reciting.found,
            reciting.of,
            at_most=memorisation.MOST_RECITING,
        )
    ]


def _lines(stability: VerdictStability) -> list[str]:
    return [
        f"| {resampled_verdicts.DRAWS:,} draws of the same questions | a model as good as this "
        "would be refused | one exactly at the limit would pass |",
        "|---|---|---|",
        *(
            f"| `{one.claim}`{f' beside {one.beside}' if one.beside else ''}, {one.drawn} drawn "
            f"| {100 * one.refused:.1f} % | {100 * one.passed_at_limit:.1f} % |"
            for one in stability.verdicts
        ),
    ]


MEASURE = Measure(
    name="verdict_stability",
    value=VerdictStability,
    take=_take,
    needs=(
        held_out_perplexity.MEASURE,
        other_authors.MEASURE,
        on_topic.MEASURE,
        author_voice.MEASURE,
        recitation.MEASURE,
    ),
    lines=_lines,
)
