"""A judge that moves on the answers it keeps is set aside and told of, before its alarm trains."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

import pytest
import sqlalchemy as sa

from tests.graph.retraining.conftest import LoopWorld, with_new_posts
from tests.queued_notices import queued_notices
from twin_resources.quality.retraining import alarm_records, judge_reference_set, score_watch
from twin_resources.quality.retraining.judge_reference_set import KEPT_DAYS, QUARTER_DAYS
from twin_resources.statistics.judge_drift import FIRST_SCORES, JudgeMove
from twin_resources.storage.state.state_tables import kept_answers as kept_table
from twin_resources.storage.state.state_tables import kept_days, kept_scores

JUDGE = "general@1"
STREAM = f"judge:{JUDGE}"
ANSWERS = [f"trace-{number:03}" for number in range(200)]


def renewed(
    world: LoopWorld,
    day: int,
    *,
    drawn: list[str] = ANSWERS,
    there: list[str] = ANSWERS,
    most: int = 40,
) -> list[str]:
    with world.state.transaction() as connection:
        return judge_reference_set.renew(
            connection, "ada", JUDGE, drawn=drawn, there=there, most=most, today=day
        )


def scored(world: LoopWorld, day: int, scores: Mapping[str, float]) -> JudgeMove:
    with world.state.transaction() as connection:
        return judge_reference_set.store(
            connection, "ada", JUDGE, scores, today=day, at=world.now.timestamp()
        )


def today(world: LoopWorld) -> int:
    return int(world.now.timestamp()) // 86_400


def lived(world: LoopWorld, *, moved: float) -> list[JudgeMove]:
    """Thirty days: the judge scores 16 answers a day and its kept ones; from day 20 on it gives
    everything `moved` less."""
    world.rules = replace(world.rules, by_day=True)
    with_new_posts(world)
    drawn, moves = random.Random(1), list[JudgeMove]()
    for number in range(30):
        day, less = today(world) - 31 + number, moved * (number >= 20)
        world.settle("ada", [0.7 - less, 0.9 - less] * 8, stream=STREAM, day=day)
        kept = renewed(world, day)
        scores = {one: min(1.0, drawn.gauss(0.8, 0.05)) - less for one in kept}
        moves.append(scored(world, day, scores))
    return moves


def test_a_judge_that_moves_is_set_aside_and_nothing_is_trained(world: LoopWorld) -> None:
    moves = lived(world, moved=0.5)

    done = world.tick()

    assert [number for number, move in enumerate(moves) if move.has_moved] == [20]
    assert done.launches == ()
    with world.state.reading() as connection:
        assert alarm_records.of_author(connection, "ada") == []
        assert score_watch.history_until(connection, "ada", STREAM) == 21 * 16
        assert score_watch.history_until(connection, "ada", "thumbs") == 0, "its own stream alone"
        lines = judge_reference_set.lines_of(connection, "ada", now=world.now.timestamp())
    told = queued_notices(world.state, author="ada")
    [notice] = [one for one in told if one.event == "judge_changed"]
    assert notice.title == f"The judge {JUDGE} of ada has moved"
    assert "It gives the same answers 0.5" in notice.text
    assert "less (30 scores) since" in notice.text
    assert lines[0].startswith(f"judge {JUDGE}: 40 answers judged anew each day")
    assert lines[1].startswith(f"judge {JUDGE}: set aside on ")


def test_where_the_judge_is_as_it_was_its_alarm_goes_the_way_of_all(world: LoopWorld) -> None:
    """Its scores of today's answers fall, those of kept ones do not."""
    fallen_as_it_was(world)

    [launch] = world.tick().launches

    assert launch.run_key == f"quality:ada:v1:{STREAM}:1"
    told = queued_notices(world.state, author="ada")
    assert [one for one in told if one.event == "judge_changed"] == []


def fallen_as_it_was(world: LoopWorld) -> None:
    world.rules = replace(world.rules, by_day=True)
    with_new_posts(world)
    for number in range(30):
        day = today(world) - 31 + number
        values = [0.7, 0.9] if number < 20 else [0.2, 0.4]
        world.settle("ada", values * 8, stream=STREAM, day=day)
        assert not scored(world, day, dict.fromkeys(renewed(world, day), 0.8)).has_moved


def test_an_open_alarm_of_a_judge_that_has_moved_is_closed(world: LoopWorld) -> None:
    world.limits = replace(world.limits, automatic=False)
    fallen_as_it_was(world)
    assert world.tick().launches == ()
    day = today(world)
    while not scored(world, day, dict.fromkeys(renewed(world, day), 0.6)).has_moved:
        day += 1

    assert world.tick(hours=7).launches == ()

    with world.state.reading() as connection:
        [alarm] = alarm_records.of_author(connection, "ada")
    assert (alarm.decided_by, alarm.is_open) == ("lowered_floor", False)


def test_a_quarter_goes_at_a_time_and_none_stays_longer_than_said(world: LoopWorld) -> None:
    since: dict[str, int] = {}
    before = renewed(world, 0)
    assert before == ANSWERS[:40]
    for day in range(1, 3 * KEPT_DAYS):
        first = day // QUARTER_DAYS * 10  # answers grow old, others come
        kept = renewed(world, day, drawn=ANSWERS[first : first + 60])
        assert len(kept) == 40
        assert len(set(before) - set(kept)) == (10 if day % QUARTER_DAYS == 0 else 0)
        since = {one: since.get(one, day) for one in kept}
        assert max(day - of for of in since.values()) < KEPT_DAYS
        before = kept


def test_what_is_gone_is_replaced_and_where_nothing_is_young_the_old_stay(world: LoopWorld) -> None:
    renewed(world, 0)
    scored(world, 0, dict.fromkeys(ANSWERS[:40], 0.5))
    assert renewed(world, 1, there=ANSWERS[5:60]) == ANSWERS[5:45]
    with world.state.reading() as connection:
        left = set(connection.execute(sa.select(kept_scores.c.trace_id)).scalars())
    assert left == set(ANSWERS[5:40])
    assert renewed(world, 3 * QUARTER_DAYS, there=ANSWERS[5:45]) == ANSWERS[5:45]
    assert renewed(world, 3 * QUARTER_DAYS, there=ANSWERS[5:45], most=8) == ANSWERS[37:45]


def test_an_answer_that_is_forgotten_while_the_judge_is_asked_gets_no_score(
    world: LoopWorld,
) -> None:
    kept = renewed(world, 0, most=3)
    with world.state.transaction() as connection:
        connection.execute(sa.delete(kept_table).where(kept_table.c.trace_id == kept[0]))
    scored(world, 0, dict.fromkeys(kept, 0.5))
    with world.state.reading() as connection:
        assert set(connection.execute(sa.select(kept_scores.c.trace_id)).scalars()) == set(kept[1:])


@pytest.mark.parametrize("days", [FIRST_SCORES, FIRST_SCORES + 1])
def test_an_answer_counts_from_the_day_after_its_first_scores(world: LoopWorld, days: int) -> None:
    for day in range(days):
        scored(world, day, dict.fromkeys(renewed(world, day), 0.5 + 0.1 * (day == FIRST_SCORES)))
    with world.state.reading() as connection:
        rows = connection.execute(sa.select(kept_days)).mappings().all()
        assert judge_reference_set.judged_on(connection, "ada", JUDGE, days - 1)
        assert not judge_reference_set.judged_on(connection, "ada", JUDGE, days)
    assert [(row["day"], row["count"], round(row["total"], 9)) for row in rows] == (
        [] if days == FIRST_SCORES else [(FIRST_SCORES, 40, 4.0)]
    )
