"""Vectors that stand already: text that was embedded before is not embedded again.

Belongs here: finding them in the author's own table by the content that a chunk's id names.
Does not belong here: embedding (`embedding.py`), the rule of the id (`chunking.py`).

A row of `embeddings` is written again when anything of it changes: its title, its place in the
post, the post that it stands in. Its vector depends on nothing but embedder, chunker and text, and
those are hashed in the id.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from twin_assets.knowledge.chunking import contents_of
from twin_resources.tables.tables import Tables

if TYPE_CHECKING:
    import numpy as np


class StandingVectors:
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
        """`chunk_id` of each content (`content`) that has a vector; one of those that have it."""
        if self._version is None:
            return pl.DataFrame(schema={"chunk_id": pl.String(), "content": pl.String()})
        stored = self._read(["chunk_id"], where=self._made_by)
        return (
            stored.with_columns(contents_of(stored["chunk_id"]).alias("content"))
            .filter(pl.col("content") != "")
            .unique("content", keep="first", maintain_order=True)
        )

    def find(self, chunk_ids: Sequence[str]) -> dict[str, np.ndarray]:
        """The vectors of those chunks whose content has one, by chunk id."""
        asked = pl.DataFrame({"asked": chunk_ids}, schema={"asked": pl.String()})
        asked = asked.with_columns(contents_of(asked["asked"]).alias("content"))
        wanted: dict[str, str] = dict(
            asked.join(self._stored, on="content").select("asked", "chunk_id").iter_rows()
        )
        if not wanted:
            return {}
        listed = ", ".join(f"'{row}'" for row in sorted(set(wanted.values())))
        rows = self._read(["chunk_id", "vector"], where=f"chunk_id IN ({listed})")
        vectors = dict(zip(rows["chunk_id"], rows["vector"].to_numpy(), strict=True))
        self.reused += len(wanted)
        return {name: vectors[row] for name, row in wanted.items()}

    def _read(self, columns: list[str], *, where: str) -> pl.DataFrame:
        return self._tables.read(
            "embeddings", self._author, columns=columns, where=where, version=self._version
        )
