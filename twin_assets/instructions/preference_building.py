"""Bring the table `preference_dataset` up to date.

Scope: reading samples, traces and chunks, rendering and writing. Out of scope: the decisions
(`preference_pairs.py`), Dagster.
"""
# pyright: strict

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.corpus.corpus_tables import column_types, validate_rows
from twin_assets.instructions import contexts
from twin_assets.instructions.preference_pairs import (
    AuthorPassage,
    HeldOutTexts,
    PreferencePair,
    Trace,
    build_trace_pairs,
    find_leaks,
    is_same_answer,
    select_indexes_within_share,
)
from twin_assets.instructions.preference_schema import PreferenceDataset
from twin_resources.models.retrieval.question_rules import read_rules
from twin_resources.models.retrieval.stop_words import load_stop_words
from twin_resources.prompt.shown_passages import SHOWN_COLUMNS, PromptPassage
from twin_resources.prompt.templates import find_template, render
from twin_resources.registry.route_names import FRONT_DESK
from twin_resources.storage.tables.rows_by_id import sql_in_filter

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.storage.tables.tables import SyncResult, Tables

SAMPLES_TABLE = "instruction_dataset"
PAIRS_TABLE = "preference_dataset"
TRACES_TABLE = "interactions"
PREFERENCE_VERSION = "1"


def update_preferences(
    tables: Tables, author: Author
) -> tuple[SyncResult, dict[str, dict[str, int]]]:
    """Bring the table up to date; return the result, and counts of used and left-out pairs.

    Raises:
        TableNotFoundError: instruction_dataset or embeddings was never materialized.
    """
    columns = ["sample_id", "document_id", "start", "end", "template"]
    train = tables.read(SAMPLES_TABLE, author.slug, columns=columns, where="split = 'train'")
    template = str(train["template"][0]) if train.height else ""
    columns = ["chunk_id", "document_id", "start", "end"]
    chunks = tables.read("embeddings", author.slug, columns=columns)
    own_chunks = contexts.find_own_chunks(train, chunks) if train.height else pl.DataFrame()
    held_out = read_held_out(tables, author.slug)
    named_passages, left_out_counts = _read_named_passages(tables, author.slug, chunks, held_out)
    traces = _read_traces(tables, author.slug, named_passages)
    passages = _read_shown_passages(tables, author.slug, train, own_chunks, traces)
    trace_pairs, unusable_counts = build_trace_pairs(
        traces,
        passages,
        named_passages=named_passages,
        template=template,
        stop_words=load_stop_words(author.language or "en"),
    )
    left_out_counts.update(unusable_counts)
    rows = _render_pairs(tables, author, trace_pairs, held_out.chunks, left_out_counts)
    # Pairs with equal answers teach nothing.
    different_rows = [row for row in rows if not is_same_answer(row["chosen"], row["rejected"])]
    left_out_counts["equal_answers"] += len(rows) - len(different_rows)
    rows = _drop_leaks(different_rows, held_out, left_out_counts)
    kept_indexes = select_indexes_within_share([row["voters"] for row in rows])
    left_out_counts["too_many_of_a_reader"] += len(rows) - len(kept_indexes)
    pair_rows = pl.DataFrame(
        [rows[index] for index in kept_indexes], schema=column_types(PreferenceDataset)
    )
    sync_result = tables.sync(
        pair_rows,
        PAIRS_TABLE,
        author=author.slug,
        key="pair_id",
        function=lambda changed: validate_rows(changed, PreferenceDataset),
        version=PREFERENCE_VERSION,
        schema=column_types(PreferenceDataset),
        row_key="pair_id",
    )
    return sync_result, {
        "sources": dict(sorted(Counter(pair_rows["source"].to_list()).items())),
        "left_out": {reason: count for reason, count in sorted(left_out_counts.items()) if count},
    }


def _read_named_passages(
    tables: Tables, author: str, chunks: pl.DataFrame, held_out: HeldOutTexts
) -> tuple[dict[str, AuthorPassage], Counter[str]]:
    """Return the passage that the author named for the question of a trace, and what is left out.

    It is left out if its post was edited or deleted since, or is held out.
    """
    rules = {rule.trace_id: rule for rule in read_rules(tables.state, author) if rule.document_id}
    named = tables.read(
        "embeddings",
        author,
        columns=["chunk_id", "document_id", "start", "end", "text"],
        where=sql_in_filter("chunk_id", {rule.chunk_id for rule in rules.values()}),
    )
    passages: dict[str, AuthorPassage] = {}
    for chunk_id, document_id, start, end, text in named.iter_rows():
        overlapping = chunks.filter(
            pl.col("document_id") == document_id, pl.col("start") < end, pl.col("end") > start
        )
        own_chunks = frozenset(overlapping["chunk_id"].to_list())
        passages[chunk_id] = AuthorPassage(
            "", document_id, chunk_id, own_chunks, start, end, "", text
        )
    left_out_counts: Counter[str] = Counter()
    named_passages: dict[str, AuthorPassage] = {}
    for trace_id, rule in rules.items():
        passage = passages.get(rule.chunk_id)
        if passage is None or rule.chunk_id in held_out.chunks:
            left_out_counts["held_out_text" if passage else "passage_is_gone"] += 1
        else:
            named_passages[trace_id] = replace(passage, question=rule.question)
    return named_passages, left_out_counts


def _read_traces(tables: Tables, author: str, named_traces: Collection[str]) -> list[Trace]:
    """Return the traces that were scored, rejected, edited or in `named_traces`, newest first.

    A preference for another answer counts as a vote of 0, along with the other votes.
    """
    if not tables.exists(TRACES_TABLE, author):
        return []
    is_named = sql_in_filter("trace_id", named_traces)
    has_feedback = f"votes > 0 OR rejections > 0 OR edit IS NOT NULL OR {is_named}"
    frame = tables.read(TRACES_TABLE, author, where=f"route <> '{FRONT_DESK}' AND ({has_feedback})")
    sorted_rows = frame.sort(["started_at", "trace_id"], descending=[True, False])
    return [
        Trace(
            trace_id=row["trace_id"],
            rejected_from=row["checkpoint"] or row["version"] or "unknown",
            question=row["question"],
            answer=row["answer"],
            chunk_ids=tuple(row["chunk_ids"]),
            template=row["template"],
            vote=_compute_mean_vote(row),
            voters=(*row["voters"], *row["rejection_voters"]),
            edit=row["edit"] or "",
            edit_role=row["edit_role"] or "",
        )
        for row in sorted_rows.to_dicts()
    ]


def _compute_mean_vote(row: Mapping[str, Any]) -> float | None:
    count = row["votes"] + row["rejections"]
    return (row["vote"] or 0.0) * row["votes"] / count if count else None


def _read_shown_passages(
    tables: Tables,
    author: str,
    train: pl.DataFrame,
    own_chunks: pl.DataFrame,
    traces: Iterable[Trace],
) -> list[AuthorPassage]:
    """Return the training samples whose answers are in a chunk that some trace showed."""
    shown_chunks = {
        chunk for trace in traces if trace.vote is not None for chunk in trace.chunk_ids
    }
    if not shown_chunks or train.is_empty():
        return []
    sample_ids = own_chunks.filter(
        pl.col("own_chunks").list.eval(pl.element().is_in(list(shown_chunks))).list.any()
    )["sample_id"].to_list()
    columns = ["sample_id", "document_id", "start", "end", "question", "answer"]
    passages = tables.read(
        SAMPLES_TABLE, author, columns=columns, where=sql_in_filter("sample_id", sample_ids)
    )
    rows_by_id = {row["sample_id"]: row for row in passages.to_dicts()}
    return [
        AuthorPassage(
            **rows_by_id[sample_id], chunk_id=chunk_id, own_chunks=frozenset(sample_chunks)
        )
        for sample_id, chunk_id, sample_chunks in own_chunks.iter_rows()
        if sample_id in rows_by_id
    ]


def _render_pairs(
    tables: Tables,
    author: Author,
    pairs: Sequence[PreferencePair],
    held_out_chunks: Collection[str],
    left_out_counts: Counter[str],
) -> list[dict[str, Any]]:
    """Render the pairs of traces: the recorded question and context in the recorded template.

    Chunks in `held_out_chunks` are removed, because no training sample may show them.
    """
    chunk_ids = {chunk for pair in pairs for chunk in pair.context_chunk_ids}
    columns = ["chunk_id", *SHOWN_COLUMNS]
    passage_by_chunk = {
        chunk_id: PromptPassage(*row)
        for chunk_id, *row in tables.read(
            "embeddings",
            author.slug,
            columns=columns,
            where=sql_in_filter("chunk_id", chunk_ids),
        ).iter_rows()
    }
    rows: list[dict[str, Any]] = []
    for pair in pairs:
        if not passage_by_chunk.keys() >= set(pair.context_chunk_ids):
            left_out_counts["context_is_gone"] += 1
            continue
        context = tuple(chunk for chunk in pair.context_chunk_ids if chunk not in held_out_chunks)
        messages = render(
            find_template(pair.template),
            author_name=author.name,
            question=pair.question,
            passages=[passage_by_chunk[chunk] for chunk in context],
        )
        rows.append(_build_pair_row(replace(pair, context_chunk_ids=context), messages))
    return rows


def _build_pair_row(pair: PreferencePair, messages: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    passage = pair.passage
    return {
        "pair_id": pair.pair_id,
        "source": pair.source,
        "trace_id": pair.trace_id,
        "sample_id": (passage.sample_id or None) if passage else None,
        "document_id": passage.document_id if passage else None,
        "chunk_id": passage.chunk_id if passage else None,
        "start": passage.start if passage else None,
        "end": passage.end if passage else None,
        "question": pair.question,
        "context_chunk_ids": list(pair.context_chunk_ids),
        "messages": list(messages),
        "template": pair.template,
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "rejected_ended": pair.rejected_ended,
        "rejected_from": pair.rejected_from,
        "voters": list(pair.voters),
    }


def read_held_out(tables: Tables, author: str) -> HeldOutTexts:
    """Return the parts of the author's held-out samples that no pair may show."""
    columns = ["sample_id", "document_id", "question", "answer", "messages"]
    rows = tables.read(
        SAMPLES_TABLE, author, columns=columns, where="split = 'held_out'"
    ).to_dicts()
    documents = {row["document_id"] for row in rows}
    chunks = tables.read(
        "embeddings",
        author,
        columns=["chunk_id"],
        where=sql_in_filter("document_id", documents),
    )
    return HeldOutTexts(
        questions={row["sample_id"]: row["question"] for row in rows},
        prompts={row["sample_id"]: row["messages"][-2]["content"] for row in rows},
        answers=[row["answer"] for row in rows],
        chunks=frozenset(chunks["chunk_id"].to_list()),
    )


def _drop_leaks(
    rows: Sequence[dict[str, Any]], held_out: HeldOutTexts, left_out_counts: Counter[str]
) -> list[dict[str, Any]]:
    leaks = find_leaks(
        {
            row["pair_id"]: (row["question"], row["messages"][-1]["content"], row["chosen"])
            for row in rows
        },
        held_out,
    )
    left_out_counts.update(leaks.values())
    return [row for row in rows if row["pair_id"] not in leaks]
