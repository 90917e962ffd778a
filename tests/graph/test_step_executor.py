"""Test running steps of `retrain_twin` in separate processes, each with its configured size."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from tests.graph.local_launcher import SIZE_TAG
from tests.model_versions import register_version
from twin_assets.definitions import build_defs
from twin_assets.evaluation.gate import GATE_VERSION
from twin_assets.step_executor import read_step_execution
from twin_resources.authors import Author, write_author
from twin_resources.errors import TwinError
from twin_resources.registry.moves import GateClaim, Verdict
from twin_resources.registry.policy import read_policy
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings, load_settings
from twin_resources.storage.state.home_state import open_home_state

ROOT = Path(__file__).parents[2]
PRODUCTION_STEPS = ROOT / "deploy" / "steps.prod.yaml"
STEPS = ("released_model", "routing_policy")


def retrain_twin(steps_apart: str) -> dg.JobDefinition:
    """Build the job from the environment of the run, as the process of a step does.

    The argument is only a cache key: Dagster caches a job by its arguments.
    """
    assert load_settings().steps_apart == steps_apart
    return build_defs().resolve_job_def("retrain_twin")


@pytest.fixture
def passed_home(home: Settings) -> Settings:
    """Return the settings of a home in which a candidate has passed the gate."""
    write_author(home, Author("ada", "Ada", consent="2020-01-01: a test's own"))
    registry = Registry(open_home_state(home), policy_path=home.policy_path)
    register_version(
        registry, "ada", "c1", folder="/checkpoints/c1", adapter_gguf="/checkpoints/c1/adapter.gguf"
    )
    claim = GateClaim("beats_base_model", True, 1.2, 1.0, "perplexity 24 against 20")
    registry.record_verdict(Verdict("ada", "c1", GATE_VERSION, "passed", (claim,), "2026-01-01"))
    return home


def run_two_steps(folder: Path) -> tuple[dict[str, int], dict[str, Any]]:
    """Run two steps; return their process ids and the metadata of the second."""
    keys = frozenset(dg.AssetKey(name) for name in STEPS)
    job = dg.build_reconstructable_job(
        __name__, "retrain_twin", (load_settings().steps_apart,)
    ).get_subset(asset_selection=keys)
    folder.mkdir()
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        instance.add_dynamic_partitions("authors", ["ada"])
        partition = {"dagster/partition": "ada"}
        with dg.execute_job(job, instance=instance, tags=partition) as run:
            assert run.success
            processes = {
                event.step_key or "": int(str(event.event_specific_data.metadata["pid"].value))  # type: ignore[union-attr]
                for event in run.filter_events(
                    lambda event: event.event_type == dg.DagsterEventType.STEP_WORKER_STARTED
                )
            }
            (output,) = run.asset_materializations_for_node("routing_policy")
    values = {name: value.value for name, value in output.metadata.items()}
    return processes, values | {"data": (output.tags or {})["dagster/data_version"]}


@pytest.mark.long
def test_a_step_in_its_own_process_reads_the_previous_steps_output(
    passed_home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWIN_STEPS_APART", "processes")
    processes, metadata = run_two_steps(tmp_path / "apart")
    assert set(processes) == set(STEPS)
    assert len({*processes.values(), os.getpid()}) == 3
    assert metadata["answers"] == "ada/v1", "the second step missed the first's release"
    assert read_policy(passed_home.policy_path).authors["ada"].weights == {"stable": 1.0}

    monkeypatch.setenv("TWIN_STEPS_APART", "")
    assert run_two_steps(tmp_path / "together") == ({}, metadata), "one process changes the result"


@pytest.mark.long
def test_a_launcher_receives_the_size_of_each_step(
    passed_home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records, file = tmp_path / "records", tmp_path / "steps.yaml"
    records.mkdir()
    execution = {
        "executor": "tests.graph.local_launcher:local_steps",
        "config": {"record_folder": str(records)},
        "sizes": {"routing_policy": {SIZE_TAG: "large"}},
    }
    file.write_text(yaml.safe_dump(execution), encoding="utf-8")
    monkeypatch.setenv("TWIN_STEPS_APART", str(file))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    _, metadata = run_two_steps(tmp_path / "apart")
    assert metadata["answers"] == "ada/v1"
    records_by_step = {
        path.name: path.read_text(encoding="utf-8").split(" ", 1) for path in records.iterdir()
    }
    assert {step: size for step, (_, size) in records_by_step.items()} == {
        "released_model": "default",
        "routing_policy": "large",
    }
    assert len({process for process, _ in records_by_step.values()} | {str(os.getpid())}) == 3


def test_a_size_changes_only_the_tags_of_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    with dg.DagsterInstance.ephemeral():
        before = retrain_twin("")
        monkeypatch.setenv("TWIN_STEPS_APART", str(PRODUCTION_STEPS))
        job = retrain_twin(str(PRODUCTION_STEPS))
        assert dg.validate_run_config(job, {}), "Dagster's ECS executor refuses the shipped file"
    assert job.executor_def.name == "ecs"
    sizes = yaml.safe_load(PRODUCTION_STEPS.read_text(encoding="utf-8"))["sizes"]
    for name, node in before.graph.node_dict.items():
        sized_node = job.graph.node_dict[name]
        assert dict(sized_node.tags) == {**node.tags, **sizes.get(name, {})}, name
        assert sized_node.definition.pools == node.definition.pools
        assert (sized_node.retry_policy, sized_node.definition.description) == (
            node.retry_policy,
            node.definition.description,
        )
    jobs = (before.asset_layer, job.asset_layer)
    assert [len(set(layer.executable_asset_keys)) for layer in jobs] == [10, 10]
    assert len({frozenset(layer.asset_graph.asset_check_keys) for layer in jobs}) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("executor: [", "while parsing"),
        ("executors: dagster:multiprocess_executor", "executor"),
        ("executor: dagster:multiproces_executor", "multiproces_executor"),
        ("executor: nowhere.at_all:executor", "nowhere"),
        ("executor: multiprocess", "multiprocess"),
        ("executor: dagster:asset", "a function"),
        ("executor: dagster:in_process_executor\nsizes: {fine_tuned: {cpu: '1'}}", "fine_tuned"),
    ],
)
def test_an_invalid_steps_file_is_refused_at_the_start(
    text: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "steps.yaml"
    file.write_text(text, encoding="utf-8")
    monkeypatch.setenv("TWIN_STEPS_APART", str(file))
    with dg.DagsterInstance.ephemeral(), pytest.raises(TwinError) as error:
        build_defs()
    assert expected in error.value.found


def test_the_error_for_a_missing_steps_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(TwinError, match=r"no-steps\.yaml"):
        read_step_execution(str(tmp_path / "no-steps.yaml"))
