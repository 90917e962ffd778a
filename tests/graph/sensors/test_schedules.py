"""The hourly schedule starts a run for each author whose twin answered lately, no other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.definitions.schedule_definition import ScheduleExecutionData

from tests.graph.sensors.emptied_instance import dagster_instance, emptied_instance
from tests.model_versions import register_passed_version
from tests.prepared_embedder import write_manifest
from tests.stored_rows import store_rows
from twin_assets.definitions import defs
from twin_resources.access.account import open_account
from twin_resources.authors import Author, write_author
from twin_resources.dagster_resources import (
    RegistryResource,
    SettingsResource,
    StateResource,
    TablesResource,
)
from twin_resources.quality.judges.label_rows import COLUMNS, TABLE, LabelPurchase
from twin_resources.quality.ledger.ledger_tables import open_tables, traces
from twin_resources.registry.moves import VersionKind, VersionState
from twin_resources.registry.registry import Registry
from twin_resources.settings import PACES, Settings, load_settings
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables
from twin_sensors.learning import build_learning_schedules, learn_routing_every_night
from twin_sensors.schedules import (
    collect_feedback_every_hour,
    compare_versions_every_hour,
    judge_answers_every_hour,
)

__all__ = ["dagster_instance"]  # a fixture
NOON = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)


FEW_LABELS = {"routing_labels": 2}  # few enough to pay off with nine questions a month


def record_answer(state: State, author: str, at: datetime, *, route: str = "") -> None:
    row = {column.name: "" for column in traces.columns if not column.nullable} | {
        "trace_id": f"{author}-{at:%H%M%f}",
        "route": route,
        "author": author,
        "propensity": 1.0,
        "started_ms": int(at.timestamp() * 1000),
        "simulated": False,
        "batch": False,
    }
    open_tables(state)
    with state.transaction() as connection:
        connection.execute(sa.insert(traces).values(**row))


@pytest.fixture
def state(home: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[State]:
    monkeypatch.setenv("TWIN_HOME", str(home.home))
    store = State.open(home.state_address)
    yield store
    store.close()


def tick(
    *known: str,
    schedule: dg.ScheduleDefinition = collect_feedback_every_hour,
    running: str = "",
    job: str = "judge_answers",
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
) -> ScheduleExecutionData:
    instance = emptied_instance(known)
    # Closed here, because the garbage collector would close it during other code.
    with dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=NOON,
        resources={
            "state": StateResource(),
            "registry": RegistryResource(),
            "settings": SettingsResource(),
            "tables": TablesResource(),
        },
        repository_def=defs.get_repository_def(),
    ) as context:
        if running:
            instance.add_run(
                dg.DagsterRun(
                    job_name=job,
                    status=status,
                    tags={"dagster/partition": running},
                )
            )
        return schedule.evaluate_tick(context)


def test_only_recently_asked_authors_are_collected(state: State) -> None:
    record_answer(state, "ann", NOON - timedelta(minutes=10))
    record_answer(state, "bob", NOON - timedelta(hours=3, minutes=1))
    record_answer(state, "cat", NOON - timedelta(hours=2, minutes=59))
    record_answer(state, "gone", NOON - timedelta(minutes=10))  # its partition was deleted
    result = tick("ann", "bob", "cat")
    assert [request.partition_key for request in result.run_requests or ()] == ["ann", "cat"]
    result = tick("bob", "cat")
    assert [request.partition_key for request in result.run_requests or ()] == ["cat"]
    assert not tick("bob").run_requests
    assert "ann: Dagster has no partition 'ann'" in (tick("bob").skip_message or "")


def test_a_tick_without_questions_is_reported(state: State) -> None:
    assert "no twin answered" in (tick("bob").skip_message or "")  # no table of answers yet
    record_answer(state, "bob", NOON - timedelta(hours=4))
    assert "no twin answered" in (tick("bob").skip_message or "")


def test_a_repeated_tick_requests_the_same_run(state: State) -> None:
    record_answer(state, "ann", NOON)
    repeated_ticks = [tick("ann").run_requests or (), tick("ann").run_requests or ()]
    assert len({request.run_key for requests in repeated_ticks for request in requests}) == 1


def test_judging_waits_for_its_own_run_only(state: State) -> None:
    record_answer(state, "ann", NOON)
    record_answer(state, "bob", NOON)
    runs = tick("ann", "bob", schedule=judge_answers_every_hour).run_requests or ()
    assert {request.partition_key for request in runs} == {"ann", "bob"}
    runs = tick("ann", "bob", schedule=judge_answers_every_hour, running="ann").run_requests or ()
    assert [request.partition_key for request in runs] == ["bob"]
    assert not tick("ann", schedule=judge_answers_every_hour, running="ann").run_requests
    feedback = tick("ann", running="ann").run_requests or ()
    assert [request.partition_key for request in feedback] == ["ann"]


def test_undecided_trials_continue(state: State, home: Settings) -> None:
    models = Registry(state, policy_path=home.policy_path)

    def start_trial(author: str, kind: VersionKind, state: VersionState) -> None:
        register_passed_version(models, author, "before", "stable", kind=kind)
        register_passed_version(models, author, "after", state)

    start_trial("ann", "answer_model", "shadow")
    start_trial("bob", "tuned", "shadow")
    schedule = compare_versions_every_hour
    register_passed_version(models, "cat", "before", "shadow")  # without a stable version
    start_trial("dan", "tuned", "canary")
    requests = tick("ann", "bob", "cat", "dan", schedule=schedule).run_requests or ()
    assert {request.partition_key for request in requests} == {"ann", "bob"}
    running = tick("ann", "bob", schedule=schedule, running="ann", job="compare_versions")
    assert [request.partition_key for request in running.run_requests or ()] == ["bob"]
    assert not tick(schedule=schedule).run_requests
    models.move("bob", 2, "parked", actor="t", reason="t")
    assert not tick("bob", schedule=schedule).run_requests


PAID = {
    "TWIN_PAID_MODEL": "openai/gpt-4o-mini",
    "TWIN_PAID_BUDGET_PER_DAY": "1",
    "TWIN_LABEL_BUDGET_PER_MONTH": "2",
}


def learn(*known: str, running: str = "", finished: bool = False) -> tuple[list[str], str]:
    """Run a nightly tick; return the authors with a run and the message."""
    status = dg.DagsterRunStatus.SUCCESS if finished else dg.DagsterRunStatus.STARTED
    result = tick(
        *known, schedule=learn_routing_every_night, running=running, job="learn_routing",
        status=status,
    )  # fmt: skip
    return [str(run.partition_key) for run in result.run_requests or ()], result.skip_message or ""


@pytest.fixture
def learning(state: State, home: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Ann with a stable version and a paid model; an embedder's manifest, without its weights."""
    for name, value in PAID.items():
        monkeypatch.setenv(name, value)
    write_manifest(home)
    write_author(home, Author("ann", "Ann", consent="2026-01-01: by mail"))
    models = Registry(state, policy_path=home.policy_path)
    register_passed_version(models, "ann", "c1", "stable")
    return load_settings()


def test_labels_are_bought_at_night_while_needed_and_affordable(
    learning: Settings, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PACES, "", FEW_LABELS)
    runs, message = learn("ann")
    assert runs == []
    assert "routing does not pay" in message
    for number in range(9):
        at = datetime.now(UTC) - timedelta(days=1, microseconds=number)
        record_answer(state, "ann", at, route="stable")
    assert learn("ann") == (["ann"], "")
    assert learn()[0] == []  # without a partition
    write_author(learning, Author("bob", "Bob", consent="2026-01-01: by mail"))
    runs, message = learn("ann", "bob", running="ann")
    assert runs == []
    assert message.splitlines()[0] == "ann: a run of learn_routing is in progress"
    assert message.splitlines()[1].startswith("bob: no stable version")
    (learning.authors_dir / "bob.toml").unlink()
    tables = Tables(learning.tables_base, state=state)
    purchase = LabelPurchase("c1", PAID["TWIN_PAID_MODEL"], "e1", ("j@1",), "a")
    rows = [purchase.build_row(1, "recorded", "t1")]
    store_rows(tables, TABLE, "ann", rows, key="label_id", schema=COLUMNS)
    assert learn("ann", running="ann", finished=True) == (
        [], "ann: no question has arrived since the last run",
    )  # fmt: skip
    record_answer(state, "ann", datetime.now(UTC) + timedelta(minutes=1))
    assert learn("ann", running="ann", finished=True)[0] == ["ann"]
    account = open_account(learning, state)
    account.settle(account.reserve(purpose="label", author="ann", key="", max_usd=2.0), 2.0)
    assert learn("ann") == ([], "ann: the budget for labels is used up")


def test_the_reason_for_buying_no_labels_is_reported(
    learning: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_author(learning, Author("ann", "Ann"))
    write_author(learning, Author("bob", "Bob"))
    consent = [f"{slug}: no line `consent` in authors/{slug}.toml" for slug in ("ann", "bob")]
    assert learn("ann", "bob") == ([], "\n".join(consent))
    (learning.authors_dir / "bob.toml").unlink()
    monkeypatch.setitem(PACES, "", {"routing_labels": 0})
    write_author(learning, Author("ann", "Ann", consent="2026-01-01: by mail"))
    assert learn("ann") == ([], "ann: 0 labels, which is the maximum")
    policy_file = learning.home / "routing" / "ann.npz"
    policy_file.parent.mkdir()
    policy_file.write_bytes(b"half a policy")
    assert "ann.npz" in learn("ann")[1]
    (learning.authors_dir / "ann.toml").unlink()
    assert learn() == ([], "no author")
    monkeypatch.delenv("TWIN_LABEL_BUDGET_PER_MONTH")
    assert "TWIN_LABEL_BUDGET_PER_MONTH" in learn("ann")[1]
    monkeypatch.delenv("TWIN_PAID_MODEL")
    assert "no paid model" in learn("ann")[1]


def test_without_a_paid_model_the_schedule_is_hidden(learning: Settings, home: Settings) -> None:
    assert [job.name for job in build_learning_schedules(learning)] == ["learn_routing_every_night"]
    assert build_learning_schedules(home) == []
    assert not any(
        schedule_def.name.startswith("learn")
        for schedule_def in defs.get_repository_def().schedule_defs
    )
