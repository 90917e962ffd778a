"""The hourly schedule starts a run for whoever answered lately, and for nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.definitions.schedule_definition import ScheduleExecutionData

from twin_assets.definitions import defs
from twin_resources.dagster_resources import StateResource
from twin_resources.ledger.schema import open_tables, traces
from twin_resources.settings import Settings
from twin_resources.state.state import State
from twin_sensors.schedules import (
    LOOKED_BACK,
    collect_feedback_every_hour,
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
    *known: str, schedule: dg.ScheduleDefinition = collect_feedback_every_hour, running: str = ""
) -> ScheduleExecutionData:
    # Closed here: what is left to the garbage collector is torn down within anybody's code.
    with (
        dg.instance_for_test() as instance,
        dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=NOON,
            resources={"state": StateResource()},
            repository_def=defs.get_repository_def(),
        ) as context,
    ):
        instance.add_dynamic_partitions("authors", list(known))
        if running:
            instance.add_run(
                dg.DagsterRun(
                    job_name="judge_answers",
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
