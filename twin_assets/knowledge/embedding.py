"""Chunks → rows of the `embeddings` table: a vector beside everything that an answer cites.

Belongs here: the contract of the table and the pure function that fills it.
Does not belong here: cutting (`chunking`), the model (`twin_resources.embedder`), indexes and
search (`twin_resources.retrieval.index`, `twin_resources.retrieval`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import polars as pl

from twin_assets.knowledge.chunking import chunk_columns

if TYPE_CHECKING:
    from twin_assets.knowledge.standing_vectors import StandingVectors
    from twin_resources.embedder.embedder import Embedder

EMBEDDING_VERSION = "1"
"""Version of `embed_chunks`; the asset adds the embedder's revision to it."""


def embedding_columns(dimension: int) -> Mapping[str, pl.DataType]:
    """Column → type: those of `document_chunks`, `embedder` (revision) and `vector`."""
    return {
        **chunk_columns(),
        "embedder": pl.String(),
        "vector": pl.Array(pl.Float32(), dimension),
    }


def embed_chunks(
    chunks: pl.DataFrame, embedder: Embedder, *, standing: StandingVectors | None = None
) -> pl.DataFrame:
    """Add a unit vector to every chunk.

    Args:
        chunks: rows of `document_chunks`; each fits the embedder's limit (`no_chunk_is_truncated`).
        standing: vectors of this embedder that need not be computed again.

    Returns:
        The same rows with `embedder` and `vector` (float32, length 1).
    """
    names: list[str] = chunks["chunk_id"].to_list()
    found = standing.find(names) if standing else {}
    new = [place for place, name in enumerate(names) if name not in found]
    computed = embedder.embed(chunks["text"].gather(new).to_list())
    vectors = found | {names[place]: vector for place, vector in zip(new, computed, strict=True)}
    return chunks.with_columns(
        pl.lit(embedder.revision).alias("embedder"),
        pl.Series(
            "vector",
            [vectors[name] for name in names],
            dtype=pl.Array(pl.Float32(), embedder.dimension),
        ),
    )


def unmatched(embedded: pl.Series, chunks: pl.Series) -> dict[str, int]:
    """Count chunks without a vector (`missing`) and vectors without a chunk (`unknown`).

    Args:
        embedded: `chunk_id` of all `embeddings`.
        chunks: those of all `document_chunks`.
    """
    rows, wanted = embedded.unique().to_frame("id"), chunks.unique().to_frame("id")
    return {
        "missing": wanted.join(rows, on="id", how="anti").height,
        "unknown": rows.join(wanted, on="id", how="anti").height,
    }


def unusable(parts: Iterable[pl.DataFrame], *, revision: str) -> dict[str, int]:
    """Count vectors by which a chunk would be found wrongly, or not at all.

    Args:
        parts: `embedder` and `vector` of `embeddings`.
        revision: of the embedder that questions are embedded with.

    Returns:
        `other_embedder`: vectors that can't be compared with a question's; `not_unit_length`:
        vectors off by more than .001.
    """
    counts = {"other_embedder": 0, "not_unit_length": 0}
    for part in parts:
        lengths = part["vector"].arr.eval(pl.element() ** 2).arr.sum().sqrt()
        counts["other_embedder"] += int((part["embedder"] != revision).sum())
        counts["not_unit_length"] += int((~lengths.is_between(0.999, 1.001)).fill_null(True).sum())
    return counts
