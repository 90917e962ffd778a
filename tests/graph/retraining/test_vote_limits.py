"""Test that a few readers with many votes start no training, and that `twin why` reports them."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa
from rich.console import Console
from twin_cli.commands.console import make_console
from twin_cli.commands.why_command import print_summary, run_why

from tests.graph.retraining.conftest import LoopWorld, add_new_posts
from tests.json_examples import read_json_example, shape
from tests.unit.ledger.conftest import LedgerEnvironment
from tests.unit.ledger.conftest import environment as trace_environment
from twin_resources.quality.ledger.ledger import Ledger, LedgerRules
from twin_resources.quality.ledger.ledger_tables import scores
from twin_resources.quality.ledger.report import SyncReport
from twin_resources.quality.ledger.scores import DAY_MS
from twin_resources.quality.ledger.settlement import settle
from twin_resources.quality.retraining import alarm_records
from twin_resources.quality.retraining.quality_tick import run_tick
from twin_resources.quality.retraining.training_launches import TickResult
from twin_resources.storage.state.state import State

__all__ = ["trace_environment"]
UNLIMITED_RULES = LedgerRules(requests=200, requests_per_minute=100_000)


@pytest.fixture
def worlds(
    world: LoopWorld, trace_environment: LedgerEnvironment
) -> tuple[LoopWorld, LedgerEnvironment]:
    trace_environment.now = world.now
    return add_new_posts(world), trace_environment


def run_step(worlds: tuple[LoopWorld, LedgerEnvironment], **time: float) -> TickResult:
    loops, traces = worlds
    traces.pass_time(**time)
    services = replace(loops.services(), ledger=Ledger(loops.state, traces.client, UNLIMITED_RULES))
    return run_tick(services, now=traces.now)


def vote_days(
    state: State, days: int, votes: Callable[[int], list[tuple[str, float]]], *, first_day: int = 0
) -> int:
    """Store the votes of each day, settle them, and return the number of settled values."""
    settled_count = 0
    with state.transaction() as connection:
        for day in range(first_day, first_day + days):
            rows = [
                dict.fromkeys(("trace_id", "text", "role", "reason"), "")
                | {"id": f"{day}-{number}", "author": "ada", "version": "v1", "name": "thumbs"}
                | {"prompt_class": "short", "kind": "vote", "value": value, "reader": reader}
                | {"allowed_authors": "*", "simulated": False, "stream": "thumbs", "day": day}
                | dict.fromkeys(("given_ms", "timestamp_ms", "updated_ms"), day * DAY_MS + number)
                | {"status": "open", "sequence": None}
                for number, (reader, value) in enumerate(votes(day))
            ]
            connection.execute(sa.insert(scores), rows)
            report = SyncReport()
            settle(
                connection, report, frontier_ms=(day + 1) * DAY_MS, day_closing="daily",
                now_ms=(day + 1) * DAY_MS,
            )  # fmt: skip
            settled_count += report.settled_values["ada"]
    return settled_count


def regular_votes(day: int) -> list[tuple[str, float]]:
    """Return votes with the mean .8 by thirty of forty readers."""
    rng = random.Random(day)
    return [(f"r{number}", float(rng.random() < 0.8)) for number in rng.sample(range(40), 30)]


@pytest.mark.long
@pytest.mark.parametrize(("key_count", "days"), [(12, 50), (60, 1), (300, 1), (300, 30)], ids=str)
def test_votes_of_free_keys_start_no_training(world: LoopWorld, key_count: int, days: int) -> None:
    """In simulations without limits, such keys caused trainings in 33 to 37 of 40 homes."""
    world.rules = replace(world.rules, groups_by_day=True)
    add_new_posts(world)

    def votes_under_attack(day: int) -> list[tuple[str, float]]:
        return [*((f"key {number}", 0.0) for number in range(key_count)), *regular_votes(day)]

    vote_days(world.state, 40, regular_votes)
    assert vote_days(world.state, days, votes_under_attack, first_day=40) >= 30 * days
    vote_days(world.state, 10, regular_votes, first_day=40 + days)

    ticks = [world.tick(days=1) for _ in range(3)]

    assert all(tick.launches == () for tick in ticks)
    with world.state.read_transaction() as connection:
        alarms = alarm_records.list_alarms(connection, "ada")
    assert {alarm.decided_by for alarm in alarms} <= {"few_readers"}


def test_a_fall_in_regular_readers_votes_starts_a_training(world: LoopWorld) -> None:
    world.rules = replace(world.rules, groups_by_day=True)
    add_new_posts(world)
    vote_days(world.state, 40, regular_votes)

    def lower_votes(day: int) -> list[tuple[str, float]]:
        return [(name, value * (number % 3 > 0)) for number, (name, value) in
                enumerate(regular_votes(day))]  # fmt: skip

    vote_days(world.state, 12, lower_votes, first_day=40)
    assert [launch.author for launch in world.tick(days=1).launches] == ["ada"]


def test_why_shows_days_decisions_and_the_use_of_each_vote(
    world: LoopWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twin_cli.commands.why_command.rules_from_settings", lambda _: world.rules)
    world.rules = replace(world.rules, groups_by_day=True)
    world.limits = replace(world.limits, automatic=False)
    first_day = int(world.now.timestamp()) // 86_400 - 53
    vote_days(add_new_posts(world).state, 40, regular_votes, first_day=first_day)
    fallen_count = vote_days(
        world.state, 12, lambda day: [(reader, 0.0) for reader, _ in regular_votes(day)],
        first_day=first_day + 40,
    )  # fmt: skip
    world.tick()
    text_console, json_console = (Console(file=io.StringIO(), width=200) for _ in range(2))

    assert run_why(world.settings, "ada", as_json=False, console=text_console) == 0
    assert run_why(world.settings, "ada", as_json=True, console=json_console) == 0

    assert isinstance(json_console.file, io.StringIO)
    assert isinstance(text_console.file, io.StringIO)
    summary, text = json.loads(json_console.file.getvalue()), text_console.file.getvalue()
    assert shape(summary) == shape(read_json_example("why"))
    [stream] = summary["streams"]
    means = [item["mean"] for item in stream["days"]]
    assert len(means) == 52
    assert min(means[:40]) > 0.5
    assert max(means[40:]) == 0.0
    assert sum(item["values"] for item in stream["days"]) == sum(
        count for use, count in summary["scores"]["thumbs"].items() if use == "counted"
    )
    plot = next(line for line in text.splitlines() if "▁" in line).strip()
    assert (len(plot), plot[40:], min(plot[:40]) > "▄") == (52, "▁" * 12, True)
    [decision] = summary["decisions"]
    assert (decision["decision"], decision["rule"]) == ("held_back", "limits")
    uses = summary["scores"]["thumbs"]
    assert sum(uses.values()) == 52 * 30
    assert uses["counted"] >= fallen_count
    for part in ("--auto-retrain", "counted", f"{uses['counted']:,}"):
        assert part in text


def test_why_prints_brackets_literally() -> None:
    console = make_console()
    uses = {"[stars]": {"not in [scores]: [stars]": 1}}
    with console.capture() as output:
        print_summary({"streams": [], "waits": "", "decisions": [], "scores": uses}, console)
    assert "not in [scores]: [stars]" in output.get()


@pytest.mark.long
def test_one_key_with_a_thousand_bad_scores_starts_nothing_and_is_reported(
    worlds: tuple[LoopWorld, LedgerEnvironment],
) -> None:
    loops, traces = worlds
    loops.add_good("ada", 200, day=int(traces.now.timestamp()) // 86_400 - 1)
    for number in range(1, 101):
        traces.answer(number, author="ada")
    for number in range(1, 901):
        traces.vote(number, 0.0, reader="one key")  # 800 have unknown traces
    for number in range(1, 101):
        traces.vote(number, -5.0, reader="one key", id=f"bad-{number}")
    traces.pass_time(minutes=2)

    ticks = [run_step(worlds, hours=1), run_step(worlds, days=1), run_step(worlds, days=1)]

    assert all(tick.launches == () for tick in ticks)
    with loops.state.read_transaction() as connection:
        assert alarm_records.list_alarms(connection, "ada") == []
        assert alarm_records.count_excluded_scores(connection, "ada") == {"out_of_range": 100}
    assert "900 that will never count (out_of_range, unknown_trace)" in ticks[0].notes[0]


def test_an_alarm_from_few_readers_is_left_to_a_person(world: LoopWorld) -> None:
    add_new_posts(world).add_good("ada", 200)
    world.settle("ada", [0.0] * 40, readers=["r1", "r2", "r3", "r4", "r5"])

    tick = world.tick()

    assert tick.launches == ()
    assert "3 readers have 60% of the values of the fall" in tick.messages["ada"]
    assert "a person must check it, and nothing is trained" in tick.messages["ada"]
