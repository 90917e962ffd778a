"""Check the claims about every row of the instruction dataset, measured on the stored rows.

Scope: counting the rows that break a claim. Out of scope: the Dagster checks
(`instruction_dataset.py`), leaks across splits (`leakage.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class ErrorCounts:
    """Numbers of rows that break a claim, by kind of error; `rows` is the total number of rows."""

    rows: int

    @property
    def holds(self) -> bool:
        return not any(count for name, count in vars(self).items() if name != "rows")


@dataclass(frozen=True)
class VerbatimErrors(ErrorCounts):
    """Counts of rows whose answer is not the author's own text.

    Attributes:
        not_in_document: rows whose `answer` differs from the document's `text[start:end]`.
        not_in_messages: rows whose last message is not the assistant's answer.
        no_whole_paragraphs: rows whose span does not begin and end at the edge of a paragraph.
    """

    not_in_document: int
    not_in_messages: int
    no_whole_paragraphs: int


def check_verbatim(dataset: pl.DataFrame, documents: pl.DataFrame) -> VerbatimErrors:
    """Compare every answer with its document.

    Args:
        dataset: `document_id`, `start`, `end`, `answer`, `messages`.
        documents: `document_id`, `text` of the kept documents.
    """
    texts: dict[str, str] = dict(documents.select("document_id", "text").iter_rows())
    not_in_document = not_in_messages = no_whole_paragraphs = 0
    for row in dataset.iter_rows(named=True):
        text = texts.get(row["document_id"], "")
        not_in_document += text[row["start"] : row["end"]] != row["answer"]
        last_message = row["messages"][-1]
        not_in_messages += (
            last_message["role"] != "assistant" or last_message["content"] != row["answer"].strip()
        )
        no_whole_paragraphs += not (
            _is_paragraph_boundary(text[: row["start"]])
            and _is_paragraph_boundary(text[row["end"] :][::-1])
        )
    return VerbatimErrors(dataset.height, not_in_document, not_in_messages, no_whole_paragraphs)


def _is_paragraph_boundary(before: str) -> bool:
    """Return whether a paragraph may begin after this text.

    A paragraph may begin at the start of the document, after an empty line, or directly after a
    heading or a code fence.
    """
    return not before.rstrip(" \t") or before.rstrip(" \t").endswith("\n")


@dataclass(frozen=True)
class ProvenanceErrors:
    """Counts of rows with wrong sources.

    Attributes:
        unknown_chunk: `chunk_id` is not a chunk of the same document.
        chunk_elsewhere: the chunk contains no part of the answer.
        unknown_context: a passage in the prompt is not a chunk.
        gives_answer_away: a passage in the prompt contains a part of the answer.
        newer_context: a passage in the prompt is newer than the answer's post.
    """

    rows: int
    unknown_chunk: int
    chunk_elsewhere: int
    unknown_context: int
    gives_answer_away: int
    newer_context: int

    @property
    def are_chunks_valid(self) -> bool:
        return not (self.unknown_chunk or self.chunk_elsewhere)

    @property
    def are_contexts_valid(self) -> bool:
        return not (self.unknown_context or self.gives_answer_away or self.newer_context)


def check_provenance(dataset: pl.DataFrame, chunks: pl.DataFrame) -> ProvenanceErrors:
    """Compare every sample's chunk and context with the existing chunks.

    Args:
        dataset: `sample_id`, `document_id`, `chunk_id`, `start`, `end`, `published_at`,
            `context_chunk_ids`.
        chunks: `chunk_id`, `document_id`, `start`, `end`, `published_at`.
    """
    rows = dataset.join(chunks, on=["chunk_id", "document_id"], how="left", suffix="_chunk")
    is_unknown = pl.col("start_chunk").is_null()
    overlaps = (pl.col("start") < pl.col("end_chunk")) & (pl.col("start_chunk") < pl.col("end"))
    context_rows = (
        dataset.select(
            "sample_id",
            "document_id",
            "start",
            "end",
            "published_at",
            context=pl.col("context_chunk_ids"),
        )
        .explode("context")
        .drop_nulls("context")
        .join(chunks, left_on="context", right_on="chunk_id", how="left", suffix="_chunk")
    )
    is_same_document = pl.col("document_id") == pl.col("document_id_chunk")
    is_newer = pl.col("published_at").is_not_null() & (
        pl.col("published_at_chunk").is_null()
        | (pl.col("published_at_chunk") > pl.col("published_at"))
    )
    is_known = pl.col("start_chunk").is_not_null()
    return ProvenanceErrors(
        rows=dataset.height,
        unknown_chunk=rows.filter(is_unknown).height,
        chunk_elsewhere=rows.filter(~is_unknown & ~overlaps).height,
        unknown_context=context_rows.filter(~is_known).height,
        gives_answer_away=context_rows.filter(is_known & is_same_document & overlaps).height,
        newer_context=context_rows.filter(is_known & is_newer).height,
    )
