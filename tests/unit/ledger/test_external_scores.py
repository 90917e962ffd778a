"""Test scores from other programs: Langfuse's page, its SDK or an evaluator."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.settled_rows import settled_rows
from tests.unit.ledger.conftest import MORNING, LedgerEnvironment, to_trace_id
from twin_resources.authors.score_settings import read_scores
from twin_resources.quality.ledger.scores import build_score_row, complete_from_trace
from twin_resources.quality.retraining.alarm_records import count_excluded_scores

NEXT_DAY = (MORNING + timedelta(days=1)).replace(hour=0, minute=0)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "environment" in metafunc.fixturenames:
        metafunc.parametrize("environment", ["sqlite", "postgresql"], indirect=True)


def map_scores(environment: LedgerEnvironment, author: str = "ann", **table: Any) -> None:
    """Set the author's mapping of score names; a `_` in a keyword stands for `-`."""
    environment.counted_scores[author] = read_scores(
        {name.replace("_", "-"): entry for name, entry in table.items()}
    )


def list_settled_values(
    environment: LedgerEnvironment, author: str = "ann"
) -> list[tuple[str, str, str, float]]:
    return [
        (settled_row.stream, settled_row.version, settled_row.prompt_class, settled_row.value)
        for settled_row in settled_rows(environment.ledger(), author)
    ]


def count_excluded(environment: LedgerEnvironment) -> dict[str, int]:
    with environment.state.read_transaction() as connection:
        return count_excluded_scores(connection, "ann")


@pytest.mark.long
def test_each_score_counts_for_the_reader_of_its_trace(environment: LedgerEnvironment) -> None:
    """200 good and 60 bad `user-feedback` scores were once all ignored."""
    map_scores(environment, user_feedback="thumbs")
    for number in range(260):
        environment.answer(number, reader=f"reader-{number}", version="v2")
        environment.post(number, "user-feedback", 1 if number < 200 else 0, dataType="BOOLEAN")
        environment.pass_time(seconds=20)
    for _ in range(4):
        environment.tick()
    report = environment.set_time(NEXT_DAY + timedelta(minutes=2)).sync()
    assert (report.problem, report.settled_values) == ("", {"ann": 260})
    assert sum(value for *_, value in list_settled_values(environment)) == 200
    assert set(list_settled_values(environment)) == {
        ("thumbs", "v2", "short", 1.0),
        ("thumbs", "v2", "short", 0.0),
    }
    frame = environment.ledger().interactions("ann")
    assert (frame["votes"].sum(), frame["voters"].explode().n_unique()) == (260, 260)


def test_a_vote_without_a_reader_belongs_to_the_reader_of_the_trace(
    environment: LedgerEnvironment,
) -> None:
    """260 `thumbs` without `twin.reader` once counted as one vote."""
    for number in range(3):
        environment.answer(number, reader=f"reader-{number}")
        environment.post(number, "thumbs", 1)
    environment.answer(3)  # a trace without a reader
    environment.post(3, "thumbs", 0)
    environment.tick()
    environment.set_time(NEXT_DAY + timedelta(minutes=2)).sync()
    assert sorted(value for *_, value in list_settled_values(environment)) == [0.0, 1.0, 1.0, 1.0]
    assert environment.ledger().interactions("ann").sort("trace_id")["voters"].to_list() == [
        ["reader-0"],
        ["reader-1"],
        ["reader-2"],
        ["api:unknown"],
    ]


def test_scales_categories_and_evaluators_are_mapped(environment: LedgerEnvironment) -> None:
    map_scores(
        environment,
        stars={"range": [1, 5]},
        mood={"stream": "thumbs", "values": {"happy": 1, "angry": 0}},
        toxic={"by": "judge", "range": [1, 0]},
        correct={"by": "judge"},
    )
    environment.answer(1, reader="r1")
    environment.answer(2, reader="r2")
    environment.post(1, "stars", 4)
    environment.post(1, "mood", "happy")
    environment.post(2, "mood", "angry", dataType="CATEGORICAL")
    environment.post(1, "toxic", 0, dataType="BOOLEAN")
    environment.write_score(2, "correct", 0.5, source="EVAL")
    environment.post(2, "stars", 7)
    environment.post(2, "mood", "so-so")
    assert environment.tick().invalid_scores == {"out_of_range": 1, "unknown_category": 1}
    environment.set_time(NEXT_DAY + timedelta(minutes=2)).sync()
    assert sorted(list_settled_values(environment)) == [
        ("judge:correct", "v1", "short", 0.5),
        ("judge:toxic", "v1", "short", 1.0),
        ("stars", "v1", "short", 0.75),
        ("thumbs", "v1", "short", 0.0),
        ("thumbs", "v1", "short", 1.0),
    ]
    row = environment.ledger().interactions("ann").sort("trace_id").to_dicts()[0]
    # Stars are a separate stream, which is watched but does not count as votes.
    assert (row["vote"], row["votes"], row["judged"], row["judgements"]) == (1.0, 1, 1.0, 1)


def test_each_trace_that_an_annotator_scores_is_a_value(environment: LedgerEnvironment) -> None:
    """An expert who worked through a queue of 100 traces was once one reader, with one value."""
    map_scores(
        environment,
        stars={"by": "annotator", "range": [1, 5]},
        expert={"by": "annotator", "stream": "thumbs", "weight": 3},
    )
    for number in range(100):
        environment.answer(number, reader="r1")
        environment.write_score(number, "stars", 4, source="ANNOTATION", person="mara")
        environment.pass_time(seconds=20)
    environment.write_score(0, "expert", 0, source="ANNOTATION", person="mara")
    environment.vote(0, 1.0, reader="r1")
    environment.post(1, "stars", 1)  # a program's score is no annotation
    reports = [environment.tick() for _ in range(4)]
    assert sum((report.invalid_scores for report in reports), Counter[str]()) == {"no_annotator": 1}
    environment.set_time(NEXT_DAY + timedelta(minutes=2)).sync()
    assert Counter((stream, value) for stream, *_, value in list_settled_values(environment)) == {
        ("stars", 0.75): 100,
        ("thumbs", 0.0): 3,
        ("thumbs", 1.0): 1,
    }
    row = environment.ledger().interactions("ann").sort("trace_id").to_dicts()[0]
    assert (row["vote"], sorted(row["voters"])) == (0.5, ["annotation:mara", "r1"])


def test_unmapped_scores_are_counted_by_name(environment: LedgerEnvironment) -> None:
    environment.answer(1, 2)
    environment.answer(3, author="bob")
    for number in (1, 2):
        environment.post(number, "user-feedback", 1)
    environment.post(1, "tone", "dry")
    environment.post(3, "tone", "A reader's own words.", dataType="TEXT")
    report = environment.tick()
    assert (report.new_scores, report.invalid_scores) == (4, {"not_mapped": 4})
    with environment.state.read_transaction() as connection:
        assert count_excluded_scores(connection, "ann") == {
            "not in [scores]: tone": 1,
            "not in [scores]: user-feedback": 2,
        }
        texts = connection.execute(sa.text("SELECT text FROM ledger_scores ORDER BY text"))
        assert [str(row.text) for row in texts] == ["", "", "", "dry"]
    assert environment.ledger().interactions("ann")["votes"].sum() == 0


def test_a_name_that_is_mapped_later_counts_on_its_days(environment: LedgerEnvironment) -> None:
    environment.answer(1, reader="r1")
    environment.answer(2, reader="r2")
    environment.post(1, "user-feedback", 1)
    environment.set_time(MORNING + timedelta(days=1)).answer(3, reader="r1")
    environment.post(3, "user-feedback", 0)
    environment.post(2, "stars", 5)
    environment.set_time(MORNING + timedelta(days=3)).sync()
    assert list_settled_values(environment) == []
    map_scores(environment, user_feedback="thumbs")
    report = environment.tick()
    assert (report.changed_scores, report.settled_values) == (2, {"ann": 2})
    assert [value for *_, value in list_settled_values(environment)] == [1.0, 0.0]
    assert count_excluded(environment) == {"not in [scores]: stars": 1}
    # Changing an entry keeps the settled values, and a second read finds nothing new.
    map_scores(environment, user_feedback={"range": [1, 0]})
    assert environment.pass_time(minutes=70).sync().settled_values == {}
    environment.counted_scores.clear()
    assert environment.pass_time(minutes=70).sync().settled_values == {}
    assert [value for *_, value in list_settled_values(environment)] == [1.0, 0.0]


def test_an_open_score_of_an_unmapped_name_does_not_count(environment: LedgerEnvironment) -> None:
    """The score is read again before its day closes."""
    map_scores(environment, user_feedback="thumbs")
    environment.answer(1, reader="r1")
    environment.post(1, "user-feedback", 1)
    environment.tick()
    assert count_excluded(environment) == {}
    environment.counted_scores.clear()
    environment.pass_time(minutes=70).sync()
    assert count_excluded(environment) == {"not in [scores]: user-feedback": 1}
    environment.set_time(NEXT_DAY + timedelta(minutes=2)).sync()
    assert list_settled_values(environment) == []


def test_a_mapped_score_counts_after_its_trace_arrives(environment: LedgerEnvironment) -> None:
    map_scores(environment, user_feedback="thumbs")
    environment.post(7, "user-feedback", 1)
    environment.vote(8, 1.0)
    assert environment.tick().invalid_scores == {"unknown_trace": 2}
    environment.set_time(MORNING - timedelta(hours=3)).answer(7, 8, reader="r1")
    environment.set_time(MORNING + timedelta(minutes=10)).post(7, "user-feedback", 0)
    environment.tick()
    environment.set_time(NEXT_DAY + timedelta(minutes=2)).sync()
    assert sorted(value for *_, value in list_settled_values(environment)) == [pytest.approx(2 / 3)]


def test_only_configured_langfuse_environments_are_read(environment: LedgerEnvironment) -> None:
    map_scores(environment, user_feedback="thumbs")
    environment.answer(1, reader="r1")
    environment.post(1, "user-feedback", 1, environment="production")
    assert environment.tick().new_scores == 0
    report = environment.set_time(NEXT_DAY + timedelta(minutes=70)).sync(
        environments="default,production"
    )
    assert report.new_scores == 1


def test_recorded_scores_of_langfuse_become_rows(shared_data: Path) -> None:
    """Langfuse 4.16.0 returns booleans and a trace as the subject."""
    recording = json.loads((shared_data / "langfuse-golden/get-v3-scores-page0.json").read_text())
    trace = {"author": "ann", "version": "v3", "prompt_class": "short", "reader": "r9"}
    counted_scores = read_scores({"page": "thumbs"})
    for score in recording["response"]["data"]:
        row = complete_from_trace(build_score_row(score), trace, lambda _: counted_scores)
        assert (row["kind"], row["stream"], row["value"], row["reader"], row["status"]) == (
            "vote",
            "thumbs",
            1.0,
            "r9",
            "open",
        )


def test_the_annotator_in_the_page_is_the_reader() -> None:
    score = {
        "id": "a", "name": "quality", "timestamp": "2026-11-20T08:00:00Z", "dataType": "NUMERIC",
        "value": 1, "source": "ANNOTATION", "authorUserId": "mara",
        "subject": {"kind": "observation", "id": "o", "traceId": to_trace_id(1)},
    }  # fmt: skip
    trace = {"author": "ann", "version": "v3", "prompt_class": "short", "reader": "r9"}
    row = complete_from_trace(
        build_score_row(score), trace, lambda _: read_scores({"quality": "quality"})
    )
    assert (row["reader"], row["trace_id"], row["stream"]) == (
        "annotation:mara",
        to_trace_id(1),
        "quality",
    )
