"""Cleaned documents → rows of `sentence_embeddings`: what may be quoted, with its vector.

Belongs here: the contract of the table, the pure function that fills it, and its update. Does not
belong here: where a window begins and ends (`twin_resources/models/quotes/windows.py`), the model.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import dataframely as dy
import polars as pl

from twin_resources.models.quotes.quoter import TABLE
from twin_resources.models.quotes.windows import WINDOWS_VERSION, embedded_text, windows_of
from twin_resources.storage.tables.tables import SyncResult, Tables, Upstream

if TYPE_CHECKING:
    from twin_resources.models.embedder.embedder import Embedder
    from twin_resources.processes.progress_lines import SyncProgressLines

DOCUMENT_COLUMNS = ("document_id", "title", "url", "published_at", "language", "text", "kept")
"""What `embed_windows` reads of `cleaned_documents`."""


class SentenceEmbeddings(dy.Schema):
    """One row a window of up to three sentences; `text` is the document's `text[start:end]`.

    `window_id` is the document's id and `start`. The vector is of the title and the window's words.
    """

    window_id = dy.String(primary_key=True, min_length=1)
    document_id = dy.String(min_length=1)
    title = dy.String()
    url = dy.String()
    published_at = dy.Datetime(nullable=True, time_unit="us", time_zone="UTC")
    start = dy.Int64(min=0)
    end = dy.Int64(min=1)
    text = dy.String(min_length=1)

    @dy.rule()
    def offsets_fit_the_text(cls) -> pl.Expr:
        return pl.col("end") - pl.col("start") == pl.col("text").str.len_chars()


def window_columns(dimension: int) -> Mapping[str, pl.DataType]:
    """Column → type: those of `SentenceEmbeddings`, `embedder` (revision) and `vector`."""
    return {
        **{name: column.dtype for name, column in SentenceEmbeddings.columns().items()},
        "embedder": pl.String(),
        "vector": pl.Array(pl.Float32(), dimension),
    }


def update_windows(
    tables: Tables, author: str, embedder: Embedder, *, progress: SyncProgressLines
) -> SyncResult:
    """Bring an author's table up to date with the cleaned documents; what was done."""
    return tables.sync(
        Upstream("cleaned_documents", author, columns=DOCUMENT_COLUMNS),
        TABLE,
        author=author,
        key="document_id",
        function=lambda rows: embed_windows(rows, embedder, progress=progress.advance),
        version=f"{WINDOWS_VERSION}:{embedder.revision}",
        schema=window_columns(embedder.dimension),
        row_key="window_id",
        announce=progress.begin,
    )


def embed_windows(
    documents: pl.DataFrame,
    embedder: Embedder,
    *,
    progress: Callable[[int, int], object] | None = None,
) -> pl.DataFrame:
    """Cut every kept document into windows and embed them.

    Args:
        documents: `DOCUMENT_COLUMNS` of `cleaned_documents`.
        progress: as of `Embedder.embed`.

    Returns:
        `window_columns`, no to many rows a document; vectors are float32 of length 1.
    """
    rows: list[dict[str, Any]] = []
    for document in documents.filter(pl.col("kept")).to_dicts():
        text = str(document["text"])
        for window in windows_of(text, language=str(document["language"])):
            rows.append(
                {
                    "window_id": f"{document['document_id']}-{window.start}",
                    **{name: document[name] for name in ("document_id", "title", "url")},
                    "published_at": document["published_at"],
                    "start": window.start,
                    "end": window.end,
                    "text": text[window.start : window.end],
                }
            )
    types = window_columns(embedder.dimension)
    plain = {name: types[name] for name in SentenceEmbeddings.columns()}
    windows = SentenceEmbeddings.validate(pl.DataFrame(rows, schema=plain))
    texts = [embedded_text(*row) for row in windows.select("title", "text").iter_rows()]
    return windows.with_columns(
        pl.lit(embedder.revision).alias("embedder"),
        pl.Series("vector", embedder.embed(texts, progress=progress), dtype=types["vector"]),
    )


def misquoted(windows: pl.DataFrame, documents: pl.DataFrame) -> int:
    """Count windows that are not, character by character, the part of a document that they name.

    Args:
        windows: `document_id`, `start`, `end`, `text` of `sentence_embeddings`.
        documents: `document_id` and `text` of the kept documents.
    """
    texts: dict[str, str] = dict(documents.select("document_id", "text").iter_rows())
    rows = windows.select("document_id", "start", "end", "text").iter_rows()
    return sum(texts.get(document, "")[start:end] != text for document, start, end, text in rows)
