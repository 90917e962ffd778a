"""Rows of a table by their ids.

Belongs here: reading them, a thousand ids a filter. Does not belong here: what they mean.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from twin_assets.instructions.model_answers import is_one_of

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

_AT_ONCE = 1000


def read_by_id(
    tables: Tables, asset: str, author: str, key: str, ids: pl.Series, columns: Sequence[str]
) -> pl.DataFrame:
    """The rows with these ids, `key` first."""
    wanted = [key, *columns]
    parts = [
        tables.read(asset, author, columns=wanted, where=is_one_of(key, part["id"].to_list()))
        for part in ids.alias("id").to_frame().iter_slices(_AT_ONCE)
    ]
    return pl.concat(parts) if parts else tables.read(asset, author, columns=wanted, where="false")
