"""Convert cleaned documents to rows of `passage_embeddings`, the passages that may be quoted.

Scope: the table's contract, the pure function that fills it, and its update.
Out of scope: the bounds of a passage (`twin_resources/models/quotes/passages.py`), the embedder.
"""
# pyright: strict

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dataframely as dy
import polars as pl

from twin_resources.models.quotes.passages import (
    PASSAGES_VERSION,
    build_embedded_text,
    embedded_sentence_spans,
    split_into_passages,
)
from twin_resources.models.quotes.quoter import PASSAGES_TABLE
from twin_resources.models.quotes.token_vectors import pack_token_vectors
from twin_resources.storage.tables.tables import SyncResult, Tables, Upstream

if TYPE_CHECKING:
    import numpy as np

    from twin_resources.models.embedder.embedder import Embedder
    from twin_resources.processes.progress_lines import SyncProgressLogger

DOCUMENT_COLUMNS = ("document_id", "title", "url", "published_at", "language", "text", "kept")
"""Columns of `cleaned_documents` that `embed_passages` reads."""

ProgressCallback = Callable[[int, int], object]


class PassageEmbeddings(dy.Schema):
    """One row per passage of at most 120 words; `text` is the document's `text[start:end]`.

    `passage_id` joins the document's id and `searched_start`. The vector embeds the title and the
    words from `searched_start` to `searched_end`, which are within the passage. `tokens` are the
    vectors of their tokens (`token_vectors.pack_token_vectors`). `sentences` are the spans of their
    sentences, in characters of the document and in tokens.
    """

    passage_id = dy.String(primary_key=True, min_length=1)
    document_id = dy.String(min_length=1)
    title = dy.String()
    url = dy.String()
    language = dy.String()
    published_at = dy.Datetime(nullable=True, time_unit="us", time_zone="UTC")
    start = dy.Int64(min=0)
    end = dy.Int64(min=1)
    searched_start = dy.Int64(min=0)
    searched_end = dy.Int64(min=1)
    text = dy.String(min_length=1)
    tokens = dy.Binary()
    sentences = dy.List(
        dy.Struct(
            {
                "start": dy.Int64(min=0),
                "end": dy.Int64(min=1),
                "first_token": dy.Int64(min=0),
                "end_token": dy.Int64(min=0),
            }
        )
    )

    @dy.rule()
    def offsets_fit_the_text(cls) -> pl.Expr:
        return pl.col("end") - pl.col("start") == pl.col("text").str.len_chars()

    @dy.rule()
    def searched_part_is_shown(cls) -> pl.Expr:
        starts_inside = pl.col("start") <= pl.col("searched_start")
        return starts_inside & (pl.col("searched_end") <= pl.col("end"))


def passage_columns(dimension: int) -> Mapping[str, pl.DataType]:
    """Return the column types: the contract's, `embedder` (its revision) and `vector`."""
    return {
        **{name: column.dtype for name, column in PassageEmbeddings.columns().items()},
        "embedder": pl.String(),
        "vector": pl.Array(pl.Float32(), dimension),
    }


def update_passages(
    tables: Tables, author: str, embedder: Embedder, *, progress: SyncProgressLogger
) -> SyncResult:
    """Cut and embed an author's new and changed documents, and update `passage_embeddings`."""
    return tables.sync(
        Upstream("cleaned_documents", author, columns=DOCUMENT_COLUMNS),
        PASSAGES_TABLE,
        author=author,
        key="document_id",
        function=lambda rows: embed_passages(rows, embedder, progress=progress.advance),
        version=f"{PASSAGES_VERSION}:{embedder.revision}",
        schema=passage_columns(embedder.dimension),
        row_key="passage_id",
        on_batch=progress.begin_batch,
        rebuild_in_one_commit=True,
    )


def embed_passages(
    documents: pl.DataFrame, embedder: Embedder, *, progress: ProgressCallback | None = None
) -> pl.DataFrame:
    """Cut every kept document into passages and embed them.

    Args:
        documents: `DOCUMENT_COLUMNS` of `cleaned_documents`.
        progress: as for `Embedder.embed`.

    Returns:
        `passage_columns`; vectors are float32 of length 1.
    """
    rows: list[dict[str, Any]] = []
    texts: list[str] = []
    sentence_spans: list[list[tuple[int, int]]] = []
    for document in documents.filter(pl.col("kept")).to_dicts():
        text, title = str(document["text"]), document["title"] or ""
        for passage in split_into_passages(text, language=str(document["language"])):
            begin, stop = passage.searched_span
            rows.append(
                {
                    "passage_id": f"{document['document_id']}-{begin}",
                    **{
                        name: document[name] for name in ("document_id", "title", "url", "language")
                    },
                    "published_at": document["published_at"],
                    "start": passage.start,
                    "end": passage.end,
                    "searched_start": begin,
                    "searched_end": stop,
                    "text": text[passage.start : passage.end],
                    "sentences": [{"start": start, "end": end} for start, end in passage.sentences],
                }
            )
            texts.append(build_embedded_text(title, text[begin:stop]))
            sentence_spans.append(embedded_sentence_spans(title, text, passage))

    def store_token_vectors(row_index: int, states: np.ndarray) -> None:
        rows[row_index]["tokens"] = pack_token_vectors(states)

    vectors = embedder.embed(texts, progress=progress, on_tokens=store_token_vectors)
    for row, spans, end_offsets in zip(
        rows, sentence_spans, _iter_token_ends(texts, embedder), strict=True
    ):
        for sentence, span in zip(row["sentences"], spans, strict=True):
            first_token, end = (bisect_right(end_offsets, character) for character in span)
            sentence |= {"first_token": first_token, "end_token": end}
    columns = passage_columns(embedder.dimension)
    contract_columns = {name: columns[name] for name in PassageEmbeddings.columns()}
    table = pl.DataFrame(PassageEmbeddings.validate(pl.DataFrame(rows, schema=contract_columns)))
    return table.with_columns(
        pl.lit(embedder.revision).alias("embedder"),
        pl.Series("vector", vectors, dtype=columns["vector"]),
    )


def _iter_token_ends(texts: Sequence[str], embedder: Embedder) -> Iterator[list[int]]:
    """Yield the end offsets of each text's tokens, without special tokens.

    Starts are not used: some tokenizers include the space before a word in its token.
    """
    for encoding in embedder.tokenizer.encode_batch(list(texts), add_special_tokens=False):
        yield [end for _, end in encoding.offsets]


def count_misquoted(passages: pl.DataFrame, documents: pl.DataFrame) -> int:
    """Count passages that differ in any character from their part of the document.

    Args:
        passages: `document_id`, `start`, `end`, `text` of `passage_embeddings`.
        documents: `document_id` and `text` of the kept documents.
    """
    texts: dict[str, str] = dict(documents.select("document_id", "text").iter_rows())
    rows = passages.select("document_id", "start", "end", "text").iter_rows()
    return sum(texts.get(document, "")[start:end] != text for document, start, end, text in rows)
