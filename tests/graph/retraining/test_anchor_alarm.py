"""Readers' alarms beside the anchor's readers: who changed, how long they are waited for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.graph.retraining.conftest import LoopWorld, loop_world, with_new_posts
from tests.queued_notices import queued_notices
from twin_resources.quality.release import anchor_share
from twin_resources.quality.retraining import alarm_records
from twin_resources.quality.retraining.alarm_records import AlarmRecord
from twin_resources.settings import Settings

SHARE = 0.4


@pytest.fixture
def world(home: Settings) -> Iterator[LoopWorld]:
    """v1 was certified; v2 is stable and good for twenty days, 100 votes a day, 25 of v1's."""
    with loop_world(home) as made:
        made.rules = replace(made.rules, by_day=True)
        for day in range(20):
            made.good("ada", 25, day=today(made) - 60 + day)
        made.release("ada", "ada-2")
        with_new_posts(made)
        for day in range(-20, 0):
            made.good("ada", 100, version="v2", day=today(made) + day)
            made.good("ada", 25, version="v1", day=today(made) + day)
        assert made.tick().launches == ()
        said = anchor_share.look(made.registry, share=SHARE, now=made.now.timestamp())
        assert said == {"ada": "anchor: v1 is the best that was certified, at 125 votes a day"}
        made.now += timedelta(days=10)
        yield made


def today(world: LoopWorld) -> int:
    return int(world.now.timestamp()) // 86_400


def since(world: LoopWorld, days: range, *, anchor_falls: bool, of_anchor: int = 25) -> None:
    for day in days:
        world.bad("ada", 100, version="v2", day=today(world) + day)
        settle = world.bad if anchor_falls else world.good
        settle("ada", of_anchor, version="v1", day=today(world) + day)


def first(world: LoopWorld) -> AlarmRecord:
    with world.state.reading() as connection:
        return alarm_records.of_author(connection, "ada")[-1]


def test_what_both_versions_readers_see_trains_nothing(world: LoopWorld) -> None:
    since(world, range(-10, 0), anchor_falls=True)

    done = world.tick()

    assert done.launches == ()
    assert (first(world).is_open, first(world).decided_by) == (False, "readers_changed")
    said = "readers have changed: the anchor's readers see the fall as well: readers gave 0.600 ± "
    assert said in first(world).message
    assert queued_notices(world.state, author="ada")[0].event == "readers_changed"


def test_what_the_anchors_readers_do_not_see_is_trained(world: LoopWorld) -> None:
    since(world, range(-10, 0), anchor_falls=False)

    done = world.tick()

    assert [one.run_key for one in done.launches] == ["quality:ada:v2:thumbs:1"]
    assert "the anchor's readers do not see the fall" in done.messages["ada"]


@pytest.mark.parametrize("case", ["controls off", "no share", "not automatic", "at once"])
def test_without_a_share_or_control_it_is_as_ever(world: LoopWorld, case: str) -> None:
    if case == "controls off":
        world.rules = replace(world.rules, controls=False)
    elif case == "no share":
        anchor_share.look(world.registry, share=0.0, now=world.now.timestamp())
    elif case == "not automatic":
        world.limits = replace(world.limits, automatic=False)
    else:
        world.rules = replace(world.rules, by_day=False)
    since(world, range(-10, 0), anchor_falls=True)

    done = world.tick()

    assert "anchor" not in done.messages["ada"]
    assert len(done.launches) == (0 if case == "not automatic" else 1)


def test_few_of_the_anchors_readers_are_waited_for_until_they_say_enough(
    world: LoopWorld,
) -> None:
    since(world, range(-1, 0), anchor_falls=True)

    for _ in range(2):
        done = world.tick()
        assert done.launches == ()
        assert (first(world).is_open, first(world).decided_by) == (True, "control")
        assert "for the anchor's readers" in done.messages["ada"]
    world.now += timedelta(days=2)
    since(world, range(-2, 0), anchor_falls=True, of_anchor=50)
    done = world.tick()

    assert done.launches == ()
    assert (first(world).is_open, first(world).decided_by) == (False, "readers_changed")


def test_where_no_more_of_them_come_they_are_waited_for_no_longer(world: LoopWorld) -> None:
    since(world, range(-1, 0), anchor_falls=True)
    assert world.tick().launches == ()

    done = world.tick(days=4)

    assert [one.run_key for one in done.launches] == ["quality:ada:v2:thumbs:1"]


def test_against_a_judge_who_sees_no_fall_nothing_is_decided(world: LoopWorld) -> None:
    """The judge calls it the readers', the anchor's readers the answers': it is trained."""
    world.sensitivities = {"general@1": 0.6}
    for day in range(-30, 0):
        scores = [0.7, 0.9] * 6
        world.settle("ada", scores, stream="judge:general@1", version="v2", day=today(world) + day)
    since(world, range(-10, 0), anchor_falls=False)

    done = world.tick()

    assert len(done.launches) == 1
    assert "no judge sees the fall" in done.messages["ada"]
    assert "the anchor's readers do not see the fall" in done.messages["ada"]
