"""Test that every sensor and schedule starts runs for two authors while a third is broken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import sqlalchemy as sa
import uvicorn
from dagster._core.execution.plan.objects import StepFailureData
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from tests.answer_spans import answer_span, export_spans
from tests.graph.retraining.conftest import Inputs, LoopWorld, open_world
from tests.graph.retraining.test_sensors import SETTINGS
from tests.graph.sensors.test_schedules import FEW_LABELS, PAID, record_answer
from tests.graph.sources.test_changed_feeds import FeedServer
from tests.graph.sources.test_changed_feeds import server as feed_server
from tests.graph.tables.words import sync_words
from tests.model_versions import GATE, register_passed_version
from tests.prepared_embedder import write_manifest
from tests.stored_rows import store_rows
from twin_assets.definitions import defs
from twin_resources.authors import Author, write_author
from twin_resources.dagster_resources import (
    RegistryResource,
    SettingsResource,
    StateResource,
    TablesResource,
)
from twin_resources.idempotent_launch import RunLaunch
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.observability.trace_store.local_store import Keys, build_app
from twin_resources.observability.trace_store.trace_tables import TraceTables
from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.retraining import manual_triggers
from twin_resources.quality.retraining.training_inputs import CorpusGrowth
from twin_resources.registry.moves import ModelVersion
from twin_resources.settings import PACES, Settings, load_secrets, load_settings
from twin_resources.statistics.retraining import TrainingFingerprint
from twin_resources.storage.state.state_tables import alarms
from twin_resources.storage.tables.tables import Tables
from twin_sensors import canary_verdict, launchable_runs
from twin_sensors.changed_feeds import changed_feeds
from twin_sensors.compaction import compact_author, tidy_tables
from twin_sensors.import_schedules import import_all_posts_every_night
from twin_sensors.launchable_runs import select_launchable
from twin_sensors.learning_schedule import learn_routing_every_night
from twin_sensors.new_data_trigger import new_material, retraining_requested
from twin_sensors.new_posts import new_posts
from twin_sensors.quality_dropped import quality_dropped
from twin_sensors.schedules import (
    collect_feedback_every_hour,
    compare_versions_every_hour,
    judge_answers_every_hour,
)

__all__ = ["feed_server"]  # a fixture
AUTHORS = ("ann", "bob", "cleo")  # bob, the broken one, is neither first nor last
INTACT_AUTHORS = {"ann", "cleo"}
NOW = datetime.now(UTC)
TABLES = ("cleaned_documents", "raw_posts", "routing_labels", "shadow_pairs")


@dataclass
class ReadingInputs(Inputs):
    """Training inputs that read a table of the author, like the real ones."""

    tables: Tables = field(kw_only=True)

    def read_current(self, author: str) -> TrainingFingerprint:
        return TrainingFingerprint(
            f"posts-2 {self.tables.data_version('cleaned_documents', author)}", "recipe"
        )

    def measure_growth(self, version: ModelVersion) -> CorpusGrowth:
        self.read_current(version.author)
        return CorpusGrowth(1_000, 0)


class TraceServer:
    """The embedded trace store on a port; requests about the traces in `failing_traces` fail."""

    def __init__(self, home: Settings, database: Path) -> None:
        secrets = load_secrets(home)
        keys = Keys(secrets.traces_public_key, secrets.traces_secret_key)
        self.failing_traces: set[str] = set()
        store = build_app(TraceTables(database), keys=keys)

        async def respond_or_fail(scope: Scope, receive: Receive, send: Send) -> None:
            query = scope.get("query_string", b"").decode()
            if any(trace in query for trace in self.failing_traces):
                response = PlainTextResponse("a row that cannot be read", status_code=500)
                await response(scope, receive, send)
            else:
                await store(scope, receive, send)

        config = uvicorn.Config(respond_or_fail, port=0, log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]

    def end(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)


@dataclass
class ThreeAuthorHome:
    """A home with three authors, each with a stable version, and the servers that ticks use."""

    loop: LoopWorld
    feed: FeedServer
    traces: TraceServer

    @property
    def settings(self) -> Settings:
        return self.loop.settings

    def resources(self) -> dict[str, Any]:
        return {
            "settings": SettingsResource(),
            "registry": RegistryResource(),
            "state": StateResource(),
            "tables": TablesResource(),
            "training_inputs": ReadingInputs(tables=self.loop.tables),
        }

    def run_sensor(self, sensor: dg.SensorDefinition) -> tuple[set[str], str]:
        """Run a tick as Dagster's daemon does; return the authors with a run and the message."""
        with dg.build_sensor_context(
            instance=self.loop.instance,
            # As in the code server: the tick then looks up the partitions of its runs.
            instance_ref=self.loop.instance.get_ref(),
            resources=self.resources(),
            repository_def=defs.get_repository_def(),
        ) as context:
            result = sensor.evaluate_tick(context)
        partition_requests = map(str, result.dynamic_partitions_requests or ())
        message = result.skip_message or "\n".join(partition_requests)
        return {str(request.partition_key) for request in result.run_requests or ()}, message

    def run_schedule(self, schedule: dg.ScheduleDefinition) -> tuple[set[str], str]:
        with dg.build_schedule_context(
            instance=self.loop.instance,
            scheduled_execution_time=NOW + timedelta(hours=4),
            resources=self.resources(),
            repository_def=defs.get_repository_def(),
        ) as context:
            result = schedule.evaluate_tick(context)
        authors = {str(request.partition_key) for request in result.run_requests or ()}
        return authors, result.skip_message or ""


@pytest.fixture
def world(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, feed_server: FeedServer
) -> Iterator[ThreeAuthorHome]:
    pace = SETTINGS.get("TWIN_PACE", "")
    monkeypatch.setitem(PACES, pace, {**PACES[pace], **FEW_LABELS})
    for name, value in (SETTINGS | PAID).items():
        monkeypatch.setenv(name, value)
    write_manifest(home)
    for slug in AUTHORS:
        folder = tmp_path / slug
        folder.mkdir()
        (folder / "clocks.md").write_text("# Clocks\n\nThe clock went to the workshop.\n")
        sources = (str(folder), f"{feed_server.url}?{slug}")
        write_author(home, Author(slug, slug, sources=sources, consent="2026-01-01: by mail"))
    traces = TraceServer(home, tmp_path / "traces.sqlite")
    monkeypatch.setenv("TWIN_TRACES_PORT", str(traces.port))
    with open_world(home) as loop, dg.instance_for_test() as loop.instance:
        loop.instance.add_dynamic_partitions("authors", list(AUTHORS))
        for slug in AUTHORS:
            loop.release(slug, f"{slug}-1")
        yield ThreeAuthorHome(loop, feed_server, traces)
    traces.end()


def delete_partition(home: ThreeAuthorHome) -> None:
    home.loop.instance.delete_dynamic_partition("authors", "bob")


def truncate_author_file(home: ThreeAuthorHome) -> None:
    (home.settings.authors_dir / "bob.toml").write_text("name = [", encoding="utf-8")


def replace_author_file_with_folder(home: ThreeAuthorHome) -> None:
    path = home.settings.authors_dir / "bob.toml"
    path.unlink()
    path.mkdir()


def empty_table_manifests(home: ThreeAuthorHome) -> None:
    """Make the newest manifests empty, as a full disk does."""
    for manifest in _write_tables(home):
        manifest.write_bytes(b"")


def delete_table_data(home: ThreeAuthorHome) -> None:
    for manifest in _write_tables(home):
        for file in (manifest.parent.parent / "data").iterdir():
            file.unlink()


def _write_tables(home: ThreeAuthorHome) -> list[Path]:
    """Write tables of bob with one row; return their newest manifests."""
    columns = {"key": pl.String(), "path": pl.String(), "deleted": pl.Boolean()}
    rows = pl.DataFrame([{"key": "a", "path": "p", "deleted": False}], schema=columns)
    manifests: list[Path] = []
    for name in TABLES:
        store_rows(home.loop.tables, name, "bob", rows, key="key")
        folder = Path(home.loop.tables.uri(name, "bob"))
        manifests.append(min((folder / "_versions").glob("*.manifest")))
        assert len(home.loop.tables.read(name, "bob")) == 1
    return manifests


Tick = Callable[[ThreeAuthorHome], tuple[set[str], str]]
"""Runs a tick; returns the authors with a run, and the message."""


def run_quality_dropped(home: ThreeAuthorHome) -> tuple[set[str], str]:
    for slug in AUTHORS:
        home.loop.add_good(slug, 200)
    home.run_sensor(quality_dropped)
    launched: set[str] = set()
    message = ""
    for slug in AUTHORS:
        home.loop.add_bad(slug, 24)
        new_authors, message = home.run_sensor(quality_dropped)
        launched |= new_authors
        # Three alarms within two days would be an incident.
        with home.loop.state.transaction() as connection:
            earlier_time = alarms.c.raised_at - 3 * 86_400
            connection.execute(sa.update(alarms).values(raised_at=earlier_time))
    return launched, message


def run_retraining_requested(home: ThreeAuthorHome) -> tuple[set[str], str]:
    for slug in AUTHORS:
        manual_triggers.request_retraining(
            home.loop.state, slug, asked_by="mara", reason="recipe", now=NOW.timestamp()
        )
    return home.run_sensor(retraining_requested)


def run_changed_feeds(home: ThreeAuthorHome) -> tuple[set[str], str]:
    home.run_sensor(changed_feeds)
    home.feed.publish("two")
    return home.run_sensor(changed_feeds)


def run_nightly_import(home: ThreeAuthorHome) -> tuple[set[str], str]:
    return home.run_schedule(import_all_posts_every_night)


def run_after_answers(schedule: dg.ScheduleDefinition) -> Tick:
    def run(home: ThreeAuthorHome) -> tuple[set[str], str]:
        for slug in AUTHORS:
            record_answer(home.loop.state, slug, NOW + timedelta(hours=3))
        return home.run_schedule(schedule)

    return run


def _start_trials(home: ThreeAuthorHome) -> None:
    for slug in AUTHORS:
        register_passed_version(home.loop.registry, slug, f"{slug}-2", "shadow")


def run_comparisons(home: ThreeAuthorHome) -> tuple[set[str], str]:
    _start_trials(home)
    return home.run_schedule(compare_versions_every_hour)


def run_canary_verdict(home: ThreeAuthorHome) -> tuple[set[str], str]:
    """The sensor starts no runs, but its message names the authors that it examined."""
    _start_trials(home)
    _, message = home.run_sensor(canary_verdict.build_sensor(GATE))
    expected = "on trial, no pair yet: materialize shadow_pairs"
    return {slug for slug in AUTHORS if f"{slug}: {expected}" in message}, message


def run_learning(home: ThreeAuthorHome) -> tuple[set[str], str]:
    for slug in AUTHORS:
        for number in range(9):
            at = NOW - timedelta(days=1, microseconds=number)
            record_answer(home.loop.state, slug, at, route="stable")
    return home.run_schedule(learn_routing_every_night)


TICKS: dict[str, Tick] = {
    "quality_dropped": run_quality_dropped,
    "retraining_requested": run_retraining_requested,
    "new_material": lambda home: home.run_sensor(new_material),
    "new_posts": lambda home: home.run_sensor(new_posts),
    "changed_feeds": run_changed_feeds,
    "import_all_posts_every_night": run_nightly_import,
    "collect_feedback_every_hour": run_after_answers(collect_feedback_every_hour),
    "judge_answers_every_hour": run_after_answers(judge_answers_every_hour),
    "compare_versions_every_hour": run_comparisons,
    "canary_verdict": run_canary_verdict,
    "learn_routing_every_night": run_learning,
}
FAULTS = (
    pytest.param(delete_partition, marks=pytest.mark.long),
    truncate_author_file,
    pytest.param(replace_author_file_with_folder, marks=pytest.mark.long),
    pytest.param(empty_table_manifests, marks=pytest.mark.long),
    pytest.param(delete_table_data, marks=pytest.mark.long),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("tick", TICKS)
def test_one_broken_author_does_not_block_the_others(
    world: ThreeAuthorHome, tick: str, fault: Callable[[ThreeAuthorHome], None]
) -> None:
    fault(world)
    launched, message = TICKS[tick](world)
    assert launched >= INTACT_AUTHORS, message


def test_a_second_code_location_starts_no_run_twice(
    world: ThreeAuthorHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second location is another process, and the first tick's runs do not exist yet."""
    assert run_nightly_import(world)[0] >= INTACT_AUTHORS
    monkeypatch.setattr(launchable_runs, "_PROCESS_HOLDER", "the other code location")
    launched, message = run_nightly_import(world)
    assert launched == set()
    assert "ann: another code location has just requested import_posts" in message
    monkeypatch.setattr(launchable_runs, "CLAIM_DURATION_S", 0.0)  # a minute later
    assert run_nightly_import(world)[0] >= INTACT_AUTHORS


@pytest.mark.long
def test_a_requested_run_that_cannot_start_is_reported_and_kept(world: ThreeAuthorHome) -> None:
    delete_partition(world)
    for slug in ("bob", "bob"):  # two requests are one run
        manual_triggers.request_retraining(
            world.loop.state, slug, asked_by="mara", reason="recipe", now=NOW.timestamp()
        )
    for _ in range(2):
        assert world.run_sensor(retraining_requested)[0] == set()
        _, message = world.run_sensor(retraining_requested)
        assert "bob: Dagster has no partition 'bob'" in message
    world.loop.instance.add_dynamic_partitions("authors", ["bob"])
    assert world.run_sensor(retraining_requested)[0] == {"bob"}


def test_a_run_that_dagster_refuses_does_not_block_another() -> None:
    invalid = RunLaunch("ann", "k1", tags={"twin/cause": object()})  # type: ignore[dict-item]
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("authors", ["ann", "bob"])
        launches = [invalid, RunLaunch("bob", "k2")]
        ready_launches, held_messages = select_launchable(instance, launches)
    assert [launch.author for launch in ready_launches] == ["bob"]
    assert [line.partition(":")[0] for line in held_messages] == ["ann"]


def test_one_authors_unreadable_trace_does_not_block_other_scores(world: ThreeAuthorHome) -> None:
    """Each trace arrives after its hour was read, so it is requested by its id."""
    world.run_sensor(quality_dropped)
    with LangfuseClient.from_settings(load_settings()) as client:
        for number, slug in enumerate(AUTHORS, start=1):
            at = datetime.now(UTC) - timedelta(hours=1)
            export_spans(client._http, answer_span(number, at, author=slug, propensity="1"))
            client.post_score(
                "thumbs", 1.0, trace_id=f"{number:032x}", metadata={"twin.reader": f"r{number}"}
            )
    world.traces.failing_traces = {f"{2:032x}"}
    time.sleep(2.1)  # the store's last two seconds are left for the next tick
    _, message = world.run_sensor(quality_dropped)
    with world.loop.state.read_transaction() as connection:
        authors = set(connection.execute(sa.select(ledger_tables.traces.c.author)).scalars())
        settled = set(connection.execute(sa.select(ledger_tables.settled.c.author)).scalars())
    assert authors == settled == INTACT_AUTHORS
    assert f"1 could not be read ({2:032x}: HTTP 500: a row that cannot be read)" in message


@pytest.mark.long
def test_an_unreadable_table_does_not_block_the_tidying_of_others(world: ThreeAuthorHome) -> None:
    tables = world.loop.tables
    for slug in AUTHORS:
        sync_words(tables, {f"p{n}": f"word{n}" for n in range(8)}, author=slug)
        assert len(tables.read("words", slug)) == 8
    empty_table_manifests(world)
    result = tidy_tables.execute_in_process(
        instance=world.loop.instance, resources={"tables": TablesResource()}, raise_on_error=False
    )
    assert not result.success  # the error is raised after the other tables
    [failure] = [event for event in result.all_events if event.is_step_failure]
    data = failure.event_specific_data
    assert isinstance(data, StepFailureData)
    description = data.user_failure_data.description if data.user_failure_data else ""
    assert all(f"bob/{name}: " in (description or "") for name in TABLES)
    # Bob's intact table was merged like those of the others.
    assert all(" 0 fragments merged" in compact_author(tables, slug)[0] for slug in AUTHORS)
    assert [tables.compact("words", slug).fragment_count for slug in AUTHORS] == [1, 1, 1]
