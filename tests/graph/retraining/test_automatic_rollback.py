"""Test when an alarm restores an earlier version that provably had better scores."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.graph.retraining.conftest import LoopWorld
from tests.queued_notices import queued_notices
from twin_resources.quality.retraining import alarm_records
from twin_resources.quality.retraining.alarm_records import AlarmRecord


@pytest.fixture
def two_versions(world: LoopWorld) -> LoopWorld:
    """Make v2 stable after v1 was watched; both were trained on all posts."""
    world.add_good("ada", 200)
    world.tick()
    world.release("ada", "ada-2")
    world.add_good("ada", 40, version="v2")
    world.tick()
    return world


def states(world: LoopWorld) -> dict[str, str]:
    return {f"v{version.version}": version.state for version in world.registry.versions("ada")}


def newest_alarm(world: LoopWorld) -> AlarmRecord:
    with world.state.read_transaction() as connection:
        return alarm_records.list_alarms(connection, "ada")[0]


def test_a_better_former_version_is_restored(two_versions: LoopWorld) -> None:
    two_versions.add_bad("ada", 60, version="v2")

    tick = two_versions.tick()

    assert tick.launches == ()
    assert states(two_versions) == {"v1": "stable", "v2": "rolled_back"}
    assert "rolled back to v1, which had better scores" in tick.messages["ada"]
    record = newest_alarm(two_versions)
    assert (record.is_open, record.decision, record.decided_by) == (
        False,
        "rolled_back",
        "learnt_before",
    )
    notice = queued_notices(two_versions.state, author="ada")[0]
    assert (notice.event, notice.title) == ("rolled_back", "ada was rolled back to v1")
    assert "thumbs:1: the scores of v2 fell below those of v1 in the classes short" in notice.text
    assert two_versions.registry.moves("ada")[-1].actor == "sensor quality_dropped"
    assert two_versions.registry.routing() == {}, "a class was rerouted"


def test_an_automatic_rollback_is_not_reversed(two_versions: LoopWorld) -> None:
    two_versions.add_bad("ada", 60, version="v2")
    two_versions.tick()
    for _ in range(4):
        two_versions.add_good("ada", 200, version="v1")
        two_versions.add_bad("ada", 60, version="v1")
        two_versions.tick()
    assert states(two_versions) == {"v1": "stable", "v2": "rolled_back"}
    assert newest_alarm(two_versions).decision == "nothing_to_learn"
    assert queued_notices(two_versions.state, author="ada")[0].event == "nothing_to_learn"


def test_without_auto_retrain_the_rollback_is_left_to_a_person(two_versions: LoopWorld) -> None:
    two_versions.limits = replace(two_versions.limits, automatic=False)
    two_versions.add_bad("ada", 60, version="v2")

    two_versions.tick()

    assert states(two_versions) == {"v1": "retired", "v2": "stable"}
    assert newest_alarm(two_versions).decision == "nothing_to_learn"
    notice = queued_notices(two_versions.state, author="ada")[0]
    assert "the earlier version v1 (`twin rollback`)" in notice.text


def test_a_fall_to_the_level_of_the_former_version_causes_no_rollback(world: LoopWorld) -> None:
    """The mean vote for v2 falls from 1 to .8, the level of v1."""
    world.add_good("ada", 200)
    world.tick()
    world.release("ada", "ada-2")
    world.settle("ada", [1.0] * 1_000, version="v2")
    world.tick()
    for _ in range(5):
        world.add_good("ada", 100, version="v2")
        world.tick()
    assert newest_alarm(world).alarm.version == "v2"
    assert states(world) == {"v1": "retired", "v2": "stable"}


def test_a_forced_version_is_not_restored(world: LoopWorld) -> None:
    world.add_good("bob", 1)
    world.release("ada", "ada-2", force=True)
    world.add_good("ada", 200, version="v2")
    world.tick()
    world.release("ada", "ada-3")
    world.add_good("ada", 160, version="v3")
    world.tick()
    world.add_bad("ada", 60, version="v3")
    world.tick()
    assert newest_alarm(world).decision == "nothing_to_learn"
    assert states(world)["v3"] == "stable"


@pytest.mark.parametrize(("days", "is_trained"), [(29, False), (31, True)])
def test_a_recent_version_is_rolled_back_and_an_older_one_is_trained(
    two_versions: LoopWorld, days: int, is_trained: bool
) -> None:
    two_versions.inputs.datasets["ada"] = "posts-2"
    two_versions.tick(days=days)
    two_versions.add_bad("ada", 60, version="v2")
    tick = two_versions.tick()
    assert len(tick.launches) == is_trained
    assert states(two_versions)["v2"] == ("stable" if is_trained else "rolled_back")
    assert ("one retraining starts" in tick.messages["ada"]) is is_trained
