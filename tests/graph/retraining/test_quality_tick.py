"""Test ticks that read settled values: they report numbers, and start one retraining per alarm."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import sqlalchemy as sa

from tests.graph.retraining.conftest import LoopWorld, add_new_posts
from tests.model_versions import register_version
from tests.queued_notices import queued_notices
from twin_resources.observability.langfuse.client import TraceStoreError
from twin_resources.quality.retraining import alarm_records
from twin_resources.quality.retraining import retrainings as retraining_rows
from twin_resources.quality.retraining.quality_tick import run_tick
from twin_resources.registry.moves import VersionState
from twin_resources.statistics.retraining import TrainingFingerprint
from twin_resources.storage.state.state_tables import alarms, retrainings, watches


def test_a_quiet_tick_reports_its_numbers(world: LoopWorld) -> None:
    world.add_good("ada", 37)

    tick = world.tick()

    assert tick.launches == ()
    assert tick.messages["ada"].startswith("thumbs: warm-up 37/170 values, 4/14 days")
    assert tick.messages["bob"] == "no scores yet"
    world.add_good("ada", 113)  # all of the comparison, and none since
    assert world.tick().messages["ada"].startswith("thumbs: warm-up 150/170")


def test_a_fall_starts_one_retraining_with_its_evidence(world: LoopWorld) -> None:
    add_new_posts(world).add_good("ada", 200)
    world.add_good("bob", 200)
    assert world.tick().launches == ()
    world.add_bad("ada", 60)

    tick = world.tick()

    [launch] = tick.launches
    assert launch.run_key == "quality:ada:v1:thumbs:1"
    assert launch.author == "ada"
    assert launch.tags["twin/cause"] == "quality"
    assert float(launch.tags["twin/e_value"]) >= float(launch.tags["twin/threshold"]) == 72
    assert launch.tags["dagster/priority"] == "20"
    assert launch.tags["twin/dataset"] == "posts-2"
    assert launch.tags["twin/fallen_classes"].startswith("short 0.20 < 0.77 ")
    assert "one retraining starts" in tick.messages["ada"]
    assert "likelihood ratio" in tick.messages["bob"]
    assert queued_notices(world.state, author="ada")[0].event == "alarm"
    world.queue(tick.launches)
    assert [world.tick().launches for _ in range(5)] == [()] * 5
    assert len(world.runs()) == 1


def test_a_later_alarm_of_the_same_fall_is_recorded_with_the_run_in_flight(
    world: LoopWorld,
) -> None:
    add_new_posts(world).add_good("ada", 200)
    world.add_bad("ada", 60)
    [run_id] = world.queue(world.tick().launches)
    world.add_good("ada", 400)  # new values to compare with
    world.add_bad("ada", 80)

    ticks = [world.tick() for _ in range(4)]

    assert all(tick.launches == () for tick in ticks)
    with world.state.read_transaction() as connection:
        alarms = alarm_records.list_alarms(connection, "ada")
    assert len(alarms) > 1
    assert {(row.decision, row.decided_by) for row in alarms[:-1]} == {("held_back", "in_flight")}
    assert all(run_id in row.message for row in alarms[:-1])
    assert (alarms[-1].decision, alarms[-1].run_key) == ("train", "quality:ada:v1:thumbs:1")
    assert len(world.runs()) == 1


@pytest.mark.parametrize("state", ["rolled_back", "parked", "refused"])
def test_an_alarm_does_not_train_on_a_versions_data_again(
    world: LoopWorld, state: VersionState
) -> None:
    """In an earlier version, every alarm after a rollback or a parking trained on the same data."""
    world.inputs.datasets["ada"] = "posts-2"
    version = register_version(world.registry, "ada", "again", dataset_version="posts-2")
    world.inputs.fingerprints["ada", version.version] = TrainingFingerprint("posts-2", "recipe")
    world.registry.move("ada", version.version, state, actor="test", reason="test")
    world.add_good("ada", 200)
    world.add_bad("ada", 60)

    tick = world.tick()

    assert tick.launches == ()
    assert f"v2, {state.replace('_', ' ')}, was trained on it" in tick.messages["ada"]
    notice = queued_notices(world.state, author="ada")[0]
    assert notice.event == "nothing_to_learn"
    assert notice.text.count(";") >= 2
    assert "Three things would help: new posts or edited answers" in notice.text
    world.inputs.datasets["ada"] = "posts-3"
    world.add_good("ada", 400)
    world.add_bad("ada", 80)
    assert len(world.tick().launches) == 1, "new data started no training"


def test_a_retraining_whose_version_was_deleted_counts(world: LoopWorld) -> None:
    world.inputs.datasets["ada"] = "posts-2"
    with world.state.transaction() as connection:
        retraining_rows.add_retraining(
            connection, run_key="growth:ada:v1:posts-2", author="ada", cause="new_posts", tags={},
            fingerprint=TrainingFingerprint("posts-2", "recipe"), now=0.0,
        )  # fmt: skip
        [retraining] = retraining_rows.unfinished_retrainings(connection)
        retraining_rows.update_if_unchanged(connection, retraining, outcome="refused", ended_at=1.0)
    world.add_good("ada", 200)
    world.add_bad("ada", 60)

    tick = world.tick()

    assert tick.launches == ()
    assert "version of growth:ada:v1:posts-2, now deleted" in tick.messages["ada"]


def test_an_unreachable_trace_store_decides_nothing(world: LoopWorld) -> None:
    add_new_posts(world).add_good("ada", 200)
    world.tick()
    world.add_bad("ada", 60)
    world.trace_store.failure = TraceStoreError(
        "read scores", found="connection refused", next_step="wait", status=None
    )

    tick = world.tick(seconds=120)

    assert tick.launches == ()
    assert tick.notes[0] == "trace store unreachable: connection refused: nothing decided"
    world.trace_store.failure = None
    [launch] = world.tick(seconds=120).launches
    assert launch.run_key == "quality:ada:v1:thumbs:1"


def test_recomputed_rows_raise_no_second_alarm(world: LoopWorld) -> None:
    add_new_posts(world).add_good("ada", 200)
    world.add_bad("ada", 47)
    world.queue(world.tick().launches)
    world.add_good("ada", 30)
    world.tick()
    world.tick()
    rows_before = _read_rows(world)
    with world.state.transaction() as connection:
        connection.execute(sa.delete(watches))

    ticks = [world.tick(), world.tick(), world.tick()]

    assert [tick.launches for tick in ticks] == [(), (), ()]
    assert _read_rows(world) == rows_before


def _read_rows(world: LoopWorld) -> dict[str, object]:
    with world.state.read_transaction() as connection:
        return {
            "watches": connection.execute(sa.select(watches)).all(),
            "alarms": connection.execute(sa.select(alarms.c.number, alarms.c.evidence)).all(),
            "retrainings": connection.execute(sa.select(retrainings.c.run_key)).all(),
        }


def test_a_tick_without_time_leaves_authors_to_the_next(world: LoopWorld) -> None:
    """Dagster ends a tick after 60 s, and then none of its decisions would start a run."""
    for author in ("ada", "bob"):
        add_new_posts(world, author).add_good(author, 200)
        world.add_bad(author, 60)
    times = itertools.count(0.0, 24.0)  # the second author's turn comes after 45 s
    slow_tick = run_tick(
        dataclasses.replace(world.services(), clock=lambda: next(times)), now=world.now
    )
    assert "no time left: new values of 1 authors wait for the next tick" in slow_tick.notes
    assert slow_tick.launches == ()

    ticks = [world.tick() for _ in range(2)]
    assert {launch.author for tick in ticks for launch in tick.launches} == {"ada", "bob"}
