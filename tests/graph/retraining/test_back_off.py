"""Test how long an alarm waits after earlier trainings that led to no release."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from twin_cli.commands.loop_waits import describe_wait

from tests.graph.retraining.conftest import GATE, LoopWorld
from tests.model_versions import register_version
from twin_resources.quality.retraining.manual_triggers import request_retraining, run_request_tick
from twin_resources.registry.moves import VersionState
from twin_resources.storage.state.state_tables import retrainings


def train_at_the_next_alarm(world: LoopWorld, outcome: VersionState | None) -> int:
    """Add bad votes and new posts each day until an alarm starts a training; return the days.

    Args:
        outcome: the candidate's state; None means that the gate refused it.
    """
    stable = world.registry.stable_version("ada")
    assert stable is not None
    # After an alarm, a new comparison needs good values, at most 1,000.
    world.add_good("ada", 1_000, version=f"v{stable.version}")
    for day in range(1, 200):
        world.add_bad("ada", 20, version=f"v{stable.version}")
        world.inputs.datasets["ada"] = f"posts of {world.now.timestamp():.0f}"
        if not (launches := world.tick(days=1).launches):
            continue
        world.launch(launches)
        checkpoint = f"ada-{len(world.registry.versions('ada')) + 1}"
        version = register_version(
            world.registry, "ada", checkpoint, dataset_version="posts"
        ).version
        world.judge("ada", checkpoint, "passed" if outcome else "failed")
        world.registry.move(
            "ada", version, outcome or "refused", actor="test", reason="test", gate_version=GATE
        )
        world.tick()
        return day
    raise AssertionError("no alarm started a training in 200 days")


@pytest.mark.long
@pytest.mark.parametrize("outcome", [None, "rolled_back", "parked"])
def test_each_training_without_a_release_doubles_the_wait(
    world: LoopWorld, outcome: VersionState | None
) -> None:
    first_wait, *later_waits = [train_at_the_next_alarm(world, outcome) for _ in range(4)]
    assert first_wait == 1
    assert later_waits == [7, 14, 28]


@pytest.mark.long
def test_a_promotion_resets_the_wait(world: LoopWorld) -> None:
    assert [train_at_the_next_alarm(world, "rolled_back") for _ in range(3)] == [1, 7, 14]
    assert train_at_the_next_alarm(world, "stable") == 28, "the wait before the promotion changed"
    world.tick(days=31)  # a month after a release, a fall starts a training, not a rollback
    assert train_at_the_next_alarm(world, "rolled_back") < 7


def test_the_wait_is_shown_and_does_not_delay_a_persons_request(world: LoopWorld) -> None:
    train_at_the_next_alarm(world, "rolled_back")
    now = world.now.timestamp()
    day = (world.now + timedelta(days=7)).date().isoformat()
    with world.state.read_transaction() as connection:
        line = describe_wait(connection, "ada", now=now)
        assert line.startswith("the last training after an alarm led to no release")
        assert f"the next may start on {day}" in line
        assert describe_wait(connection, "ada", now=now + 8 * 86_400.0) == ""

    world.add_good("ada", 1_000)
    world.add_bad("ada", 60)
    world.inputs.datasets["ada"] = "still newer posts"
    tick = world.tick(days=1)
    assert tick.launches == ()
    assert f"the next may start on {day}" in tick.messages["ada"]
    request_retraining(world.state, "ada", asked_by="jo", reason="now", now=now)
    assert len(run_request_tick(world.services(), now=world.now).launches) == 1


@pytest.mark.long
def test_a_wait_recorded_by_a_fast_clock_starts_when_the_clock_is_right(world: LoopWorld) -> None:
    train_at_the_next_alarm(world, "rolled_back")
    with world.state.transaction() as connection:
        connection.execute(
            sa.update(retrainings).values(ended_at=world.now.timestamp() + 400 * 86_400.0)
        )
    assert train_at_the_next_alarm(world, "rolled_back") in (7, 8)
