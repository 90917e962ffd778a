"""Write given rows to a table through `Tables.sync`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from twin_resources.storage.tables.tables import SyncResult, Tables


def store_rows(
    tables: Tables,
    asset: str,
    author: str,
    rows: pl.DataFrame | Sequence[Mapping[str, Any]],
    *,
    key: str,
    schema: Mapping[str, Any] | None = None,
) -> SyncResult:
    """Replace the table's rows with these.

    Args:
        key: a column with unique values.
        schema: the table's schema; None means the schema of `rows`.
    """
    if not isinstance(rows, pl.DataFrame):
        rows = pl.DataFrame(rows, schema=schema and dict(schema))
    return tables.sync(
        rows,
        asset,
        author=author,
        key=key,
        function=lambda changed: changed,
        version="by hand",
        schema=dict(schema or rows.schema),
        row_key=key,
    )
