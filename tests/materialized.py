"""Assets run in process for one author, with the product's own resources, and what they said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from twin_assets.definitions import default_resources
from twin_assets.partitions import authors


def instance_of(*slugs: str) -> dg.DagsterInstance:
    """An ephemeral instance that knows these authors."""
    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions(str(authors.name), list(slugs))
    return instance


def materialize_assets(
    assets: Sequence[Any], author: str | None, instance: dg.DagsterInstance, **more: Any
) -> dg.ExecuteInProcessResult:
    """Run assets and checks in the home that `TWIN_HOME` names.

    Args:
        more: other arguments of `dg.materialize`.
    """
    return dg.materialize(
        assets, partition_key=author, instance=instance, resources=default_resources(), **more
    )


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """Metadata of the asset's one materialization, and its `data_version`."""
    [event] = result.asset_materializations_for_node(asset)
    values = {name: value.value for name, value in event.metadata.items()}
    return values | {"data_version": (event.tags or {}).get("dagster/data_version")}
