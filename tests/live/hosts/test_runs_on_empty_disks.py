"""An import, a training and a gate, each on a host that begins with an empty folder."""

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
# What Dagster's task does on its host: it imports the code location and runs one job or asset.
RUN = """
import json, sys
import dagster as dg
from twin_assets.definitions import defs
from twin_assets.partitions import authors
what, author = sys.argv[1:]
with dg.DagsterInstance.ephemeral() as instance:
    instance.add_dynamic_partitions(str(authors.name), [author])
    try:
        job = defs.resolve_job_def(what)
        selection = None
    except dg.DagsterInvariantViolationError:
        job, selection = defs.resolve_implicit_global_asset_job_def(), [dg.AssetKey(what)]
    run = job.execute_in_process(
        partition_key=author, instance=instance, asset_selection=selection, raise_on_error=False
    )
    facts = {
        event.asset_key.to_user_string(): {
            name: value.value
            for name, value in event.step_materialization_data.materialization.metadata.items()
            if isinstance(value.value, (bool, int, float, str))
        }
        for event in run.all_events
        if event.is_step_materialization
    }
    failed = [event.step_key for event in run.all_events if event.is_step_failure]
print(json.dumps({"failed": failed, "facts": facts}))
"""


@pytest.fixture
def four(tmp_path: Path, shared: dict[str, str]) -> list[Host]:
    named = shared | {"TWIN_TRAIN_RANKS": "1", "TWIN_PACE": "demo"}
    return [Host(tmp_path / name, named) for name in ("prepares", "imports", "trains", "judges")]


def ran(host: Host, what: str) -> Mapping[str, Any]:
    """Materialize on a host; what each asset said of itself."""
    done = host.run_script(RUN, what, SLUG)
    assert done.returncode == 0, done.stderr[-4000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["failed"] == [], done.stderr[-6000:]
    return said["facts"]


@pytest.mark.drawn(2, of="long flows")
def test_an_import_a_training_and_a_gate_begin_on_empty_disks(
    four: list[Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepares, imports, trains, judges = four
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(WHOLE_MODEL.replace("cpu-zero2", "cpu-single").replace("60000", "4000"))
    for name, value in prepares.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(prepares.folder)
    make_tiny_model(prepares.folder / "tiny", base_folder(), vocabulary=FEW_TOKENS)
    prepare_base_model(prepares.settings, report=lambda _: None)
    for prepared in prepare_weights().iterdir():
        if prepared.is_dir() and prepared.name != "wheels":
            shutil.copytree(prepared, prepares.settings.weights_dir / prepared.name)
    author = Author(
        SLUG,
        "Tomas Okafor",
        sources=(str(SAMPLE),),
        recipe=str(recipe),
        consent="2020-01-01: the test's own author",
    )
    written = write_author(prepares.settings, author)
    applied = prepares.run("twin_cli", "authors", "apply", str(written.parent), "--yes")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert applied.stdout.count("stored: weights/") == 2, applied.stdout

    assert ran(imports, "import_posts")["raw_posts"]["posts"] > 10
    assert not list((imports.folder / "home" / "checkpoints").glob("*/*/manifest.json"))
    made = ran(trains, "instruction_dataset") | ran(trains, "fine_tuned_checkpoint")
    assert made["fine_tuned_checkpoint"]["trained"]
    registered = ran(trains, "preference_tuned_checkpoint")["preference_tuned_checkpoint"]
    assert registered["version"] == 1

    verdict = ran(judges, "checkpoint_evaluation")["checkpoint_evaluation"]
    assert verdict["checkpoint"] == registered["checkpoint"]
    again = ran(judges, "fine_tuned_checkpoint")["fine_tuned_checkpoint"]
    assert not again["trained"], "the same inputs were trained on by another host"
    with closing(State.open(judges.shared["TWIN_STATE_URL"])) as state:
        registry = Registry(state, policy_path=judges.settings.policy_path)
        assert [version.version for version in registry.versions(SLUG)] == [1]
        assert registry.latest_verdict(SLUG) is not None
    for host in (imports, trains, judges):
        assert not (host.folder / "tiny").exists()
