"""An alarm without new data: an earlier version that is surely better answers again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.graph.retraining.conftest import LoopWorld
from tests.queued_notices import queued_notices
from twin_resources.quality.retraining import alarm_records
from twin_resources.quality.retraining.alarm_records import AlarmRecord


@pytest.fixture
def second(world: LoopWorld) -> LoopWorld:
    """v1 was certified, v2 answers; both were trained on all data."""
    world.good("ada", 200)
    world.tick()
    world.release("ada", "ada-2")
    world.good("ada", 40, version="v2")
    world.tick()
    return world


def states(world: LoopWorld) -> dict[str, str]:
    return {f"v{version.version}": version.state for version in world.registry.versions("ada")}


def newest_alarm(world: LoopWorld) -> AlarmRecord:
    with world.state.read_transaction() as connection:
        return alarm_records.list_alarms(connection, "ada")[0]


def test_the_version_that_answered_before_answers_again(second: LoopWorld) -> None:
    second.bad("ada", 60, version="v2")

    tick = second.tick()

    assert tick.launches == ()
    assert states(second) == {"v1": "stable", "v2": "rolled_back"}
    assert "rolled back to v1, which readers liked better" in tick.messages["ada"]
    record = newest_alarm(second)
    assert (record.is_open, record.decision, record.decided_by) == (
        False,
        "rolled_back",
        "learnt_before",
    )
    notice = queued_notices(second.state, author="ada")[0]
    assert (notice.event, notice.title) == ("rolled_back", "ada was rolled back to v1")
    assert "quality:ada:v2:thumbs:1: v2 fell in short below the scores of v1" in notice.text
    assert second.registry.moves("ada")[-1].actor == "sensor quality_dropped"
    assert second.registry.routing() == {}, "no class goes elsewhere"


def test_two_versions_never_take_turns(second: LoopWorld) -> None:
    second.bad("ada", 60, version="v2")
    second.tick()
    for _ in range(4):
        second.good("ada", 200, version="v1")
        second.bad("ada", 60, version="v1")
        second.tick()
    assert states(second) == {"v1": "stable", "v2": "rolled_back"}
    assert newest_alarm(second).decision == "nothing_to_learn"
    assert queued_notices(second.state, author="ada")[0].event == "nothing_to_learn"


def test_without_auto_retrain_it_is_for_a_person(second: LoopWorld) -> None:
    second.limits = replace(second.limits, automatic=False)
    second.bad("ada", 60, version="v2")

    second.tick()

    assert states(second) == {"v1": "retired", "v2": "stable"}
    assert newest_alarm(second).decision == "nothing_to_learn"
    notice = queued_notices(second.state, author="ada")[0]
    assert "the earlier version v1 (`twin rollback`)" in notice.text


def test_a_fall_below_what_it_was_itself_is_no_reason(world: LoopWorld) -> None:
    """v2 falls from 1 to .8, which is what v1 was."""
    world.good("ada", 200)
    world.tick()
    world.release("ada", "ada-2")
    world.settle("ada", [1.0] * 1_000, version="v2")
    world.tick()
    for _ in range(5):
        world.good("ada", 100, version="v2")
        world.tick()
    assert newest_alarm(world).alarm.version == "v2"
    assert states(world) == {"v1": "retired", "v2": "stable"}


def test_a_version_that_was_released_by_force_is_not_gone_back_to(world: LoopWorld) -> None:
    world.good("bob", 1)
    world.release("ada", "ada-2", force=True)
    world.good("ada", 200, version="v2")
    world.tick()
    world.release("ada", "ada-3")
    world.good("ada", 160, version="v3")
    world.tick()
    world.bad("ada", 60, version="v3")
    world.tick()
    assert newest_alarm(world).decision == "nothing_to_learn"
    assert states(world)["v3"] == "stable"


@pytest.mark.parametrize(("days", "trains"), [(29, False), (31, True)])
def test_a_version_of_the_last_month_goes_back_and_an_older_one_is_trained(
    second: LoopWorld, days: int, trains: bool
) -> None:
    second.inputs.datasets["ada"] = "posts-2"
    second.tick(days=days)
    second.bad("ada", 60, version="v2")
    tick = second.tick()
    assert len(tick.launches) == trains
    assert states(second)["v2"] == ("stable" if trains else "rolled_back")
    assert ("one retraining starts" in tick.messages["ada"]) is trains
