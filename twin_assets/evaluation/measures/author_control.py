"""Compare the gain on the author's passages with that on other authors' passages, the control.

Training on any posts makes all posts likelier, because all share a typical length, prose style and
prompt wording. On this author's passages, a model trained on another author's data gained half as
much as the author's own model. Base and candidate therefore read passages of the author and of
others, cut to the same length, in prompts without context. The author's passages must gain more.
The same function drafts the questions for both sides from the passages. Questions in the
instruction dataset contain phrases from their answers, which made the author's side easier. The two
ratios come from different passages and are independent, so each side's documents are resampled
separately. A new document adds more information than another passage from a known document.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.evaluation.likelihood import held_out
from twin_assets.evaluation.likelihood.perplexity import (
    AnswerLikelihood,
    independent_ratio,
    perplexity_ratio,
)
from twin_assets.evaluation.likelihood.sample_likelihoods import document_ids
from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext
from twin_assets.evaluation.statistics.bootstrap import format_change
from twin_assets.instructions.answer_passages import AnswerPassage
from twin_assets.instructions.back_translation import write_questions
from twin_resources.registry.moves import GateClaim

if TYPE_CHECKING:
    from twin_resources.prompt.templates import Template
    from twin_resources.quality.judges.texts import WriterSample

CLAIM = "learns_this_author"
# If all passages are from different posts, the ratio is known to within 5 to 7 %.
MAX_PASSAGES_PER_SIDE = 48
_MIN_CONTROL_PASSAGES = 10
MAX_WORDS = 60


def build_own_rows(passages: pl.DataFrame, template: Template) -> list[Mapping[str, Any]]:
    """Return held-out passages in prompts without context, as rows for `tokenize_samples`.

    Every post contributes one passage before any contributes a second.
    """
    if not passages.height:
        return []
    occurrence = pl.col("document_id").cum_count().over("document_id")
    chosen_rows = passages.sort(occurrence, maintain_order=True).head(MAX_PASSAGES_PER_SIDE)
    system_messages = _system_messages(passages, template)
    return [
        _make_row(
            f"own/{sample_id}", document, answer, system_messages=system_messages, template=template
        )
        for sample_id, document, answer in chosen_rows.select(
            "sample_id", "document_id", "answer"
        ).iter_rows()
    ]


def build_other_rows(
    passages: pl.DataFrame, writer_samples: Sequence[WriterSample], template: Template
) -> list[Mapping[str, Any]]:
    """Return other people's passages, evenly distributed, in prompts like the author's.

    Args:
        passages: the author's held-out samples, whose system message is used.
        writer_samples: the other people's texts.
    """
    if not passages.height:
        return []
    system_messages = _system_messages(passages, template)
    counts = _distribute_evenly(
        [len(writer.passages) for writer in writer_samples], MAX_PASSAGES_PER_SIDE
    )
    sampled_passages = [
        (writer.name, *passage)
        for writer, count in zip(writer_samples, counts, strict=True)
        for passage in _select_evenly(writer.passages, count)
    ]
    return [
        _make_row(
            f"{name}/{index}",
            f"{name}/{document}",
            text,
            system_messages=system_messages,
            template=template,
        )
        for index, (name, document, text) in enumerate(sampled_passages)
    ]


def decide_claim(
    own: tuple[AnswerLikelihood, AnswerLikelihood],
    other: tuple[AnswerLikelihood, AnswerLikelihood],
    *,
    documents: tuple[Sequence[str], Sequence[str]],
    other_authors: Sequence[str],
) -> GateClaim:
    """Decide `learns_this_author`: the author's passages must gain more than other people's.

    Args:
        own, other: (candidate, base) likelihoods on the author's and on the others' passages.
        documents: the document of each passage, for each side.
        other_authors: names of the other authors.
    """
    ratio = independent_ratio(own, other, documents=documents)
    detail = (
        f"perplexity relative to the base model: {format_change(perplexity_ratio(*own).value)} on "
        f"{len(own[0].token_counts)} passages of the author, "
        f"{format_change(perplexity_ratio(*other).value)} on {len(other[0].token_counts)} passages "
        f"of {', '.join(other_authors)}; the change specific to the author is "
        f"{ratio.describe_change()}"
    )
    return GateClaim(CLAIM, ratio.high < 1.0, ratio.value, 1.0, detail)


def draft_question(text: str) -> str:
    """Draft the question that a passage answers, using only the passage.

    Titles and the teacher model are not used, because one side may lack them. The language of other
    people's texts is unknown, so the questions of both sides are in English.
    """
    passage = AnswerPassage(0, len(text), heading="", plain_text=text, word_count=len(text.split()))
    [draft] = write_questions([passage], document_id="", title="", text=text, language="und")
    return draft.question


def _system_messages(passages: pl.DataFrame, template: Template) -> list[Any]:
    """Return the messages before a question, from the first sample."""
    return held_out.render_bare_questions(passages.head(1), template)[0][:-1]


def _make_row(
    sample_id: str, document: str, text: str, *, system_messages: list[Any], template: Template
) -> Mapping[str, Any]:
    words = " ".join(text.split()[:MAX_WORDS])
    question = template.bare_question.format(question=draft_question(words))
    return {
        "sample_id": sample_id,
        "document_id": document,
        "messages": [
            *system_messages,
            {"role": "user", "content": question},
            {"role": "assistant", "content": words},
        ],
    }


def _distribute_evenly(sizes: Sequence[int], total: int) -> list[int]:
    """Return how many items to take from each group, in turn, up to `total` items."""
    counts = [0] * len(sizes)
    while open_indices := [index for index, size in enumerate(sizes) if counts[index] < size]:
        remaining_count = total - sum(counts)
        if not remaining_count:
            break
        for index in open_indices[:remaining_count]:
            counts[index] += 1
    return counts


def _select_evenly(passages: Sequence[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    """Select `count` passages, spread evenly over a writer's texts."""
    return [passages[index * len(passages) // count] for index in range(count)]


def decide(context: MeasureContext) -> tuple[GateClaim] | str:
    spec, likelihoods = context.spec, context.likelihoods
    samples = likelihoods.samples
    if min(len(samples.own), len(samples.other)) < _MIN_CONTROL_PASSAGES:
        if not context.judging_context.writer_samples:
            detail = "there are no other people's posts to compare with"
            return (GateClaim(CLAIM, True, None, 1.0, detail),)
        if context.has_too_few_passages:
            return context.few_passages_reason
        return f"fewer than {_MIN_CONTROL_PASSAGES} passages of the author or of other people"
    own, other = (
        (
            likelihoods.get_part(spec.candidate.name, part),
            likelihoods.get_part(spec.base.name, part),
        )
        for part in ("own", "other")
    )
    claim = decide_claim(
        own,
        other,
        documents=(document_ids(samples.own), document_ids(samples.other)),
        other_authors=samples.other_writers,
    )
    return (claim,)


MEASURE = Measure(
    claims=(
        ClaimRule(
            CLAIM, "Training made the author's passages likelier by more than other people's."
        ),
    ),
    decide=decide,
    needs_no_answers=True,
)
