"""Read rows of a table by their ids.

Scope: reading the rows in queries of up to a thousand ids, and the SQL filter of a query.
Out of scope: the meaning of rows (`twin_assets`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import polars as pl

from twin_resources.storage.tables.store import quote_literal

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

_MAX_IDS_PER_QUERY = 1000


def read_by_id(
    tables: Tables, asset: str, author: str, key: str, ids: pl.Series, columns: Sequence[str]
) -> pl.DataFrame:
    """Return these columns of the rows whose `key` is one of the ids, in any order."""
    frames = [
        tables.read(
            asset, author, columns=columns, where=sql_in_filter(key, id_slice["id"].to_list())
        )
        for id_slice in ids.alias("id").to_frame().iter_slices(_MAX_IDS_PER_QUERY)
    ]
    return (
        pl.concat(frames) if frames else tables.read(asset, author, columns=columns, where="false")
    )


def sql_in_filter(column: str, values: Iterable[str]) -> str:
    """Return an SQL filter for these values, or `false` if there are none."""
    quoted_values = ", ".join(quote_literal(value) for value in sorted(values))
    return f"{column} IN ({quoted_values})" if quoted_values else "false"
