"""Reuse stored vectors, so that the same text is not embedded again.

Scope: finding stored vectors in the author's table by the embedded text.
Out of scope: embedding (`embedding.py`), the embedded part of a chunk (`chunking.py`).
A row of `embeddings` is rewritten if any of its columns changes, for example its date or position.
Its vector depends only on the embedder and `indexed_text`. The hash in a chunk's id covers the
shown text, which narrows the search. The whole text is then compared, because the same words under
a different title have a different vector.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from twin_assets.knowledge.chunking import extract_content_hashes
from twin_resources.storage.tables.tables import Tables

if TYPE_CHECKING:
    import numpy as np


class VectorCache:
    """Cache of the vectors in an author's table at the time of construction.

    Args:
        revision: revision of the embedder; vectors of other revisions are not used.

    Attributes:
        reused: number of vectors found in all calls.
    """

    def __init__(self, tables: Tables, author: str, *, revision: str) -> None:
        self._tables = tables
        self._author = author
        self._embedder_filter = f"embedder = '{revision}'"
        # the update may delete a chunk's old row; this version keeps it readable
        self._version = tables.lance_version("embeddings", author)
        self.reused = 0

    @cached_property
    def _stored_chunk_ids(self) -> pl.DataFrame:
        """`chunk_id` and `content` (the hash of its text) of every vector made by this embedder."""
        if self._version is None or not self._has_indexed_text():
            return pl.DataFrame(schema={"chunk_id": pl.String(), "content": pl.String()})
        chunk_ids = self._read(["chunk_id"], where=self._embedder_filter)
        return chunk_ids.with_columns(
            extract_content_hashes(chunk_ids["chunk_id"]).alias("content")
        ).filter(pl.col("content") != "")

    def _has_indexed_text(self) -> bool:
        """Return whether `indexed_text` exists; without it, vectors exclude the title."""
        stored_rows = self._tables.scan("embeddings", self._author, version=self._version)
        return "indexed_text" in stored_rows.collect_schema()

    def find(self, texts: Mapping[str, str]) -> dict[str, np.ndarray]:
        """Return the stored vectors by chunk id, for each chunk whose text has one.

        Args:
            texts: `indexed_text` by chunk id.
        """
        requests = pl.DataFrame(
            {"requested_id": list(texts), "indexed_text": list(texts.values())},
            schema={"requested_id": pl.String(), "indexed_text": pl.String()},
        )
        requests = requests.with_columns(
            extract_content_hashes(requests["requested_id"]).alias("content")
        )
        chunk_ids = self._stored_chunk_ids.join(requests, on="content", how="semi")[
            "chunk_id"
        ].to_list()
        if not chunk_ids:
            return {}
        quoted_ids = ", ".join(f"'{chunk_id}'" for chunk_id in chunk_ids)
        stored_vectors = self._read(
            ["indexed_text", "vector"], where=f"chunk_id IN ({quoted_ids})"
        ).unique("indexed_text", keep="first", maintain_order=True)
        matches = requests.join(stored_vectors, on="indexed_text")
        self.reused += matches.height
        return dict(zip(matches["requested_id"], matches["vector"].to_numpy(), strict=True))

    def _read(self, columns: list[str], *, where: str) -> pl.DataFrame:
        return self._tables.read(
            "embeddings", self._author, columns=columns, where=where, version=self._version
        )
