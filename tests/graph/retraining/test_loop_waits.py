"""Test the line that reports what the loop is waiting for, and until when."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from twin_cli.commands.loop_waits import describe_wait

from tests.graph.retraining.conftest import GATE, LoopWorld, add_new_posts
from tests.model_versions import register_version


def read_line(world: LoopWorld, *, days: float = 0.0) -> str:
    with world.state.read_transaction() as connection:
        return describe_wait(connection, "ada", now=world.now.timestamp() + days * 86_400.0)


def cause_fall(world: LoopWorld) -> None:
    world.add_good("ada", 200)
    world.add_bad("ada", 60)
    world.tick()


def test_without_anything_waiting_the_line_is_empty(world: LoopWorld) -> None:
    world.add_good("ada", 200)
    world.tick()
    assert read_line(world) == ""


def test_the_line_of_a_waiting_alarm_gives_the_reason(world: LoopWorld) -> None:
    world.limits = replace(world.limits, automatic=False)
    cause_fall(add_new_posts(world))
    line = read_line(world)
    assert line.startswith("quality fell: thumbs: alarm 1")
    assert "waits: automatic retraining is off" in line


def test_the_line_of_a_retraining_gives_its_attempt(world: LoopWorld) -> None:
    cause_fall(add_new_posts(world))
    assert read_line(world) == (
        "waiting for the retraining quality:ada:v1:thumbs:1, attempt 1 of 3: its run is about to "
        "start"
    )


def test_a_notice_to_a_person_remains_until_the_next_release(world: LoopWorld) -> None:
    cause_fall(world)
    line = read_line(world)
    assert line.startswith(
        f"quality fell on {world.now.date().isoformat()}; waiting for an operator: "
    )
    assert "nothing to learn from" in line
    assert read_line(world, days=31) == ""
    world.release("ada", "other")
    assert read_line(world) == ""


def test_the_line_of_a_trial_gives_its_parking_date(world: LoopWorld) -> None:
    version = register_version(world.registry, "ada", "later", dataset_version="posts-2").version
    world.judge("ada", "later", "passed")
    move = world.registry.move(
        "ada", version, "shadow", actor="test", reason="test", gate_version=GATE
    )
    started_on = move.moved_at[:10]
    parked_on = (world.now.fromisoformat(started_on) + timedelta(days=14)).date().isoformat()
    assert read_line(world) == (
        "waiting for v2, on trial as shadow against v1, 0 pairs; "
        f"parked on {parked_on} unless a pair arrives first"
    )
