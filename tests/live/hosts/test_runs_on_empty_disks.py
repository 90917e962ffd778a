"""Test an import, a training and a gate, each on a host with an empty folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.live.hosts.host import Host
from tests.live.tiny_model import FEW_TOKENS, make_tiny_model
from tests.live.whole.conftest import SAMPLE, WHOLE_MODEL
from tests.prepared_base import base_folder
from tests.prepared_embedder import prepare_weights
from twin_resources.authors import Author, write_author
from twin_resources.registry.registry import Registry
from twin_resources.storage.state.state import State
from twin_resources.storage.weights.weights import prepare_base_model

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]
SLUG = "tomas-okafor"
# Runs a job or an asset as Dagster's task does on its host.
RUN_SCRIPT = """
import json, sys
import dagster as dg
from twin_assets.definitions import defs
from twin_assets.partitions import authors
name, author = sys.argv[1:]
with dg.DagsterInstance.ephemeral() as instance:
    instance.add_dynamic_partitions(str(authors.name), [author])
    try:
        job = defs.resolve_job_def(name)
        selection = None
    except dg.DagsterInvariantViolationError:
        job, selection = defs.resolve_implicit_global_asset_job_def(), [dg.AssetKey(name)]
    run = job.execute_in_process(
        partition_key=author, instance=instance, asset_selection=selection, raise_on_error=False
    )
    metadata = {
        event.asset_key.to_user_string(): {
            key: value.value
            for key, value in event.step_materialization_data.materialization.metadata.items()
            if isinstance(value.value, (bool, int, float, str))
        }
        for event in run.all_events
        if event.is_step_materialization
    }
    failed = [event.step_key for event in run.all_events if event.is_step_failure]
print(json.dumps({"failed": failed, "metadata": metadata}))
"""


@pytest.fixture
def four_hosts(tmp_path: Path, shared: dict[str, str]) -> list[Host]:
    environment = shared | {"TWIN_TRAIN_RANKS": "1", "TWIN_PACE": "demo"}
    names = ("prepares", "imports", "trains", "judges")
    return [Host(tmp_path / name, environment) for name in names]


def materialize(host: Host, name: str) -> Mapping[str, Any]:
    """Materialize a job or an asset on a host; return the metadata of each asset."""
    completed = host.run_script(RUN_SCRIPT, name, SLUG)
    assert completed.returncode == 0, completed.stderr[-4000:]
    result = json.loads(completed.stdout.splitlines()[-1])
    assert result["failed"] == [], completed.stderr[-6000:]
    return result["metadata"]


def test_import_training_and_gate_run_on_hosts_with_empty_disks(
    four_hosts: list[Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preparing_host, importing_host, training_host, judging_host = four_hosts
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(WHOLE_MODEL.replace("cpu-zero2", "cpu-single").replace("60000", "4000"))
    for name, value in preparing_host.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(preparing_host.folder)
    make_tiny_model(preparing_host.folder / "tiny", base_folder(), vocabulary=FEW_TOKENS)
    prepare_base_model(preparing_host.settings, report=lambda _: None)
    for prepared in prepare_weights().iterdir():
        if prepared.is_dir() and prepared.name != "wheels":
            shutil.copytree(prepared, preparing_host.settings.weights_dir / prepared.name)
    author = Author(
        SLUG,
        "Tomas Okafor",
        sources=(str(SAMPLE),),
        recipe=str(recipe),
        consent="2020-01-01: the test's own author",
    )
    author_file = write_author(preparing_host.settings, author)
    apply = preparing_host.run("twin_cli", "authors", "apply", str(author_file.parent), "--yes")
    assert apply.returncode == 0, apply.stdout + apply.stderr
    assert apply.stdout.count("stored: weights/") == 2, apply.stdout

    assert materialize(importing_host, "import_posts")["raw_posts"]["posts"] > 10
    assert not list((importing_host.folder / "home" / "checkpoints").glob("*/*/manifest.json"))
    materialize(training_host, "instruction_dataset")
    assert materialize(training_host, "fine_tuned_checkpoint")["fine_tuned_checkpoint"]["trained"]
    registered = materialize(training_host, "preference_tuned_checkpoint")[
        "preference_tuned_checkpoint"
    ]
    assert registered["version"] == 1

    verdict = materialize(judging_host, "checkpoint_evaluation")["checkpoint_evaluation"]
    assert verdict["checkpoint"] == registered["checkpoint"]
    repeated = materialize(judging_host, "fine_tuned_checkpoint")["fine_tuned_checkpoint"]
    assert not repeated["trained"], "another host has already trained on the same inputs"
    with closing(State.open(judging_host.shared["TWIN_STATE_URL"])) as state:
        registry = Registry(state, policy_path=judging_host.settings.policy_path)
        assert [version.version for version in registry.versions(SLUG)] == [1]
        assert registry.latest_verdict(SLUG) is not None
    for host in (importing_host, training_host, judging_host):
        assert not (host.folder / "tiny").exists()
