"""After trainings by alarm that led to no release the next one waits; a promotion ends it."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from twin_cli.commands.loop_waits import waiting_line

from tests.graph.retraining.conftest import GATE, LoopWorld
from tests.registered import register_version
from twin_resources.quality.retraining.manual_triggers import request_retraining, run_request_tick
from twin_resources.registry.moves import VersionState
from twin_resources.storage.state.state_tables import retrainings


def train_at_the_next_alarm(world: LoopWorld, became: VersionState | None) -> int:
    """A fall and new posts each day, until an alarm starts a training; how many days.

    Args:
        became: of its candidate; None: the gate refused it.
    """
    stable = world.registry.stable_version("ada")
    assert stable is not None
    # After an alarm it is compared again, and with 1,000 values at most.
    world.good("ada", 1_000, version=f"v{stable.version}")
    for day in range(1, 200):
        world.bad("ada", 20, version=f"v{stable.version}")
        world.inputs.datasets["ada"] = f"posts of {world.now.timestamp():.0f}"
        if not (launches := world.tick(days=1).launches):
            continue
        world.launch(launches)
        checkpoint = f"ada-{len(world.registry.versions('ada')) + 1}"
        version = register_version(
            world.registry, "ada", checkpoint, dataset_version="posts"
        ).version
        world.judge("ada", checkpoint, "passed" if became else "failed")
        world.registry.move(
            "ada", version, became or "refused", actor="test", reason="test", gate_version=GATE
        )
        world.tick()
        return day
    raise AssertionError("no alarm started a training in 200 days")


@pytest.mark.drawn(1)
@pytest.mark.parametrize("became", [None, "rolled_back", "parked"])
def test_each_training_in_vain_doubles_the_wait(
    world: LoopWorld, became: VersionState | None
) -> None:
    first, *later_dates = [train_at_the_next_alarm(world, became) for _ in range(4)]
    assert first == 1
    assert later_dates == [7, 14, 28]


def test_a_promotion_sets_it_back(world: LoopWorld) -> None:
    assert [train_at_the_next_alarm(world, "rolled_back") for _ in range(3)] == [1, 7, 14]
    assert train_at_the_next_alarm(world, "stable") == 28, "in vain it would make the next wait 56"
    world.tick(days=31)  # later than a month after a release it is trained, not rolled back
    assert train_at_the_next_alarm(world, "rolled_back") < 7


def test_status_says_when_and_a_person_waits_for_nothing(world: LoopWorld) -> None:
    train_at_the_next_alarm(world, "rolled_back")
    now = world.now.timestamp()
    day = (world.now + timedelta(days=7)).date().isoformat()
    with world.state.read_transaction() as connection:
        line = waiting_line(connection, "ada", now=now)
        assert line.startswith("the last training by alarm led to no release")
        assert f"the next may start on {day}" in line
        assert waiting_line(connection, "ada", now=now + 8 * 86_400.0) == ""

    world.good("ada", 1_000)
    world.bad("ada", 60)
    world.inputs.datasets["ada"] = "still newer posts"
    tick = world.tick(days=1)
    assert tick.launches == ()
    assert f"the next may start on {day}" in tick.messages["ada"]
    request_retraining(world.state, "ada", asked_by="jo", reason="now", now=now)
    assert len(run_request_tick(world.loop(), now=world.now).launches) == 1


def test_a_wait_from_a_clock_that_was_ahead_begins_when_it_is_right(world: LoopWorld) -> None:
    train_at_the_next_alarm(world, "rolled_back")
    with world.state.transaction() as connection:
        connection.execute(
            sa.update(retrainings).values(ended_at=world.now.timestamp() + 400 * 86_400.0)
        )
    assert train_at_the_next_alarm(world, "rolled_back") in (7, 8)
