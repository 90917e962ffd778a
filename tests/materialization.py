"""Materialize assets in this process, with the product's default resources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from twin_assets.definitions import default_resources
from twin_assets.partitions import authors


def create_instance(*slugs: str) -> dg.DagsterInstance:
    """Return an ephemeral instance with these authors as partitions."""
    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions(str(authors.name), list(slugs))
    return instance


def materialize_assets(
    assets: Sequence[Any], author: str | None, instance: dg.DagsterInstance, **options: Any
) -> dg.ExecuteInProcessResult:
    """Run assets and checks in the home `TWIN_HOME`.

    Args:
        options: further arguments of `dg.materialize`.
    """
    return dg.materialize(
        assets, partition_key=author, instance=instance, resources=default_resources(), **options
    )


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """Return the metadata of the asset's only materialization, with its `data_version`."""
    [event] = result.asset_materializations_for_node(asset)
    values = {name: value.value for name, value in event.metadata.items()}
    return values | {"data_version": (event.tags or {}).get("dagster/data_version")}
