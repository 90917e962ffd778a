"""Declare table assets and report their materializations to Dagster.

Scope: the partitions, I/O manager and kind of all authors' tables, and the data version and
metadata of a materialization.
Out of scope: writing (`Tables.sync`), loading (`tables_io_manager.py`), and the other contents of
an asset's page (`asset_specs.py`).
Source: https://docs.dagster.io/guides/build/assets/asset-versioning-and-caching
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from twin_assets.partitions import authors
from twin_resources.storage.tables.tables import SyncResult, Tables

AssetFunction = Callable[..., dg.MaterializeResult]


def table_asset(
    *, group_name: str, **asset_arguments: Any
) -> Callable[[AssetFunction], dg.AssetsDefinition]:
    """Declare an asset with one Lance table per author, which downstream assets load with Polars.

    Args:
        asset_arguments: other arguments of `dg.asset`: `deps`, `code_version`, `pool`,
            `check_specs`.
    """
    return dg.asset(
        group_name=group_name,
        partitions_def=authors,
        io_manager_key="tables_io",
        kinds={"lance"},
        **asset_arguments,
    )


def report_materialization(
    table: SyncResult | str,
    metadata: Mapping[str, Any] | None = None,
    *,
    check_results: Sequence[dg.AssetCheckResult] = (),
) -> dg.MaterializeResult:
    """Report the table in its current state.

    Args:
        table: the result of a sync, or the data version alone.
        metadata: numbers and plots, but no text of a post: the event log keeps it forever.
    """
    table_metadata = {} if isinstance(table, str) else table.metadata()
    return dg.MaterializeResult(
        data_version=dg.DataVersion(table if isinstance(table, str) else table.data_version),
        metadata={**table_metadata, **(metadata or {})},
        check_results=list(check_results),
    )


def report_unchanged(
    tables: Tables, table: str, author: str, *, reason: str, **metadata: Any
) -> dg.MaterializeResult:
    """Report that there is nothing to do; skipping the asset would skip downstream assets too."""
    version = tables.data_version(table, author) or "none"
    return report_materialization(version, {"nothing_to_do": reason, **metadata})
