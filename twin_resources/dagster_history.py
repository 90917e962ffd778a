"""Read an asset's newest materialization from Dagster's records.

Scope: reading its metadata in assets and sensors, which have a Dagster instance.
Out of scope: reading it over HTTP (`dagster_http.py`), decisions.
"""

from __future__ import annotations

from typing import Any

import dagster as dg


def newest_metadata(instance: dg.DagsterInstance, asset: str, author: str) -> dict[str, Any]:
    """Return the metadata of an asset's newest materialization for one author, or {}."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[author]), limit=1
    ).records
    if not records or records[0].asset_materialization is None:
        return {}
    entries = records[0].asset_materialization.metadata
    return {name: value.value for name, value in entries.items()}
