"""The hourly schedule starts a run for whoever answered lately, and for nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.definitions.schedule_definition import ScheduleExecutionData

from twin_assets.definitions import defs
from twin_resources.dagster_resources import RegistryResource, StateResource
from twin_resources.ledger.schema import open_tables, traces
from twin_resources.registry.moves import VersionKind
from twin_resources.registry.registry import Registry, Verdict
from twin_resources.settings import Settings
from twin_resources.state.state import State
from twin_sensors.schedules import (
    LOOKED_BACK,
    collect_feedback_every_hour,
    compare_versions_every_hour,
    judge_answers_every_hour,
)

NOON = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)


def answered(state: State, author: str, at: datetime) -> None:
    row = {column.name: "" for column in traces.columns if not column.nullable} | {
        "trace_id": f"{author}-{at:%H%M}",
        "author": author,
        "propensity": 1.0,
        "started_ms": int(at.timestamp() * 1000),
        "simulated": False,
    }
    with state.transaction() as connection:
        connection.execute(sa.insert(traces).values(**row))


@pytest.fixture
def state(home: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[State]:
    monkeypatch.setenv("TWIN_HOME", str(home.home))
    made = State.open(home.state_address)
    open_tables(made)
    yield made
    made.close()


def tick(
    *known: str,
    schedule: dg.ScheduleDefinition = collect_feedback_every_hour,
    running: str = "",
    job: str = "judge_answers",
) -> ScheduleExecutionData:
    # Closed here: what is left to the garbage collector is torn down within anybody's code.
    with (
        dg.instance_for_test() as instance,
        dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=NOON,
            resources={"state": StateResource(), "registry": RegistryResource()},
            repository_def=defs.get_repository_def(),
        ) as context,
    ):
        instance.add_dynamic_partitions("authors", list(known))
        if running:
            instance.add_run(
                dg.DagsterRun(
                    job_name=job,
                    status=dg.DagsterRunStatus.STARTED,
                    tags={"dagster/partition": running},
                )
            )
        return schedule.evaluate_tick(context)


def test_only_authors_who_answered_lately_are_collected(state: State) -> None:
    answered(state, "ann", NOON - timedelta(minutes=10))
    answered(state, "bob", NOON - LOOKED_BACK - timedelta(minutes=1))
    answered(state, "gone", NOON - timedelta(minutes=10))  # its partition was deleted
    found = tick("ann", "bob")
    assert [request.partition_key for request in found.run_requests or ()] == ["ann"]
    assert not tick("bob").run_requests
    assert "nobody was asked" in (tick("bob").skip_message or "")


def test_a_tick_that_is_repeated_asks_for_the_same_run(state: State) -> None:
    answered(state, "ann", NOON)
    asked = [tick("ann").run_requests or (), tick("ann").run_requests or ()]
    assert len({request.run_key for requests in asked for request in requests}) == 1


def test_judging_waits_for_its_own_run_only(state: State) -> None:
    answered(state, "ann", NOON)
    answered(state, "bob", NOON)
    asked = tick("ann", "bob", schedule=judge_answers_every_hour).run_requests or ()
    assert {request.partition_key for request in asked} == {"ann", "bob"}
    asked = tick("ann", "bob", schedule=judge_answers_every_hour, running="ann").run_requests or ()
    assert [request.partition_key for request in asked] == ["bob"]
    assert not tick("ann", schedule=judge_answers_every_hour, running="ann").run_requests
    feedback = tick("ann", running="ann").run_requests or ()
    assert [request.partition_key for request in feedback] == ["ann"]


def test_trials_against_an_answer_model_go_on(state: State, home: Settings) -> None:
    models = Registry(state, policy_path=home.policy_path)

    def on_trial(author: str, kind: VersionKind) -> None:
        for number, checkpoint in enumerate(("before", "after"), start=1):
            models.register(
                author=author, checkpoint=checkpoint, folder="", adapter_gguf=None, base="b",
                base_gguf="g", template="t", dataset_version="",
                kind=kind if number == 1 else "tuned",
            )  # fmt: skip
            verdict = Verdict(author, checkpoint, "gate-1", "passed", (), "2026-01-01")
            models.record_verdict(verdict)
        force = kind == "answer_model"
        models.move(author, 1, "stable", actor="t", reason="t", force=force, gate_version="gate-1")
        models.move(author, 2, "shadow", actor="t", reason="t", gate_version="gate-1")

    on_trial("ann", "answer_model")
    on_trial("bob", "tuned")
    schedule = compare_versions_every_hour
    asked = tick("ann", "bob", schedule=schedule).run_requests or ()
    assert [request.partition_key for request in asked] == ["ann"]
    running = tick("ann", "bob", schedule=schedule, running="ann", job="compare_versions")
    assert not running.run_requests
    assert not tick("bob", schedule=schedule).run_requests
