"""Readers' alarms where certified judges scored the same answers: who changed, what follows."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import polars as pl
import pytest

from tests.graph.retraining.conftest import LoopWorld, with_new_posts
from tests.queued_notices import queued_notices
from twin_resources.quality.judges import stored
from twin_resources.quality.judges.panel import sensitivities
from twin_resources.quality.retraining import alarm_records
from twin_resources.quality.retraining.alarm_records import AlarmRecord
from twin_resources.quality.retraining.score_watch import watches_now
from twin_resources.statistics import judges as certification

JUDGES = {"topic@1": 0.6, "voice@1": 0.5}
STEADY = [0.9, 0.7, 0.8]
FALLEN = [0.5, 0.3, 0.4]


@pytest.fixture
def judged(world: LoopWorld) -> LoopWorld:
    """200 good votes, and 200 answers that two judges scored."""
    world.sensitivities = dict(JUDGES)
    with_new_posts(world).good("ada", 200)
    score(world, STEADY)
    assert world.tick().launches == ()
    return world


def score(world: LoopWorld, pattern: list[float], *, count: int = 200) -> None:
    for name in JUDGES:
        values = [pattern[index % len(pattern)] for index in range(count)]
        world.settle("ada", values, stream=f"judge:{name}")


def newest(world: LoopWorld) -> AlarmRecord:
    with world.state.reading() as connection:
        return alarm_records.of_author(connection, "ada")[0]


def bounds_of(world: LoopWorld) -> dict[str, float]:
    """Stream → what it is held to."""
    with world.state.reading() as connection:
        held = watches_now(connection)["ada"]
    return {one.stream: one.baseline.bounds["short"] for one in held if one.baseline is not None}


def test_harsher_readers_train_nothing_and_are_certified_anew(judged: LoopWorld) -> None:
    before = bounds_of(judged)
    world = after_the_drop(judged, STEADY)

    done = world.tick()

    assert done.launches == ()
    record = newest(world)
    assert (record.is_open, record.decided_by) == (False, "readers_changed")
    assert "readers have changed: no judge sees the fall: readers gave" in record.message
    notice = queued_notices(world.state, author="ada")[0]
    assert notice.event == "readers_changed"
    assert "topic@1 0.0" in notice.text
    world.bad("ada", 200)
    assert world.tick().launches == ()
    after = bounds_of(world)
    assert before["thumbs"] > 0.6
    assert after["thumbs"] < 0.2
    judges = [f"judge:{name}" for name in JUDGES]
    assert [after[name] for name in judges] == [before[name] for name in judges]
    assert newest(world).alarm.number == record.alarm.number


def after_the_drop(world: LoopWorld, pattern: list[float], *, count: int = 200) -> LoopWorld:
    """Votes fall; the alarm is decided once the judges' scores of the time are there."""
    world.rules = replace(world.rules, horizon=10**9)  # no alarm before they are
    world.bad("ada", 30)
    score(world, pattern, count=count)
    world.bad("ada", 90)
    world.rules = replace(world.rules, horizon=1_000)
    return world


def test_where_the_judges_see_the_fall_it_is_the_answers(world: LoopWorld) -> None:
    """Their own streams are not armed yet: only readers raise an alarm."""
    world.sensitivities = dict(JUDGES)
    with_new_posts(world).good("ada", 200)
    score(world, STEADY, count=80)
    world = after_the_drop(world, FALLEN, count=65)

    launches = world.tick().launches

    assert [one.author for one in launches] == ["ada"]
    assert "a judge sees the fall" in newest(world).message


@pytest.mark.parametrize("case", ["no judge", "setting off", "few scores", "not automatic"])
def test_without_an_answer_of_judges_it_is_as_ever(judged: LoopWorld, case: str) -> None:
    world = judged
    if case == "no judge":
        world.sensitivities = {}
    elif case == "setting off":
        world.rules = replace(world.rules, controls=False)
    elif case == "few scores":
        world.sensitivities["general@1"] = 0.6  # it has scored nothing yet
    elif case == "not automatic":
        world.limits = replace(world.limits, automatic=False)
    world = after_the_drop(world, STEADY)

    done = world.tick()

    assert newest(world).decided_by != "readers_changed"
    if case == "not automatic":
        assert done.launches == ()
        assert newest(world).is_open
        return
    assert [one.run_key for one in done.launches] == ["quality:ada:v1:thumbs:1"]
    assert ("too few of a judge's scores" in done.messages["ada"]) == (case == "few scores")


def test_only_judges_who_may_decide_are_asked(world: LoopWorld) -> None:
    assert sensitivities(world.tables, "ada") == {}

    def certify(**of_claims: list[float]) -> dict[str, float]:
        found = {
            claim: certification.certify(f"{claim}@1", claim, {"foreign": those, "other": [1] * 80})
            for claim, those in of_claims.items()
        }
        tasks = {
            claim: stored.JudgeTask(f"{claim}{of_claims[claim][0]}", lambda one=one: asdict(one))
            for claim, one in found.items()
        }
        stored.once(world.tables, stored.CERTIFICATE_TABLE, author="ada", tasks=tasks)
        return sensitivities(world.tables, "ada")

    assert certify(topic=[0.5] * 80) == {}  # it decides with voice
    both = certify(topic=[0.5] * 80, voice=[0.4, 0.2] * 40)
    assert set(both) == {"topic@1", "voice@1"}
    assert 0.3 < both["topic@1"] < 0.5
    assert certify(topic=[0.5] * 80, voice=[0.0] * 80) == {}
    rows = world.tables.read(stored.CERTIFICATE_TABLE, "ada").select(pl.col("document"))
    assert any(not json.loads(row)["certified"] for (row,) in rows.iter_rows())
