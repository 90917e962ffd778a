"""The asset graph as a snapshot, so that it cannot change unseen.

A change that is meant: `python -m tests.graph.test_asset_graph` writes the new snapshot.
"""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg

from twin_assets.definitions import build_defs, defs

SNAPSHOT = Path(__file__).with_name("asset_graph.json")


def snapshot() -> dict[str, object]:
    # An instance of its own: Dagster keeps the one entered last for whoever loads definitions, and
    # contexts of other tests that are collected out of order leave a dead one there.
    with dg.DagsterInstance.ephemeral():
        return _snapshot()


def _snapshot() -> dict[str, object]:
    graph = defs.resolve_asset_graph()
    assets = {
        key.to_user_string(): {
            "group": graph.get(key).group_name,
            "parents": sorted(parent.to_user_string() for parent in graph.get(key).parent_keys),
            "partitioned_by": getattr(graph.get(key).partitions_def, "name", None),
        }
        for key in sorted(graph.get_all_asset_keys())
    }
    checks = {
        f"{key.asset_key.to_user_string()}:{key.name}": {
            "blocking": graph.get(key).blocking,
            "partitioned_by": getattr(graph.get(key).partitions_def, "name", None),
        }
        for key in sorted(graph.asset_check_keys, key=str)
    }
    jobs = {
        job.name: sorted(key.to_user_string() for key in job.asset_layer.executable_asset_keys)
        for job in defs.resolve_all_job_defs()
        if not job.name.startswith("__")
    }
    return {"assets": assets, "checks": checks, "jobs": jobs}


def test_graph_is_as_recorded() -> None:
    recorded = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert snapshot() == recorded, "meant? run `python -m tests.graph.test_asset_graph`"


def test_only_marts_over_all_authors_are_not_partitioned_by_author() -> None:
    now = snapshot()
    whole = {
        f"{kind}: {name}"
        for kind in ("assets", "checks")
        for name, row in now[kind].items()  # type: ignore[attr-defined]
        if row["partitioned_by"] != "authors"
    }
    assert {name for name in whole if "cost_by_day" not in name} == set()


def test_resources_can_be_replaced_by_name() -> None:
    replaced = build_defs(resources={"settings": dg.ResourceDefinition.hardcoded_resource("mine")})
    assert replaced.resources is not None
    assert set(replaced.resources) == set(defs.resources or {})
    assert replaced.resources["settings"] is not (defs.resources or {})["settings"]


def test_every_run_is_one_process_a_materialization_from_the_ui_too() -> None:
    with dg.DagsterInstance.ephemeral():
        executors = {job.name: job.executor_def.name for job in defs.resolve_all_job_defs()}
    assert "__ASSET_JOB" in executors  # what the UI launches
    assert set(executors.values()) == {dg.in_process_executor.name}


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(snapshot(), indent=2) + "\n", encoding="utf-8")
