"""What stored scores leave open waits for judges, for a while: then it is decided, by days."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.graph.retraining.conftest import LoopWorld, with_new_posts
from tests.queued_notices import queued_notices
from twin_resources.quality.retraining import alarm_records, fall_controls
from twin_resources.quality.retraining.fall_controls import FallControl
from twin_resources.quality.retraining.quality import LoopTick
from twin_resources.statistics.fall_estimates import DayCell

JUDGE = "general@1"


@pytest.fixture
def fallen(world: LoopWorld) -> LoopWorld:
    """Twenty days of good votes, ten of bad ones; the judge scored two answers a day."""
    world.rules = replace(world.rules, by_day=True)
    world.sensitivities = {JUDGE: 0.6}
    with_new_posts(world)
    for day in range(30):
        settle = world.good if day < 20 else world.bad
        settle("ada", 20, day=today(world) - 31 + day)
        world.settle("ada", [0.7, 0.9], stream=f"judge:{JUDGE}", day=today(world) - 31 + day)
    return world


def today(world: LoopWorld) -> int:
    return int(world.now.timestamp()) // 86_400


def control_of(world: LoopWorld) -> FallControl:
    with world.state.reading() as connection:
        [control] = fall_controls.not_judged(connection)
    return control


def judged(world: LoopWorld, *, before: float, since: float) -> None:
    """Ten answers on each of ten days on both sides, of these means."""
    control = control_of(world)
    cells = [
        DayCell("short", str(control.first_day + offset), 10, 10 * mean, 10 * mean**2 + 0.1)
        for mean, offsets in ((before, range(-10, 0)), (since, range(10)))
        for offset in offsets
    ]
    with world.state.transaction() as connection:
        fall_controls.store(connection, control, {JUDGE: cells}, at=world.now.timestamp())


def decided_by(world: LoopWorld) -> tuple[str, bool]:
    with world.state.reading() as connection:
        first = alarm_records.of_author(connection, "ada")[-1]
    return first.decided_by, first.is_open


def waiting(world: LoopWorld) -> LoopTick:
    done = world.tick()
    assert done.launches == ()
    assert decided_by(world) == ("control", True)
    return done


def test_what_is_open_waits_for_judges_and_then_is_the_readers(fallen: LoopWorld) -> None:
    said = waiting(fallen).messages["ada"]
    assert "too few of a judge's scores" in said
    assert said.endswith("UTC for judges")
    control = control_of(fallen)
    assert control.first_day == today(fallen) - 11
    assert waiting(fallen).messages["ada"] == said
    assert control_of(fallen) == control, "asked for once"
    judged(fallen, before=0.8, since=0.8)

    done = fallen.tick()

    assert done.launches == ()
    assert decided_by(fallen) == ("readers_changed", False)
    assert "general@1 0.000 ± " in done.messages["ada"]
    assert queued_notices(fallen.state, author="ada")[0].event == "readers_changed"


def test_where_the_judges_see_it_now_it_is_trained(fallen: LoopWorld) -> None:
    waiting(fallen)
    judged(fallen, before=0.8, since=0.4)

    done = fallen.tick()

    assert [one.run_key for one in done.launches] == ["quality:ada:v1:thumbs:1"]
    assert "a judge sees the fall" in done.messages["ada"]


def test_judges_who_do_not_come_are_waited_for_no_longer_than_said(fallen: LoopWorld) -> None:
    waiting(fallen)
    assert fallen.tick(hours=5).launches == ()

    done = fallen.tick(hours=1)

    assert [one.run_key for one in done.launches] == ["quality:ada:v1:thumbs:1"]
    with fallen.state.reading() as connection:
        assert fall_controls.not_judged(connection) == [], "its alarm is closed"


@pytest.mark.parametrize("by", ["judge_changed", ""])
def test_a_judge_that_gives_old_answers_less_now_has_changed(world: LoopWorld, by: str) -> None:
    """Its scores fell by .5; asked again it gives the old answers as little, or as ever."""
    world.rules = replace(world.rules, by_day=True)
    world.sensitivities = {JUDGE: 0.6}
    with_new_posts(world)
    for day in range(30):
        scores = [0.7, 0.9] * 8 if day < 20 else [0.2, 0.4] * 8
        world.settle("ada", scores, stream=f"judge:{JUDGE}", day=today(world) - 31 + day)
    waiting(world)
    assert control_of(world).stream == f"judge:{JUDGE}"
    judged(world, before=0.3 if by else 0.8, since=0.3)

    done = world.tick()

    if not by:
        assert len(done.launches) == 1
        assert "the judge sees the fall" in done.messages["ada"]
        return
    assert done.launches == ()
    assert decided_by(world) == ("judge_changed", False)
    notice = queued_notices(world.state, author="ada")[0]
    assert notice.event == "judge_changed"
    assert notice.title == f"The judge {JUDGE} of ada changed, the answers have not"


def test_a_control_is_stored_once(fallen: LoopWorld) -> None:
    waiting(fallen)
    control = control_of(fallen)
    cell = DayCell("short", str(control.first_day), 10, 8.0, 6.5)
    for total in (8.0, 1.0):
        with fallen.state.transaction() as connection:
            fall_controls.store(connection, control, {JUDGE: [replace(cell, total=total)]}, at=9.0)
    with fallen.state.reading() as connection:
        known = fall_controls.of_alarm(connection, "ada", "thumbs", "v1", 1)
        assert known == replace(control, judged_at=9.0)
        [(before, since)] = fall_controls.scores_of(connection, control).values()
    assert before == []
    assert [one.total for one in since] == [8.0]
