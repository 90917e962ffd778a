"""Choose prompts to replay: recent prompts with their recorded context, then held-out prompts.

Scope: choosing and ordering the prompts, rendering one for a version.
Out of scope: answering (`shadowing.py`), the ledger's snapshot (`interactions`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from twin_assets.evaluation.likelihood.held_out import select_held_out_samples
from twin_resources.prompt.shown_passages import SHOWN_COLUMNS, PromptPassage
from twin_resources.prompt.templates import Message, find_template, render
from twin_resources.quality.judges.judge import digest
from twin_resources.quality.judges.pairs import HELD_OUT, RECORDED
from twin_resources.quality.ledger.interactions_frame import filter_reader_interactions

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.storage.tables.tables import Tables

MAX_RECENT_PROMPTS = 600
MIN_WORDS = 3  # "thanks!" does not distinguish two models


@dataclass(frozen=True)
class ShadowPrompt:
    """One prompt to replay.

    Attributes:
        source: `recorded` (a trace) or `held_out` (a sample).
        prompt_id: trace id or sample id.
        passages: context of the prompt; for a held-out sample, without deleted chunks.
    """

    source: str
    prompt_id: str
    question: str
    passages: tuple[PromptPassage, ...]


def read_prompts(tables: Tables, author: str, *, min_prompts: int) -> list[ShadowPrompt]:
    """Return the selected prompts (`select_prompts`) from an author's current tables."""
    return select_prompts(
        read_interactions(tables, author),
        tables.read("instruction_dataset", author),
        index_passages(tables.read("embeddings", author, columns=["chunk_id", *SHOWN_COLUMNS])),
        min_prompts=min_prompts,
    )


def read_interactions(tables: Tables, author: str) -> pl.DataFrame | None:
    """Return the table `interactions`, or None if it was never materialized."""
    is_stored = tables.exists("interactions", author)
    return tables.read("interactions", author) if is_stored else None


def select_prompts(
    interactions: pl.DataFrame | None,
    dataset: pl.DataFrame,
    chunks: Mapping[str, PromptPassage],
    *,
    min_prompts: int,
) -> list[ShadowPrompt]:
    """Return the prompts of a trial; `shuffle_by_trial` orders them.

    Readers' recorded prompts come first, the newest first, without repeated questions. If there are
    fewer than `min_prompts`, held-out samples ordered by hash are added. A recorded prompt with a
    deleted chunk is omitted, because its context cannot be shown again.

    Args:
        interactions: rows of the asset `interactions`, or None if there are none.
        dataset: rows of `instruction_dataset`.
        chunks: passages by chunk id.
    """
    prompts: dict[str, ShadowPrompt] = {}
    if interactions is not None:
        newest_rows = (
            filter_reader_interactions(interactions)
            .sort("started_at", "trace_id", descending=True)
            .head(MAX_RECENT_PROMPTS)
        )
        columns = newest_rows.select("trace_id", "question", "chunk_ids")
        for trace_id, question, chunk_ids in columns.iter_rows():
            text = " ".join((question or "").split())
            is_complete = all(chunk_id in chunks for chunk_id in chunk_ids)
            if is_complete and len(text.split()) >= MIN_WORDS and text.casefold() not in prompts:
                passages = tuple(chunks[chunk_id] for chunk_id in chunk_ids)
                prompts[text.casefold()] = ShadowPrompt(RECORDED, trace_id, text, passages)
    if len(prompts) < min_prompts:
        held_out_rows = select_held_out_samples(dataset, trained_on=())
        columns = held_out_rows.select("sample_id", "question", "context_chunk_ids")
        for sample_id, question, chunk_ids in columns.iter_rows():
            if question.casefold() not in prompts:
                passages = tuple(chunks[key] for key in chunk_ids if key in chunks)
                prompts[question.casefold()] = ShadowPrompt(HELD_OUT, sample_id, question, passages)
    return list(prompts.values())


def shuffle_by_trial(prompts: Sequence[ShadowPrompt], trial: str) -> list[ShadowPrompt]:
    """Return the prompts in the trial's random order, which additional prompts do not change.

    In chronological order, neighboring questions often come from one reader. A quarter of the
    candidates that equalled the incumbent were then rolled back; in random order, 7 % were.

    Args:
        trial: id of the comparison.
    """
    return sorted(prompts, key=lambda prompt: digest(trial, prompt.prompt_id))


def render_prompt(prompt: ShadowPrompt, author: Author, template: str) -> list[Message]:
    """Render the messages for a version that was trained with `template`.

    Raises:
        TwinError: the template is unknown.
    """
    return render(
        find_template(template),
        author_name=author.name,
        question=prompt.question,
        passages=prompt.passages,
    )


def index_passages(chunks: pl.DataFrame) -> dict[str, PromptPassage]:
    """Return the passages in `embeddings` by chunk id."""
    rows = chunks.select("chunk_id", *SHOWN_COLUMNS).iter_rows()
    return {chunk_id: PromptPassage(*row) for chunk_id, *row in rows}


def index_by_id(prompts: Sequence[ShadowPrompt]) -> dict[str, ShadowPrompt]:
    """Return the prompts by id."""
    return {prompt.prompt_id: prompt for prompt in prompts}
