"""Vectors that stand already: text that was embedded before is not embedded again.

Scope: finding them in the author's own table by the text that was embedded.
Out of scope: embedding (`embedding.py`), what is embedded of a chunk (`chunking.py`).

A row of `embeddings` is written again when anything of it changes: its date, its place in the post,
the post that it stands in. Its vector depends on embedder and `indexed_text` alone. A chunk's id
names the shown text, which narrows the rows; the whole text decides, because under another title
the same words have another vector.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from twin_assets.knowledge.chunking import contents_of
from twin_resources.storage.tables.tables import Tables

if TYPE_CHECKING:
    import numpy as np


class VectorCache:
    """The vectors of an author's table as it stands when this is made.

    Args:
        revision: of the embedder; vectors of another one are not used.

    Attributes:
        reused: vectors that were found, counted over all calls.
    """

    def __init__(self, tables: Tables, author: str, *, revision: str) -> None:
        self._tables = tables
        self._author = author
        self._made_by = f"embedder = '{revision}'"
        # Rework may delete the row that a chunk had before: the version keeps it readable.
        self._version = tables.lance_version("embeddings", author)
        self.reused = 0

    @cached_property
    def _stored(self) -> pl.DataFrame:
        """`chunk_id` and `content` (the text that it names) of every vector of this embedder."""
        if self._version is None or not self._says_what_it_embedded():
            return pl.DataFrame(schema={"chunk_id": pl.String(), "content": pl.String()})
        stored = self._read(["chunk_id"], where=self._made_by)
        return stored.with_columns(contents_of(stored["chunk_id"]).alias("content")).filter(
            pl.col("content") != ""
        )

    def _says_what_it_embedded(self) -> bool:
        """A table of an earlier release has no such column, and vectors of texts without title."""
        stored = self._tables.scan("embeddings", self._author, version=self._version)
        return "indexed_text" in stored.collect_schema()

    def find(self, texts: Mapping[str, str]) -> dict[str, np.ndarray]:
        """The vectors of those chunks whose text has one, by chunk id.

        Args:
            texts: `indexed_text` by chunk id.
        """
        wanted = pl.DataFrame(
            {"asked": list(texts), "indexed_text": list(texts.values())},
            schema={"asked": pl.String(), "indexed_text": pl.String()},
        )
        wanted = wanted.with_columns(contents_of(wanted["asked"]).alias("content"))
        rows = self._stored.join(wanted, on="content", how="semi")["chunk_id"].to_list()
        if not rows:
            return {}
        listed = ", ".join(f"'{row}'" for row in rows)
        stored = self._read(["indexed_text", "vector"], where=f"chunk_id IN ({listed})").unique(
            "indexed_text", keep="first", maintain_order=True
        )
        known = wanted.join(stored, on="indexed_text")
        self.reused += known.height
        return dict(zip(known["asked"], known["vector"].to_numpy(), strict=True))

    def _read(self, columns: list[str], *, where: str) -> pl.DataFrame:
        return self._tables.read(
            "embeddings", self._author, columns=columns, where=where, version=self._version
        )
