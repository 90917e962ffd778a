"""Test for which authors the hourly and nightly schedules start runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.definitions.schedule_definition import ScheduleExecutionData

from tests.graph.sensors.shared_instance import dagster_instance, reset_instance
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
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables
from twin_sensors.learning_schedule import build_learning_schedules, learn_routing_every_night
from twin_sensors.schedules import (
    collect_feedback_every_hour,
    compare_versions_every_hour,
    judge_answers_every_hour,
)
from twin_sensors.unanswered_questions import list_unanswered_questions_every_monday

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
    store = open_home_state(home)
    yield store
    store.close()


def run_tick(
    *known_authors: str,
    schedule: dg.ScheduleDefinition = collect_feedback_every_hour,
    busy_author: str = "",
    job: str = "judge_answers",
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
) -> ScheduleExecutionData:
    instance = reset_instance(known_authors)
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
        if busy_author:
            instance.add_run(
                dg.DagsterRun(job_name=job, status=status, tags={"dagster/partition": busy_author})
            )
        return schedule.evaluate_tick(context)


def test_feedback_is_collected_for_recently_asked_authors_with_a_partition(state: State) -> None:
    record_answer(state, "ann", NOON - timedelta(minutes=10))
    record_answer(state, "bob", NOON - timedelta(hours=3, minutes=1))
    record_answer(state, "cat", NOON - timedelta(hours=2, minutes=59))
    record_answer(state, "deleted", NOON - timedelta(minutes=10))  # its partition was deleted
    result = run_tick("ann", "bob", "cat")
    assert [request.partition_key for request in result.run_requests or ()] == ["ann", "cat"]
    result = run_tick("bob", "cat")
    assert [request.partition_key for request in result.run_requests or ()] == ["cat"]
    assert not run_tick("bob").run_requests
    assert "ann: Dagster has no partition 'ann'" in (run_tick("bob").skip_message or "")


def test_a_tick_without_recent_answers_reports_the_reason(state: State) -> None:
    assert "no twin answered" in (run_tick("bob").skip_message or "")  # no table of answers yet
    record_answer(state, "bob", NOON - timedelta(hours=4))
    assert "no twin answered" in (run_tick("bob").skip_message or "")


@pytest.mark.parametrize(
    "schedule", [collect_feedback_every_hour, list_unanswered_questions_every_monday]
)
def test_a_repeated_tick_requests_the_same_run(
    state: State, schedule: dg.ScheduleDefinition
) -> None:
    record_answer(state, "ann", NOON)
    ticks = [run_tick("ann", schedule=schedule).run_requests or () for _ in range(2)]
    assert len({request.run_key for requests in ticks for request in requests}) == 1


def test_judging_waits_only_for_a_judging_run_of_the_same_author(state: State) -> None:
    record_answer(state, "ann", NOON)
    record_answer(state, "bob", NOON)
    runs = run_tick("ann", "bob", schedule=judge_answers_every_hour).run_requests or ()
    assert {request.partition_key for request in runs} == {"ann", "bob"}
    tick = run_tick("ann", "bob", schedule=judge_answers_every_hour, busy_author="ann")
    assert [request.partition_key for request in tick.run_requests or ()] == ["bob"]
    assert not run_tick("ann", schedule=judge_answers_every_hour, busy_author="ann").run_requests
    feedback = run_tick("ann", busy_author="ann").run_requests or ()
    assert [request.partition_key for request in feedback] == ["ann"]


def test_only_undecided_shadow_trials_continue(state: State, home: Settings) -> None:
    registry = Registry(state, policy_path=home.policy_path)

    def start_trial(author: str, kind: VersionKind, state: VersionState) -> None:
        register_passed_version(registry, author, "before", "stable", kind=kind)
        register_passed_version(registry, author, "after", state)

    start_trial("ann", "answer_model", "shadow")
    start_trial("bob", "tuned", "shadow")
    schedule = compare_versions_every_hour
    register_passed_version(registry, "cat", "before", "shadow")  # without a stable version
    requests = run_tick("ann", "bob", "cat", "dan", schedule=schedule).run_requests or ()
    assert {request.partition_key for request in requests} == {"ann", "bob"}
    running = run_tick("ann", "bob", schedule=schedule, busy_author="ann", job="compare_versions")
    assert [request.partition_key for request in running.run_requests or ()] == ["bob"]
    assert not run_tick(schedule=schedule).run_requests
    registry.move("bob", 2, "parked", actor="t", reason="t")
    assert not run_tick("bob", schedule=schedule).run_requests


PAID = {
    "TWIN_PAID_MODEL": "openai/gpt-4o-mini",
    "TWIN_PAID_BUDGET_PER_DAY": "1",
    "TWIN_LABEL_BUDGET_PER_MONTH": "2",
}


def run_learning_tick(
    *known_authors: str, busy_author: str = "", is_finished: bool = False
) -> tuple[list[str], str]:
    """Run a nightly tick; return the authors with a run and the message."""
    status = dg.DagsterRunStatus.SUCCESS if is_finished else dg.DagsterRunStatus.STARTED
    result = run_tick(
        *known_authors, schedule=learn_routing_every_night, busy_author=busy_author,
        job="learn_routing", status=status,
    )  # fmt: skip
    return [str(run.partition_key) for run in result.run_requests or ()], result.skip_message or ""


@pytest.fixture
def paid_home(state: State, home: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Prepare Ann with a stable version, a paid model, and an embedder without weights."""
    for name, value in PAID.items():
        monkeypatch.setenv(name, value)
    write_manifest(home)
    write_author(home, Author("ann", "Ann", consent="2026-01-01: by mail"))
    registry = Registry(state, policy_path=home.policy_path)
    register_passed_version(registry, "ann", "c1", "stable")
    return load_settings()


@pytest.mark.long
def test_labels_are_bought_at_night_while_needed_and_affordable(
    paid_home: Settings, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PACES, "", FEW_LABELS)
    runs, message = run_learning_tick("ann")
    assert runs == []
    assert "routing does not pay" in message
    for number in range(9):
        at = datetime.now(UTC) - timedelta(days=1, microseconds=number)
        record_answer(state, "ann", at, route="stable")
    assert run_learning_tick("ann") == (["ann"], "")
    assert run_learning_tick()[0] == []  # without a partition
    write_author(paid_home, Author("bob", "Bob", consent="2026-01-01: by mail"))
    runs, message = run_learning_tick("ann", "bob", busy_author="ann")
    assert runs == []
    assert message.splitlines()[0] == "ann: a run of learn_routing is in progress"
    assert message.splitlines()[1].startswith("bob: no stable version")
    (paid_home.authors_dir / "bob.toml").unlink()
    tables = Tables(paid_home.tables_base, state=state)
    purchase = LabelPurchase("c1", PAID["TWIN_PAID_MODEL"], "e1", ("j@1",), "a")
    rows = [purchase.build_row(1, "recorded", "t1")]
    store_rows(tables, TABLE, "ann", rows, key="label_id", schema=COLUMNS)
    assert run_learning_tick("ann", busy_author="ann", is_finished=True) == (
        [], "ann: no question has arrived since the last run",
    )  # fmt: skip
    record_answer(state, "ann", datetime.now(UTC) + timedelta(minutes=1))
    assert run_learning_tick("ann", busy_author="ann", is_finished=True)[0] == ["ann"]
    account = open_account(paid_home, state)
    account.settle(account.reserve(purpose="label", author="ann", key="", max_usd=2.0), 2.0)
    assert run_learning_tick("ann") == ([], "ann: the budget for labels is used up")


@pytest.mark.long
def test_the_reason_for_buying_no_labels_is_reported(
    paid_home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_author(paid_home, Author("ann", "Ann"))
    write_author(paid_home, Author("bob", "Bob"))
    consent = [f"{slug}: no line `consent` in authors/{slug}.toml" for slug in ("ann", "bob")]
    assert run_learning_tick("ann", "bob") == ([], "\n".join(consent))
    (paid_home.authors_dir / "bob.toml").unlink()
    monkeypatch.setitem(PACES, "", {"routing_labels": 0})
    write_author(paid_home, Author("ann", "Ann", consent="2026-01-01: by mail"))
    assert run_learning_tick("ann") == ([], "ann: 0 labels, which is the maximum")
    policy_file = paid_home.home / "routing" / "ann.npz"
    policy_file.parent.mkdir()
    policy_file.write_bytes(b"half a policy")
    assert "ann.npz" in run_learning_tick("ann")[1]
    (paid_home.authors_dir / "ann.toml").unlink()
    assert run_learning_tick() == ([], "no author")
    monkeypatch.delenv("TWIN_LABEL_BUDGET_PER_MONTH")
    assert "TWIN_LABEL_BUDGET_PER_MONTH" in run_learning_tick("ann")[1]
    monkeypatch.delenv("TWIN_PAID_MODEL")
    assert "no paid model" in run_learning_tick("ann")[1]


def test_without_a_paid_model_the_schedule_is_hidden(paid_home: Settings, home: Settings) -> None:
    [schedule] = build_learning_schedules(paid_home)
    assert schedule.name == "learn_routing_every_night"
    assert build_learning_schedules(home) == []
    assert not any(
        schedule_def.name.startswith("learn")
        for schedule_def in defs.get_repository_def().schedule_defs
    )
