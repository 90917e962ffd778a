"""Read rows of a table by their ids.

Scope: reading them with a filter of up to a thousand ids, and that filter. Out of scope:
their meaning (`twin_assets`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

_MAX_IDS_PER_QUERY = 1000


def read_by_id(
    tables: Tables, asset: str, author: str, key: str, ids: pl.Series, columns: Sequence[str]
) -> pl.DataFrame:
    """Return these columns of the rows whose `key` is one of the ids, unordered."""
    parts = [
        tables.read(asset, author, columns=columns, where=sql_in_filter(key, part["id"].to_list()))
        for part in ids.alias("id").to_frame().iter_slices(_MAX_IDS_PER_QUERY)
    ]
    return pl.concat(parts) if parts else tables.read(asset, author, columns=columns, where="false")


def sql_in_filter(column: str, values: Iterable[str]) -> str:
    """Return an SQL filter, or `false` if there are no values."""
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in sorted(values))
    return f"{column} IN ({quoted})" if quoted else "false"
