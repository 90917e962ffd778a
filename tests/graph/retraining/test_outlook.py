"""What `twin status` and `quality_evidence` say of an author at the volume that there is."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import pytest
import sqlalchemy as sa
from twin_cli.commands.author_quality import not_counted_lines, quality_lines
from twin_cli.commands.status import look

from tests.graph.retraining.conftest import LoopWorld, with_new_posts
from tests.graph.retraining.test_quality_evidence import materialize
from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.retraining.outlook import lines_of, outlooks_of
from twin_resources.quality.retraining.retraining_rules import LoopRules
from twin_resources.quality.retraining.score_watch import lower_floor

FEW, MORE = ["r1", "r2", "r3"], [f"r{number}" for number in range(12)]


def told(world: LoopWorld, author: str = "ada") -> list[str]:
    with world.state.reading() as connection:
        found = outlooks_of(connection, author, world.rules, now=world.now.timestamp())
    return lines_of(found, world.rules)


def days_in(line: str, fall: str) -> float:
    found = re.search(rf"of {re.escape(fall)} is found after about (\d+) (\w+?)s?\b", line)
    assert found is not None, line
    return int(found[1]) * {"hour": 1 / 24, "day": 1, "month": 30.4, "year": 365}[found[2]]


def test_thumbs_of_few_readers_take_months_and_a_judge_days(world: LoopWorld) -> None:
    world.rules = LoopRules()
    world.good("ada", 600, readers=FEW)
    world.tick()

    line, sooner = told(world)

    assert line.startswith("thumbs: 3 a day; a fall of .1 is found after about ")
    assert 60 < days_in(line, ".1") < 365
    assert 15 < days_in(line, ".2") < 90
    votes = re.search(r"(\d+) thumbs a day find it in about 7 days", sooner)
    assert votes is not None
    assert int(votes[1]) == pytest.approx(days_in(line, ".1") * 3 / 7, rel=0.2)
    assert "a judge that scores 10 answers a day finds it in about 6 days" in sooner


def test_a_judge_of_its_own_is_measured_by_its_own_scores(world: LoopWorld) -> None:
    world.rules = LoopRules()
    world.good("ada", 600, readers=FEW)
    generator = random.Random(2)
    scores = [generator.betavariate(8, 2) for _ in range(600)]
    world.settle("ada", scores, stream="judge:topic@1", readers=MORE)
    world.tick()

    judge, thumbs = told(world)

    assert judge.startswith("judge:topic@1: 12 a day; ")
    assert days_in(judge, ".1") < 8 < days_in(thumbs, ".1")


def test_before_a_baseline_it_says_both_how_long(world: LoopWorld) -> None:
    world.rules = LoopRules()
    world.good("ada", 60, readers=FEW)
    world.tick()
    line = told(world)[0]
    assert "3 a day; arming 60/100, about 13 days at your rate; a fall of .1 is found" in line
    world.good("bob", 5)
    world.tick()
    assert "from 20 values on it can be said what would be found" in told(world, "bob")[0]


def test_after_a_lowered_floor_nothing_is_foretold_from_what_is_history(world: LoopWorld) -> None:
    world.good("ada", 200)
    world.tick()
    with world.state.transaction() as connection:
        lower_floor(connection, "ada", asked_by="eve", reason="a class reads it", at=1.0)
    world.good("ada", 5)
    world.tick()
    assert "from 20 values on it can be said what would be found" in told(world)[0]


def test_a_version_without_scores_has_no_lines(world: LoopWorld) -> None:
    world.tick()
    assert told(world) == []
    assert quality_lines(world.settings, ["ada"]) == {}


def test_the_status_says_it_with_what_waits_and_is_not_heard(
    world: LoopWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("BASELINE_VALUES", "150"), ("READER_DAYS", "at_once")):
        monkeypatch.setenv(f"TWIN_{name}", value)
    world.limits = replace(world.limits, automatic=False)
    with_new_posts(world).good("ada", 200)
    world.bad("ada", 60)
    world.tick()
    row = dict.fromkeys(("version", "prompt_class", "text", "role", "reader", "stream"), "")
    row |= {"author": "ada", "trace_id": "t", "status": "bad", "simulated": False, "day": 1}
    row |= {"kind": "other", "allowed_authors": "*", "given_ms": 1, "timestamp_ms": 1}
    row |= {"updated_ms": 1, "value": 1.0, "sequence": None}
    with world.state.transaction() as connection:
        connection.execute(
            sa.insert(ledger_tables.scores),
            [
                row | {"id": f"f{number}", "name": "user-feedback", "reason": "not_mapped"}
                for number in range(260)
            ]
            + [row | {"id": "x", "name": "thumbs", "reason": "out_of_range", "kind": "vote"}],
        )

    lines = look(world.settings).quality["ada"]

    assert lines[0].startswith("thumbs: 260 a day; ")
    assert lines[-1].startswith("fell: thumbs: alarm 1")
    assert "--auto-retrain" in lines[-1]
    assert lines[-3:-1] == (
        "not counted: 260 user-feedback; a line in [scores] of authors/ada.toml says what they are",
        "never count: 1 out_of_range",
    )
    many = quality_lines(world.settings, [*(f"nobody-{n}" for n in range(10)), "ada"])
    assert list(many) == ["ada"]
    assert many["ada"] == ("of this author and those below: quality_evidence in Dagster", lines[-1])
    shown = materialize(world, "ada")
    assert shown["scores_not_counted"] == {"not in [scores]: user-feedback": 260, "out_of_range": 1}
    assert shown["found_in"].startswith("- thumbs: 260 a day; ")


def test_nothing_left_out_is_no_line() -> None:
    assert not_counted_lines({}, "ada") == []
