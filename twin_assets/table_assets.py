"""How a table asset is declared, and how Dagster is told what became of its table.

Scope: what all tables of authors share: partitions, manager, kind; data version and metadata
of a materialization. Out of scope: writing (`Tables.sync`), loading
(`tables_io_manager.py`), what an asset's page shows beside (`asset_specs.py`).
Source: https://docs.dagster.io/guides/build/assets/asset-versioning-and-caching
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from twin_assets.partitions import authors
from twin_resources.storage.tables.tables import SyncResult, Tables

Body = Callable[..., dg.MaterializeResult]


def table_asset(*, group_name: str, **declared: Any) -> Callable[[Body], dg.AssetsDefinition]:
    """`@dg.asset` of one Lance table an author, loaded downstream as a Polars frame.

    Args:
        declared: whatever else `dg.asset` takes: `deps`, `code_version`, `pool`, `check_specs`.
    """
    return dg.asset(
        group_name=group_name,
        partitions_def=authors,
        io_manager_key="tables_io",
        kinds={"lance"},
        **declared,
    )


def materialized(
    table: SyncResult | str,
    metadata: Mapping[str, Any] | None = None,
    *,
    check_results: Sequence[dg.AssetCheckResult] = (),
) -> dg.MaterializeResult:
    """The table as it is now.

    Args:
        table: what a sync did, or the data version alone.
        metadata: numbers and plots; no text of a post, because the event log keeps it for ever.
    """
    numbers = {} if isinstance(table, str) else table.metadata()
    return dg.MaterializeResult(
        data_version=dg.DataVersion(table if isinstance(table, str) else table.data_version),
        metadata={**numbers, **(metadata or {})},
        check_results=list(check_results),
    )


def left_as_it_was(
    tables: Tables, table: str, author: str, *, because: str, **metadata: Any
) -> dg.MaterializeResult:
    """Nothing to do: told, not skipped, since what is downstream would be skipped with it."""
    version = tables.data_version(table, author) or "none"
    return materialized(version, {"nothing_to_do": because, **metadata})
