"""Embed chunks: each row of `embeddings` has a vector and the data that an answer cites.

Scope: the contract of the table, the pure function that fills it, and its update.
Out of scope: cutting (`chunking`), the model (`twin_resources.models.embedder`), indexes
and search (`twin_resources.models.retrieval.index`, `twin_resources.models.retrieval`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import polars as pl

from twin_assets.knowledge.chunking import chunk_columns, indexed_text
from twin_resources.storage.tables.tables import SyncResult, Tables, Upstream

if TYPE_CHECKING:
    from twin_resources.models.embedder.embedder import Embedder
    from twin_resources.processes.progress_lines import SyncProgressLogger

EMBEDDING_VERSION = "2"
"""Version of `embed_chunks`; the asset adds the embedder's revision to it."""


def embedding_columns(dimension: int) -> Mapping[str, pl.DataType]:
    """Return the column types of `embeddings`: those of `document_chunks` and three more.

    `indexed_text` (title and text) is embedded and indexed for full-text search; readers see
    `text`. `embedder` is the revision of the embedder that computed `vector`.
    """
    return {
        **chunk_columns(),
        "indexed_text": pl.String(),
        "embedder": pl.String(),
        "vector": pl.Array(pl.Float32(), dimension),
    }


def update_embeddings(
    tables: Tables, author: str, embedder: Embedder, *, progress: SyncProgressLogger
) -> SyncResult:
    """Embed an author's new and changed chunks, and update the table `embeddings`."""
    return tables.sync(
        Upstream("document_chunks", author),
        "embeddings",
        author=author,
        key="chunk_id",
        function=lambda chunks: embed_chunks(chunks, embedder, progress=progress.advance),
        version=f"{EMBEDDING_VERSION}:{embedder.revision}",
        schema=embedding_columns(embedder.dimension),
        row_key="chunk_id",
        on_batch=progress.begin_batch,
        rebuild_in_one_commit=True,
    )


def embed_chunks(
    chunks: pl.DataFrame,
    embedder: Embedder,
    *,
    progress: Callable[[int, int], object] | None = None,
) -> pl.DataFrame:
    """Add a unit vector to every chunk.

    Args:
        chunks: rows of `document_chunks`; each fits the embedder's limit (`no_chunk_is_truncated`).
        progress: as for `Embedder.embed`.

    Returns:
        The same rows with `indexed_text`, `embedder` and `vector` (float32, length 1).
    """
    texts = list(map(indexed_text, chunks["heading"].to_list(), chunks["text"].to_list()))
    vectors = embedder.embed(texts, progress=progress)
    return chunks.with_columns(
        pl.Series("indexed_text", texts, dtype=pl.String()),
        pl.lit(embedder.revision).alias("embedder"),
        pl.Series("vector", vectors, dtype=pl.Array(pl.Float32(), embedder.dimension)),
    )


def count_unmatched(embedded: pl.Series, chunks: pl.Series) -> dict[str, int]:
    """Count chunks without a vector (`missing`) and vectors without a chunk (`unknown`).

    Args:
        embedded: `chunk_id` of all `embeddings`.
        chunks: `chunk_id` of all `document_chunks`.
    """
    embedded_ids, chunk_ids = embedded.unique().to_frame("id"), chunks.unique().to_frame("id")
    return {
        "missing": chunk_ids.join(embedded_ids, on="id", how="anti").height,
        "unknown": embedded_ids.join(chunk_ids, on="id", how="anti").height,
    }


def count_unusable_vectors(batches: Iterable[pl.DataFrame], *, revision: str) -> dict[str, int]:
    """Count vectors whose chunk a search ranks wrongly or cannot find.

    Args:
        batches: `embedder` and `vector` of `embeddings`.
        revision: revision of the embedder that embeds questions.

    Returns:
        `other_embedder`: vectors that cannot be compared with a question's vector.
        `not_unit_length`: vectors whose length differs from 1 by more than .001.
    """
    counts = {"other_embedder": 0, "not_unit_length": 0}
    for batch in batches:
        lengths = batch["vector"].arr.eval(pl.element() ** 2).arr.sum().sqrt()
        counts["other_embedder"] += int((batch["embedder"] != revision).sum())
        counts["not_unit_length"] += int((~lengths.is_between(0.999, 1.001)).fill_null(True).sum())
    return counts
