"""Check the claims about every preference pair, measured on the stored rows.

Scope: counting the rows that break a claim. Out of scope: the Dagster checks
(`preference_dataset.py`).
"""
# pyright: strict

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import polars as pl

from twin_assets.instructions.dataset_claims import ErrorCounts
from twin_assets.instructions.preference_pairs import MAX_READER_PERCENT, HeldOutTexts, find_leaks


@dataclass(frozen=True)
class ChosenAnswerErrors(ErrorCounts):
    """Counts of pairs whose chosen answer is not the author's.

    Attributes:
        not_in_document: answers that differ from the document's `text[start:end]`.
        no_authors_edit: edits that are not in the trace, or whose key has a different role.
    """

    not_in_document: int
    no_authors_edit: int


def check_chosen_answers(
    dataset: pl.DataFrame, documents: pl.DataFrame, traces: pl.DataFrame
) -> ChosenAnswerErrors:
    """Compare every chosen answer with its source.

    Args:
        dataset: `source`, `trace_id`, `document_id`, `start`, `end`, `chosen`.
        documents: `document_id`, `text` of the kept documents.
        traces: `trace_id`, `edit`, `edit_role`.
    """
    texts: dict[str, str] = dict(documents.select("document_id", "text").iter_rows())
    edits = {
        trace_id: (edit or "").strip()
        for trace_id, edit, role in traces.select("trace_id", "edit", "edit_role").iter_rows()
        if role == "author"
    }
    not_in_document = no_authors_edit = 0
    for row in dataset.iter_rows(named=True):
        if row["source"] == "edit":
            no_authors_edit += edits.get(row["trace_id"]) != row["chosen"]
        else:
            text = texts.get(row["document_id"] or "", "")
            not_in_document += text[row["start"] : row["end"]].strip() != row["chosen"]
    return ChosenAnswerErrors(dataset.height, not_in_document, no_authors_edit)


@dataclass(frozen=True)
class ReaderShares:
    """The readers' shares of the pairs.

    Attributes:
        rows: the total number of pairs.
        readers: readers whose votes rejected an answer.
        most: the largest number of pairs of one reader.
    """

    rows: int
    readers: int
    most: int

    @property
    def holds(self) -> bool:
        return 100 * self.most <= MAX_READER_PERCENT * self.rows


def measure_reader_shares(dataset: pl.DataFrame) -> ReaderShares:
    """Count the pairs of each reader; `dataset` has `voters`."""
    pairs_by_reader = Counter(
        voter for voters in dataset["voters"].to_list() for voter in set(voters)
    )
    return ReaderShares(
        dataset.height, len(pairs_by_reader), max(pairs_by_reader.values(), default=0)
    )


@dataclass(frozen=True)
class SourceErrors(ErrorCounts):
    """Counts of pairs with a wrong source.

    Attributes:
        unknown_trace: edits or votes on a trace that does not exist.
        unknown_chunk: texts of the author whose chunk is not a chunk of the document, or contains
            no part of the text.
    """

    unknown_trace: int
    unknown_chunk: int


def check_sources(
    dataset: pl.DataFrame, chunks: pl.DataFrame, traces: pl.DataFrame
) -> SourceErrors:
    """Compare every pair's trace and chunk with the existing traces and chunks.

    Args:
        dataset: `source`, `trace_id`, `document_id`, `chunk_id`, `start`, `end`.
        chunks: `chunk_id`, `document_id`, `start`, `end` of `embeddings`.
        traces: `trace_id`.
    """
    trace_ids = set(traces["trace_id"].to_list())
    chunk_positions = {chunk: position for chunk, *position in chunks.iter_rows()}
    unknown_traces = unknown_chunks = 0
    for row in dataset.iter_rows(named=True):
        unknown_traces += row["trace_id"] not in trace_ids
        document, start, end = chunk_positions.get(row["chunk_id"] or "", ("", 0, 0))
        unknown_chunks += row["source"] != "edit" and not (
            document == row["document_id"] and start < row["end"] and row["start"] < end
        )
    return SourceErrors(dataset.height, unknown_traces, unknown_chunks)


@dataclass(frozen=True)
class HeldOutExposure(ErrorCounts):
    """Counts of pairs that show the gate's evaluation data.

    Attributes:
        held_out_question, held_out_prompt, held_out_text: pairs by the part that is equal or
            similar to a held-out sample's.
        held_out_passage: pairs whose context has a chunk of a held-out document.
    """

    held_out_question: int
    held_out_prompt: int
    held_out_text: int
    held_out_passage: int


def check_held_out_exposure(dataset: pl.DataFrame, held_out: HeldOutTexts) -> HeldOutExposure:
    """Compare every pair with the held-out samples.

    Args:
        dataset: `pair_id`, `question`, `context_chunk_ids`, `messages`, `chosen`.
    """
    pairs = {
        row["pair_id"]: (row["question"], row["messages"][-1]["content"], row["chosen"])
        for row in dataset.iter_rows(named=True)
    }
    leaking_pairs = Counter(find_leaks(pairs, held_out).values())
    return HeldOutExposure(
        dataset.height,
        leaking_pairs["held_out_question"],
        leaking_pairs["held_out_prompt"],
        leaking_pairs["held_out_text"],
        sum(
            not held_out.chunks.isdisjoint(context)
            for context in dataset["context_chunk_ids"].to_list()
        ),
    )
