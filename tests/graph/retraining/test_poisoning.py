"""A few readers who vote in masses start nothing, over the real trace store; and it is reported."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.graph.retraining.conftest import LoopWorld, with_new_posts
from tests.unit.ledger.conftest import World
from tests.unit.ledger.conftest import world as trace_world
from twin_resources.quality.ledger.ledger import Ledger, LedgerRules
from twin_resources.quality.retraining import alarm_records
from twin_resources.quality.retraining.quality import LoopTick, tick

__all__ = ["trace_world"]
FAST = LedgerRules(requests=200, requests_per_minute=100_000)


@pytest.fixture
def both(world: LoopWorld, trace_world: World) -> tuple[LoopWorld, World]:
    trace_world.now = world.now
    return with_new_posts(world), trace_world


def step(both: tuple[LoopWorld, World], **time: float) -> LoopTick:
    loops, traces = both
    traces.pass_time(**time)
    loop = replace(loops.loop(), ledger=Ledger(loops.state, traces.client, FAST))
    return tick(loop, now=traces.now)


def test_three_of_fifty_readers_with_a_hundred_votes_each_start_nothing(
    both: tuple[LoopWorld, World],
) -> None:
    loops, traces = both
    loops.good("ada", 200, day=int(traces.now.timestamp()) // 86_400 - 40)
    number = 0
    done: list[LoopTick] = []
    for day in range(10):
        for reader in range(50):
            votes = 10 if reader < 3 else 1
            for vote in range(votes):
                number += 1
                traces.answer(number, author="ada")
                good = (reader + day + vote) % 5 != 2
                value = 0.0 if reader < 3 else float(good)
                traces.vote(number, value, reader=f"reader {reader}")
        done.append(step(both, days=1))
    done.append(step(both, days=1))

    assert all(one.launches == () for one in done)
    with loops.state.reading() as connection:
        found = alarm_records.of_author(connection, "ada")
    assert [record.decision for record in found] == []
    assert loops.runs() == []


def test_one_key_with_a_thousand_bad_scores_starts_nothing_and_is_reported(
    both: tuple[LoopWorld, World],
) -> None:
    loops, traces = both
    loops.good("ada", 200, day=int(traces.now.timestamp()) // 86_400 - 1)
    for number in range(1, 101):
        traces.answer(number, author="ada")
    for number in range(1, 901):
        traces.vote(number, 0.0, reader="one key")  # 800 of unknown traces
    for number in range(1, 101):
        traces.vote(number, -5.0, reader="one key", id=f"bad-{number}")
    traces.pass_time(minutes=2)

    done = [step(both, hours=1), step(both, days=1), step(both, days=1)]

    assert all(one.launches == () for one in done)
    with loops.state.reading() as connection:
        assert alarm_records.of_author(connection, "ada") == []
        assert alarm_records.not_counted(connection, "ada") == {"out_of_range": 100}
    assert "900 that never count (out_of_range, unknown_trace)" in done[0].notes[0]


def test_an_alarm_that_few_readers_carry_is_for_a_person(world: LoopWorld) -> None:
    with_new_posts(world).good("ada", 200)
    world.settle("ada", [0.0] * 40, readers=["r1", "r2", "r3", "r4", "r5"])

    done = world.tick()

    assert done.launches == ()
    assert "3 of 5 readers carry" in done.messages["ada"]
    assert "a person looks, nothing is trained" in done.messages["ada"]
