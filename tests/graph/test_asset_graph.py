"""Compare the asset graph with a snapshot, so that every change to it is visible in review.

After an intended change, `python -m tests.graph.test_asset_graph` writes the new snapshot.
"""

from __future__ import annotations

import inspect
import json
import tomllib
from pathlib import Path

import dagster as dg
import pytest
import yaml

from twin_assets.asset_specs import CONTRACTS
from twin_assets.definitions import build_defs, defs
from twin_resources.dagster_runs import ASSET_GROUPS, build_lineage_link

SNAPSHOT = Path(__file__).with_name("asset_graph.json")


def take_snapshot() -> dict[str, object]:
    """Describe the asset graph, jobs, sensors and schedules of newly built definitions."""
    # Loading definitions uses the instance that was entered last. Without a new one, that may be a
    # closed instance of another test, because contexts can be garbage-collected out of order.
    with dg.DagsterInstance.ephemeral(), pytest.MonkeyPatch.context() as patch:
        # Another test may have imported `defs` for a home with a paid model.
        patch.delenv("TWIN_PAID_MODEL", raising=False)
        return _describe(build_defs())


def _describe(defs: dg.Definitions) -> dict[str, object]:
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
    sensors = {item.name: f"every {item.minimum_interval_seconds} s" for item in defs.sensors or ()}
    schedules = {item.name: item.cron_schedule for item in defs.schedules or ()}
    times = dict(sorted((sensors | schedules).items()))
    return {"assets": assets, "checks": checks, "jobs": jobs, "times": times}


def test_the_graph_matches_the_snapshot() -> None:
    snapshot = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    current, advice = take_snapshot(), "intended? run `python -m tests.graph.test_asset_graph`"
    assert current.keys() == snapshot.keys(), advice
    for part, expected in snapshot.items():
        assert current[part] == expected, advice


def test_only_marts_over_all_authors_are_not_partitioned_by_author() -> None:
    graph = take_snapshot()
    unpartitioned = {
        f"{kind}: {name}"
        for kind in ("assets", "checks")
        for name, row in graph[kind].items()  # type: ignore[attr-defined]
        if row["partitioned_by"] != "authors"
    }
    assert {name for name in unpartitioned if "cost_by_day" not in name} == set()


def test_resources_can_be_replaced_by_name() -> None:
    new_defs = build_defs(resources={"settings": dg.ResourceDefinition.hardcoded_resource("mine")})
    assert new_defs.resources is not None
    assert set(new_defs.resources) == set(defs.resources or {})
    assert new_defs.resources["settings"] is not (defs.resources or {})["settings"]


def test_every_job_runs_in_one_process() -> None:
    with dg.DagsterInstance.ephemeral():
        executors = {job.name: job.executor_def.name for job in defs.resolve_all_job_defs()}
    assert "__ASSET_JOB" in executors  # the job that the UI launches
    assert set(executors.values()) == {dg.in_process_executor.name}


def test_every_asset_check_job_and_sensor_has_a_description() -> None:
    with dg.DagsterInstance.ephemeral():
        graph = defs.resolve_asset_graph()
        jobs = [job for job in defs.resolve_all_job_defs() if not job.name.startswith("__")]
    descriptions = {
        **{key.to_user_string(): graph.get(key).description for key in graph.get_all_asset_keys()},
        **{str(key): graph.get(key).description for key in graph.asset_check_keys},
        **{job.name: job.description for job in jobs},
        **{sensor.name: sensor.description for sensor in defs.sensors or ()},
        **{schedule.name: schedule.description for schedule in defs.schedules or ()},
    }
    assert [name for name, text in descriptions.items() if not (text or "").strip()] == []


def test_a_schedules_name_has_its_jobs_verb_and_its_time() -> None:
    with dg.DagsterInstance.ephemeral():
        names = {
            schedule_def.name: schedule_def.job_name
            for schedule_def in defs.get_repository_def().schedule_defs
        }
    assert names
    for name, job in names.items():
        assert name.split("_")[0] == job.split("_")[0], (name, job)
        times = ("_every_hour", "_every_day", "_every_night", "_before_dawn", "_every_monday")
        assert name.endswith(times), name


def test_every_asset_has_kinds_and_code_references() -> None:
    for name, spec in load_specs().items():
        assert spec.kinds, name
        references = spec.metadata["dagster/code_references"].code_references
        assert all(Path(reference.file_path).is_file() for reference in references), name
    mart = load_specs()["cost_by_day"].metadata["dagster/code_references"].code_references[0]
    assert Path(mart.file_path).name == "cost_by_day.sql"


def test_every_table_has_the_columns_of_its_contract() -> None:
    schemas: dict[str, dg.TableSchema] = {
        name: spec.metadata.get("dagster/column_schema", dg.TableSchema([]))
        for name, spec in load_specs().items()
        if "lance" in spec.kinds
    }
    assert [name for name, schema in schemas.items() if not schema.columns] == [], (
        "a new table: add its contract to `twin_assets/asset_specs.py`"
    )
    for name, contract in CONTRACTS.items():
        columns = {column.name: column for column in schemas[name].columns}
        # The vectors' length is known only in a prepared home, so no contract has it.
        vectors = ["embedder", "vector"] if name == "embeddings" else []
        assert list(columns) == [*contract.column_names(), *vectors]
        description = load_specs()[name].description or ""
        assert description.endswith(inspect.getdoc(contract) or "?")
        (key,) = contract.primary_key()
        assert columns[key].constraints.unique
        assert not columns[key].constraints.nullable
    kind = next(column for column in schemas["raw_posts"].columns if column.name == "kind")
    assert kind.type == "String"
    assert "tombstones have no text" in schemas["raw_posts"].constraints.other


def load_specs() -> dict[str, dg.AssetSpec]:
    with dg.DagsterInstance.ephemeral():
        return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def test_the_link_to_the_graph_opens_every_group() -> None:
    assert {spec.group_name for spec in load_specs().values()} == set(ASSET_GROUPS)
    link = build_lineage_link("http://127.0.0.1:3000")
    assert link.startswith("http://127.0.0.1:3000/asset-groups?expanded=")
    assert link.count("global%40global%3A") == len(ASSET_GROUPS)


def test_dg_and_the_workspace_name_the_same_module() -> None:
    """`dg check defs` and `dg list defs` read `[tool.dg]`; `dagster` reads the workspace."""
    root = Path(__file__).parents[2]
    [module] = yaml.safe_load((root / "workspace.yaml").read_text())["load_from"]
    project = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    assert module["python_module"] == {
        "module_name": project["code_location_target_module"],
        "location_name": project["code_location_name"],
    }


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(take_snapshot(), indent=2) + "\n", encoding="utf-8")
