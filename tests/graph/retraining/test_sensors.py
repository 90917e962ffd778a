"""Test the sensors, evaluated directly and by a Dagster daemon that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from tests.conftest import ROOT
from tests.graph.retraining.conftest import LoopWorld, add_new_posts
from tests.queued_notices import queued_notices
from tests.trace_store_process import start_trace_store
from twin_resources.authors import Author, write_author
from twin_resources.dagster_resources import RegistryResource, SettingsResource, StateResource
from twin_resources.observability.notifications import Notice, announce
from twin_resources.quality.retraining.manual_triggers import request_retraining
from twin_resources.quality.retraining.training_launches import TickResult
from twin_resources.settings import load_secrets
from twin_resources.statistics.retraining import RetrainingDecision
from twin_resources.storage.state.state_tables import retrainings
from twin_sensors.new_data_trigger import default_sensor_status, new_material, retraining_requested
from twin_sensors.notice_sensor import notices_waiting
from twin_sensors.quality_dropped import format_message, quality_dropped

KEY = "quality:ada:v1:thumbs:1"
SETTINGS = {
    "TWIN_PACE": "demo",  # a test happens on one day
    "TWIN_AUTO_RETRAIN": "true",
}
DAGSTER_YAML = """
telemetry: {enabled: false}
run_coordinator:
  module: dagster.core.run_coordinator
  class: QueuedRunCoordinator
"""


@pytest.fixture
def served_world(
    world: LoopWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """Yield the world with a running trace store and the settings of a demo in the environment."""
    load_secrets(world.settings)
    database, port_file = tmp_path / "traces.sqlite", tmp_path / "port"
    process, port = start_trace_store(world.settings.home, database, port_file)
    for name, value in (SETTINGS | {"TWIN_TRACES_PORT": str(port)}).items():
        monkeypatch.setenv(name, value)
    yield add_new_posts(world)
    process.terminate()
    assert process.wait(20) in (0, -15)


def evaluate(world: LoopWorld, sensor: dg.SensorDefinition, **resources: Any) -> Any:
    with dg.build_sensor_context(
        instance=world.instance,
        resources={
            "settings": SettingsResource(),
            "registry": RegistryResource(),
            "training_inputs": world.inputs,
            "tables": world.tables,
            **resources,
        },
    ) as context:
        return sensor(context)


def test_the_sensor_reports_numbers_and_requests_one_run(served_world: LoopWorld) -> None:
    served_world.add_good("ada", 200)
    quiet = evaluate(served_world, quality_dropped)
    assert not quiet.run_requests
    assert quiet.skip_reason.skip_message.startswith("ada: thumbs: likelihood ratio")
    served_world.add_bad("ada", 24)

    alarm = evaluate(served_world, quality_dropped)

    [request] = alarm.run_requests
    assert (request.run_key, request.partition_key) == (KEY, "ada")
    assert request.tags["twin/cause"] == "quality"


def test_a_tick_reports_decisions_first_and_at_most_25_authors() -> None:
    authors = {f"author-{number:02d}": "quiet" for number in range(25)}
    lines = format_message(TickResult((), authors, ["a note"])).splitlines()
    assert (len(lines), lines[0], lines[-1]) == (26, "author-00: quiet", "a note")
    messages = authors | {"zoe": "train", "yan": "quiet"}
    loop_tick = TickResult((), messages, decisions={"zoe": RetrainingDecision("train", "it fell")})
    lines = format_message(loop_tick).splitlines()
    assert (len(lines), lines[0]) == (26, "zoe: train")
    assert lines[-1] == "and 2 more authors: see quality_evidence"
    assert format_message(TickResult()) == "no version to watch"


def test_an_unreachable_trace_store_is_reported(
    served_world: LoopWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWIN_TRACES_PORT", "9")  # a closed port

    result = evaluate(served_world, quality_dropped)

    assert result.skip_reason.skip_message.startswith("trace store unreachable")
    assert result.skip_reason.skip_message.endswith("nothing decided")


def test_sensors_handle_requests_growth_and_notices(served_world: LoopWorld) -> None:
    at = time.time()
    request_retraining(served_world.state, "ada", asked_by="mara", reason="recipe", now=at)
    with served_world.state.transaction() as connection:
        announce(connection, Notice("k", "alarm", "ada", "fell", "e-value 1"), at=at)

    [request] = evaluate(served_world, retraining_requested).run_requests
    assert request.run_key == "by_hand:ada:1"
    growth = evaluate(served_world, new_material)
    assert "ada: 0/1000 new posts, 0/200 new pairs" in growth.skip_reason.skip_message
    with dg.build_sensor_context(
        resources={"settings": SettingsResource(), "state": StateResource()}
    ) as context:
        result = notices_waiting(context)
    assert result.skip_message == "0 sent, 0 waiting, 0 abandoned, 0 addresses"


def test_without_auto_retrain_an_alarm_only_sends_a_notice(
    served_world: LoopWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the settings of a new home, an alarm sends a notice and starts no run."""
    monkeypatch.delenv("TWIN_AUTO_RETRAIN")
    assert quality_dropped.default_status is dg.DefaultSensorStatus.RUNNING
    served_world.add_good("ada", 200)
    served_world.add_bad("ada", 24)

    result = evaluate(served_world, quality_dropped)

    assert not result.run_requests
    assert "automatic retraining is off" in result.skip_reason.skip_message
    notice = queued_notices(served_world.state, author="ada")[0]
    assert (notice.event, notice.title) == ("alarm", "Quality of ada fell")
    assert "twin retrain --reason" in notice.text


def test_the_growth_sensor_runs_only_with_auto_retrain(
    world: LoopWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.settings.authors_dir / "damaged.toml").write_text("name = ")
    assert default_sensor_status() is dg.DefaultSensorStatus.STOPPED
    write_author(world.settings, Author("cleo", "Cleo", auto_retrain=True))
    assert default_sensor_status() is dg.DefaultSensorStatus.RUNNING
    (world.settings.authors_dir / "cleo.toml").unlink()
    monkeypatch.setenv("TWIN_AUTO_RETRAIN", "true")
    assert default_sensor_status() is dg.DefaultSensorStatus.RUNNING


def run_daemon(home: Path, crash_at: str = "") -> int:
    """Run two iterations of the daemon; return its exit status."""
    command = [sys.executable, "-m", "tests.graph.retraining.daemon_iteration"]
    process = subprocess.run(
        [*command, *([crash_at] if crash_at else [])],
        cwd=ROOT,
        env=os.environ | {"DAGSTER_HOME": str(home)},
        timeout=300,
        check=False,
        capture_output=True,
    )
    assert process.returncode in (0, -signal.SIGKILL), process.stderr.decode()
    return process.returncode


@pytest.mark.long
@pytest.mark.parametrize(
    "crash_at",
    [
        pytest.param("TICK_HELD", marks=pytest.mark.long),  # before the tick
        "AUTOMATION_EVALUATIONS_ADDED",  # decided, but not yet recorded by Dagster
        pytest.param("RUN_IDS_RESERVED", marks=pytest.mark.long),  # reserved, not launched
        pytest.param("RUN_CREATED", marks=pytest.mark.long),
        "RUN_LAUNCHED",  # launched, the cursor not stored
    ],
)
def test_a_daemon_killed_anywhere_launches_one_run(
    served_world: LoopWorld, tmp_path: Path, crash_at: str
) -> None:
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(DAGSTER_YAML)
    served_world.add_good("ada", 200)
    served_world.add_bad("ada", 24)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.add_dynamic_partitions("authors", ["ada", "bob"])

        assert run_daemon(home, crash_at) == -signal.SIGKILL
        with served_world.state.transaction() as connection:  # a minute later
            earlier_time = retrainings.c.offered_at - 61
            connection.execute(sa.update(retrainings).values(offered_at=earlier_time))
        run_daemon(home)

        runs = instance.get_runs()
        assert [run.tags["dagster/run_key"] for run in runs] == [KEY]
        assert runs[0].tags["dagster/partition"] == "ada"
        assert runs[0].status is dg.DagsterRunStatus.QUEUED
