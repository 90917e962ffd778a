"""Test that a decision leads to one run despite killed daemons, clock changes and failures."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from tests.graph.retraining.conftest import Inputs, LoopWorld, add_new_posts
from tests.queued_notices import queued_notices
from twin_resources.errors import TwinError
from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.retraining import alarm_records, retrainings
from twin_resources.quality.retraining.manual_triggers import request_retraining, run_request_tick
from twin_resources.quality.retraining.quality_tick import run_tick
from twin_resources.quality.retraining.training_launches import TickServices
from twin_resources.registry.registry import Registry
from twin_resources.statistics.retraining import TrainingFingerprint
from twin_resources.storage.state import state_tables
from twin_resources.storage.state.state import State
from twin_sensors.dagster_run_records import DagsterRunRecords

KEY = "quality:ada:v1:thumbs:1"


@pytest.fixture
def alarm_world(world: LoopWorld) -> LoopWorld:
    """A world whose next tick raises an alarm for ada and decides to train."""
    add_new_posts(world).add_good("ada", 200)
    world.add_bad("ada", 24)  # the alarm comes after 19
    return world


@pytest.mark.long
def test_a_run_lost_before_its_launch_is_requested_again(alarm_world: LoopWorld) -> None:
    assert [launch.run_key for launch in alarm_world.tick().launches] == [KEY]  # not launched

    assert alarm_world.tick(seconds=30).launches == ()  # its launch may be in progress
    [repeated] = alarm_world.tick(seconds=31).launches
    assert repeated.run_key == KEY
    [run_id] = alarm_world.queue([repeated])
    assert [alarm_world.tick(seconds=61).launches for _ in range(3)] == [()] * 3
    with alarm_world.state.read_transaction() as connection:
        [retraining] = retrainings.unfinished_retrainings(connection)
    assert retraining.run_id == run_id
    assert len(alarm_world.runs()) == 1


def test_two_daemons_in_threads_request_one_run(alarm_world: LoopWorld) -> None:
    loops = [replace(alarm_world.services(), state=alarm_world.state) for _ in range(4)]
    barrier = threading.Barrier(len(loops))

    def run_one_tick(services: TickServices) -> list[str]:
        barrier.wait()
        return [launch.run_key for launch in run_tick(services, now=alarm_world.now).launches]

    with ThreadPoolExecutor(len(loops)) as pool:
        first_keys = [key for keys in pool.map(run_one_tick, loops) for key in keys]
    # Three of the four ticks find the ledger in use and decide nothing. A second round, before any
    # launch, must not request the run again.
    with ThreadPoolExecutor(len(loops)) as pool:
        second_keys = [key for keys in pool.map(run_one_tick, loops) for key in keys]
    assert first_keys + second_keys == [KEY]


def _run_daemon(home: str, storage: str, start: object, queue: object) -> None:
    """Run one daemon, which ticks and launches, in its own process."""
    world_state = State.open(f"sqlite:///{home}/state.sqlite")
    registry = Registry(world_state, policy_path=Path(home) / "policy.json")
    with dg.DagsterInstance.local_temp(storage) as instance:
        world = LoopWorld(None, world_state, registry, instance, inputs=Inputs())  # type: ignore[arg-type]
        add_new_posts(world)
        start.wait()  # type: ignore[attr-defined]
        launches = []
        for _ in range(3):
            tick = world.tick(seconds=1)
            world.queue(tick.launches)
            launches += [launch.run_key for launch in tick.launches]
    queue.put(launches)  # type: ignore[attr-defined]


@pytest.mark.long
def test_two_daemons_in_processes_launch_one_run(alarm_world: LoopWorld, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, queue = context.Event(), context.Queue()
    storage = tmp_path / "dagster"
    storage.mkdir()
    arguments = (str(alarm_world.settings.home), str(storage), start, queue)
    with dg.DagsterInstance.local_temp(str(storage)) as instance:
        processes = [context.Process(target=_run_daemon, args=arguments) for _ in range(2)]
        for process in processes:
            process.start()
        start.set()
        keys = [key for _ in processes for key in queue.get(timeout=120)]
        for process in processes:
            process.join(60)
        assert keys == [KEY]
        assert len(instance.get_runs()) == 1


def test_a_clock_set_back_an_hour_starts_nothing_twice(alarm_world: LoopWorld) -> None:
    alarm_world.tick()  # requested, and the daemon is killed
    alarm_world.now -= timedelta(hours=1)

    assert alarm_world.tick(seconds=5).launches == ()
    [repeated] = alarm_world.tick(seconds=61).launches
    alarm_world.queue([repeated])
    alarm_world.now += timedelta(hours=2)
    assert alarm_world.tick().launches == ()
    assert len(alarm_world.runs()) == 1


def test_scores_deleted_after_the_alarm_change_nothing(alarm_world: LoopWorld) -> None:
    alarm_world.queue(alarm_world.tick().launches)
    with alarm_world.state.transaction() as connection:
        connection.execute(sa.update(ledger_tables.scores).values(status="deleted"))
        connection.execute(sa.delete(ledger_tables.traces))

    assert [alarm_world.tick().launches for _ in range(3)] == [()] * 3
    with alarm_world.state.read_transaction() as connection:
        [record] = alarm_records.list_alarms(connection, "ada")
    assert record.decision == "train"


def settle_another_fall(world: LoopWorld) -> None:
    """Settle good values, of which a comparison needs at most 1,000, and then bad ones."""
    world.add_good("ada", 1_000)
    world.add_bad("ada", 40)


@pytest.mark.long
def test_after_three_failures_nothing_is_trained_until_the_dataset_changes(
    alarm_world: LoopWorld,
) -> None:
    keys: list[str] = []
    for _ in range(8):
        tick = alarm_world.tick(seconds=400)
        keys += [launch.run_key for launch in tick.launches]
        alarm_world.launch(tick.launches, fails=True)

    assert keys == [KEY, f"{KEY}:attempt 2", f"{KEY}:attempt 3"]
    assert queued_notices(alarm_world.state, author="ada")[0].event == "failed"
    settle_another_fall(alarm_world)
    assert [alarm_world.tick(seconds=400).launches for _ in range(4)] == [()] * 4
    with alarm_world.state.read_transaction() as connection:
        *later_alarms, first = alarm_records.list_alarms(connection, "ada")
    assert {(alarm.decision, alarm.decided_by, alarm.is_open) for alarm in later_alarms} == {
        ("nothing_to_learn", "learnt_before", False)
    }
    assert "thumbs:1 failed 3 times with it" in later_alarms[0].message
    assert first.decision == "train"
    alarm_world.inputs.datasets["ada"] = "posts-3"
    settle_another_fall(alarm_world)
    [launch] = alarm_world.tick(days=8).launches
    assert launch.run_key == f"quality:ada:v1:thumbs:{len(later_alarms) + 2}"


def test_each_fall_after_a_refused_retraining_sends_a_notice(alarm_world: LoopWorld) -> None:
    """In an earlier version, the detector stopped after a refusal, so no further alarm came."""
    [run_id] = alarm_world.queue(alarm_world.tick().launches)
    alarm_world.judge("ada", "ada-2", "failed")
    alarm_world.fail(run_id)
    alarm_world.tick()
    for _ in range(3):
        settle_another_fall(alarm_world)
        assert alarm_world.tick(days=1).launches == ()

    notices = queued_notices(alarm_world.state, author="ada")
    assert [notice.event for notice in notices if notice.event == "alarm"] == ["alarm"] * 4


def test_a_failed_attempt_that_succeeds_later_is_one_retraining(alarm_world: LoopWorld) -> None:
    alarm_world.launch(alarm_world.tick().launches, fails=True)
    assert alarm_world.tick(seconds=60).launches == ()  # five minutes between attempts
    [second] = alarm_world.tick(seconds=300).launches
    assert second.run_key == f"{KEY}:attempt 2"
    alarm_world.launch([second])

    alarm_world.tick()

    with alarm_world.state.read_transaction() as connection:
        assert (
            connection.execute(sa.select(state_tables.retrainings.c.outcome)).scalar_one()
            == "passed"
        )
        assert retrainings.unfinished_retrainings(connection) == []


def test_a_run_that_a_person_cancels_is_not_started_again(alarm_world: LoopWorld) -> None:
    [run_id] = alarm_world.queue(alarm_world.tick().launches)
    run = alarm_world.instance.get_run_by_id(run_id)
    assert run is not None
    alarm_world.instance.report_run_canceled(run)

    assert [alarm_world.tick(seconds=400).launches for _ in range(3)] == [()] * 3


def test_a_run_whose_record_was_deleted_is_not_started_again(alarm_world: LoopWorld) -> None:
    [run_id] = alarm_world.queue(alarm_world.tick().launches)
    alarm_world.tick()
    alarm_world.instance.delete_run(run_id)

    ticks = [alarm_world.tick(seconds=400) for _ in range(3)]

    assert [tick.launches for tick in ticks] == [()] * 3
    assert f"the record of run {run_id} is gone" in " ".join(ticks[0].notes)


@pytest.mark.parametrize("function_name", ["store_decision", "add_retraining"])
def test_a_decision_interrupted_in_its_transaction_is_repeated(
    alarm_world: LoopWorld, function_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = alarm_records if function_name == "store_decision" else retrainings
    original: Callable[..., bool] = getattr(module, function_name)

    def interrupt(*arguments: object, **keywords: object) -> bool:
        original(*arguments, **keywords)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, function_name, interrupt)
        with pytest.raises(KeyboardInterrupt):
            alarm_world.tick()

    assert [launch.run_key for launch in alarm_world.tick().launches] == [KEY]


def test_one_authors_unreadable_data_does_not_block_another_author(world: LoopWorld) -> None:
    for author in ("ada", "bob"):
        at = world.now.timestamp()
        request_retraining(world.state, author, asked_by="mara", reason="again", now=at)
    launches = run_request_tick(world.services(), now=world.now).launches
    assert [launch.author for launch in launches] == ["ada", "bob"]
    world.launch(launches)

    class UnreadableInputs(Inputs):
        def read_current(self, author: str) -> TrainingFingerprint:
            if author == "ada":
                raise TwinError("read the dataset", found="a damaged table", next_step="restore it")
            return super().read_current(author)

    world.inputs = UnreadableInputs()
    notes = world.tick().notes
    with world.state.read_transaction() as connection:
        assert [run.author for run in retrainings.unfinished_retrainings(connection)] == ["ada"]
    assert any(
        line.startswith("ada: its retraining will be settled later: ") and "a damaged table" in line
        for line in notes
    )
    assert any(line.startswith("bob: retraining ") for line in notes)

    world.inputs = Inputs()
    world.tick()
    with world.state.read_transaction() as connection:
        assert retrainings.unfinished_retrainings(connection) == []


def materialize_by_hand(
    world: LoopWorld,
    asset: str,
    *,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.NOT_STARTED,
) -> str:
    """Create a run as "Materialize" in Dagster's UI does, and return its id."""

    @dg.asset(name=asset, partitions_def=dg.DynamicPartitionsDefinition(name="authors"))
    def step() -> None: ...

    job = dg.Definitions(assets=[step]).resolve_implicit_global_asset_job_def()
    return world.instance.create_run_for_job(
        job,
        tags={"dagster/partition": "ada"},
        asset_selection=frozenset({dg.AssetKey(asset)}),
        status=status,
    ).run_id


def test_a_manual_materialization_counts_as_a_training(alarm_world: LoopWorld) -> None:
    """An earlier version overlooked runs of Dagster's asset job, so a second training started."""
    run_id = materialize_by_hand(alarm_world, "fine_tuned_checkpoint")
    tick = alarm_world.tick()
    assert tick.launches == ()
    assert f"recorded with run {run_id}, which is in flight" in tick.messages["ada"]

    alarm_world.fail(run_id)
    alarm_world.limits = replace(alarm_world.limits, cooldown_days=1.0, runs_a_month=1)
    settle_another_fall(alarm_world)
    second = alarm_world.tick(seconds=60)
    assert second.launches == ()
    assert "cooldown" in second.messages["ada"]
    assert "budget reached: 1 of 1 runs" in alarm_world.tick(days=2).messages["ada"]


def test_a_manual_run_of_another_asset_does_not_block_a_training(alarm_world: LoopWorld) -> None:
    materialize_by_hand(alarm_world, "interactions")
    assert len(alarm_world.tick().launches) == 1


def test_a_newer_run_of_another_asset_does_not_hide_a_training(alarm_world: LoopWorld) -> None:
    training_run = materialize_by_hand(
        alarm_world, "fine_tuned_checkpoint", status=dg.DagsterRunStatus.SUCCESS
    )
    materialize_by_hand(alarm_world, "interactions", status=dg.DagsterRunStatus.SUCCESS)
    newest = DagsterRunRecords(alarm_world.instance).newest_success("ada")
    assert newest is not None
    assert newest.run_id == training_run
