"""Test the ledger in SQLite and PostgreSQL: settling, late votes, exclusions and faults."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from tests.answer_spans import answer_span, export_spans
from tests.settled_rows import settled_rows
from tests.unit.ledger.conftest import MORNING, LedgerEnvironment, to_trace_id
from twin_resources.authors.score_settings import NO_SCORES
from twin_resources.observability.langfuse.client import TraceStoreError
from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.ledger.interactions_frame import filter_reader_interactions
from twin_resources.quality.ledger.ledger import Ledger
from twin_resources.quality.ledger.ledger_writer import LedgerWriter
from twin_resources.quality.ledger.report import SyncReport
from twin_resources.quality.retraining.alarm_records import count_excluded_scores
from twin_resources.registry.route_names import FRONT_DESK

NEXT_DAY = (MORNING + timedelta(days=1)).replace(hour=0, minute=0)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "environment" in metafunc.fixturenames:
        metafunc.parametrize("environment", ["sqlite", "postgresql"], indirect=True)


def list_values(
    environment: LedgerEnvironment, author: str = "ann", after: int = 0
) -> list[tuple[int, str, float]]:
    rows = settled_rows(environment.ledger(), author, after=after)
    return [(row.sequence, row.stream, row.value) for row in rows]


def test_the_newest_answer_of_a_trace_is_stored(environment: LedgerEnvironment) -> None:
    """The trace store lists the newest first, and both answers are in one window."""
    first_span = answer_span(1, environment.now, author="ann", version="v1")
    environment.pass_time(seconds=10)
    second_span = answer_span(1, environment.now, author="ann", version="v2")
    export_spans(environment.http, first_span, second_span | {"spanId": f"{2:016x}"})
    environment.tick()
    with environment.state.read_transaction() as connection:
        versions = connection.execute(sa.select(ledger_tables.traces.c.version)).scalars().all()
    assert versions == ["v2"]


def test_a_reader_day_closes_once_a_minute_after_midnight(environment: LedgerEnvironment) -> None:
    environment.answer(1, 2, 3)
    for number, value in ((1, 1.0), (2, 0.0), (3, 0.5)):
        environment.vote(number, value)
    environment.vote(1, 1.0, reader="r2")
    report = environment.tick()
    assert (report.problem, report.new_traces, report.new_scores) == ("", 3, 4)
    assert report.settled_values == {}
    environment.set_time(NEXT_DAY + timedelta(seconds=59)).sync()
    environment.set_time(NEXT_DAY + timedelta(seconds=59)).sync(lag_s=2)
    assert list_values(environment) == []
    assert environment.set_time(NEXT_DAY + timedelta(seconds=61)).sync().settled_values == {
        "ann": 2
    }
    assert sorted(value for _, _, value in list_values(environment)) == [0.5, 1.0]
    assert [sequence for sequence, *_ in list_values(environment)] == [1, 2]
    for _ in range(3):
        assert environment.tick().settled_values == {}
    assert len(list_values(environment)) == 2
    assert list_values(environment, after=1) == list_values(environment)[1:]


@pytest.mark.long
def test_later_votes_on_a_closed_day_change_only_reports(environment: LedgerEnvironment) -> None:
    environment.answer(1, 2)
    environment.vote(1, 1.0)
    environment.set_time(NEXT_DAY + timedelta(minutes=5)).sync()
    assert list_values(environment) == [(1, "thumbs", 1.0)]
    # The reader changes yesterday's vote, which keeps its first timestamp in the store.
    environment.vote(1, 0.0)
    environment.pass_time(minutes=70).sync()
    environment.pass_time(minutes=5)
    assert list_values(environment) == [(1, "thumbs", 1.0)]
    frame = environment.ledger().interactions("ann")
    assert frame.filter(trace_id=to_trace_id(1))["vote"].to_list() == [0.0]
    # A score with yesterday's timestamp becomes visible only now.
    evening = environment.now
    environment.set_time(MORNING + timedelta(hours=1)).vote(2, 0.0)
    report = environment.set_time(evening + timedelta(minutes=65)).sync()
    assert (report.new_scores, report.late_scores) == (1, 1)
    assert environment.set_time(NEXT_DAY + timedelta(days=1, minutes=5)).sync().settled_values == {}
    assert len(list_values(environment)) == 1


def test_a_late_vote_of_an_unsettled_reader_day_counts(environment: LedgerEnvironment) -> None:
    environment.answer(1)
    environment.tick()
    noon = NEXT_DAY + timedelta(hours=12)
    environment.set_time(noon).sync()
    environment.set_time(MORNING + timedelta(hours=1)).vote(1, 0.25)
    environment.set_time(noon + timedelta(hours=2)).sync()
    assert list_values(environment) == []
    environment.set_time(NEXT_DAY + timedelta(days=1, minutes=2)).sync()
    assert list_values(environment) == [(1, "thumbs", 0.25)]


def test_a_vote_that_changes_before_the_day_closes_counts_with_its_new_value(
    environment: LedgerEnvironment,
) -> None:
    environment.answer(1)
    environment.vote(1, 1.0)
    environment.tick()
    environment.vote(1, 0.0)
    report = environment.pass_time(minutes=61).sync()
    assert (report.changed_scores, report.new_scores) == (1, 0)
    environment.set_time(NEXT_DAY + timedelta(minutes=2)).sync()
    assert list_values(environment) == [(1, "thumbs", 0.0)]


@pytest.mark.parametrize("status", ["capped", "beyond", "new"])
def test_a_change_does_not_admit_an_excluded_vote(
    environment: LedgerEnvironment, status: str
) -> None:
    environment.answer(1)
    environment.vote(1, 1.0)
    environment.tick()
    table = ledger_tables.scores
    with environment.state.transaction() as connection:
        connection.execute(sa.update(table).values(status=status))
    environment.vote(1, 0.0)
    assert environment.pass_time(minutes=61).sync().changed_scores == 1
    with environment.state.read_transaction() as connection:
        [row] = connection.execute(sa.select(table.c.value, table.c.status))
    assert tuple(row) == (0.0, status)


def test_only_scores_deleted_before_settling_are_dropped(environment: LedgerEnvironment) -> None:
    environment.answer(1, 2)
    deleted_before = environment.vote(1, 0.0)
    deleted_after = environment.vote(2, 1.0, reader="r2")
    environment.tick()
    environment.tables.delete_score(deleted_before)
    assert environment.pass_time(minutes=61).sync().deleted_scores == 1
    environment.set_time(NEXT_DAY + timedelta(minutes=2)).sync()
    assert list_values(environment) == [(1, "thumbs", 1.0)]
    environment.tables.delete_score(deleted_after)
    assert environment.pass_time(minutes=61).sync().deleted_scores == 1
    assert list_values(environment) == [(1, "thumbs", 1.0)]  # a settled value stays
    assert environment.ledger().interactions("ann")["vote"].to_list() == [None, None]
    # A restored score is not settled again.
    environment.set_time(MORNING + timedelta(minutes=1)).vote(2, 1.0, reader="r2")
    environment.set_time(NEXT_DAY + timedelta(hours=3)).sync()
    environment.set_time(NEXT_DAY + timedelta(days=1, minutes=3)).sync()
    assert list_values(environment) == [(1, "thumbs", 1.0)]


def test_excluded_scores_are_counted_by_reason(environment: LedgerEnvironment) -> None:
    environment.answer(1)
    environment.answer(2, author="bob")
    environment.vote(1, 1.5)
    environment.vote(1, -0.1, reader="r2")
    environment.vote(404, 1.0)
    environment.vote(2, 1.0, **{"twin.authors": "ann"})
    environment.http.post(
        "/api/public/scores",
        json={"id": "words", "name": "thumbs", "value": "up", "traceId": to_trace_id(1)},
    )
    environment.http.post(
        "/api/public/scores", json={"id": "session", "name": "thumbs", "value": 1, "sessionId": "s"}
    )
    environment.http.post(
        "/api/public/scores", json={"id": "other", "name": "style", "value": 7, "traceId": "x"}
    )
    environment.http.post("/api/public/scores", json={"name": "thumbs", "value": 1, "traceId": "x",
                                                "environment": "measured"})  # fmt: skip
    report = environment.tick()
    expected = {
        "out_of_range": 2, "unknown_trace": 2, "other_author": 1, "not_a_number": 1, "no_trace": 1,
    }  # fmt: skip
    assert report.invalid_scores == expected
    assert report.new_scores == 7
    assert "7 that will never count" in report.message
    environment.set_time(NEXT_DAY + timedelta(minutes=2)).sync()
    assert list_values(environment) == []
    assert list_values(environment, "bob") == []


def test_nan_from_a_server_with_invalid_json_never_counts() -> None:
    from twin_resources.quality.ledger.scores import build_score_row

    body = {"id": "a", "name": "thumbs", "timestamp": "2026-11-20T08:00:00Z", "dataType": "NUMERIC",
            "subject": {"kind": "trace", "id": to_trace_id(1)}}  # fmt: skip
    for value, reason in (
        (float("nan"), "not_a_number"),
        (float("inf"), "out_of_range"),
        (None, "not_a_number"),
        (True, ""),
        (1, ""),
    ):
        row = build_score_row(body | {"value": value})
        assert row is not None
        assert row["reason"] == reason


def test_a_score_counts_after_its_late_trace_arrives(environment: LedgerEnvironment) -> None:
    environment.vote(7, 1.0)
    assert environment.tick().invalid_scores == {"unknown_trace": 1}
    # The trace waited in an outbox and started long ago, so a new score requests it by id.
    environment.set_time(MORNING - timedelta(hours=3)).answer(7)
    environment.set_time(MORNING + timedelta(minutes=10)).vote(7, 0.0, reader="r2")
    environment.tick()
    with environment.state.read_transaction() as connection:
        assert count_excluded_scores(connection, "ann") == {}
    lookups = [
        query for query in environment.client.queries if to_trace_id(7) in query.get("filter", "")
    ]
    assert [query["fromStartTime"][:7] for query in lookups] == ["2026-08"] * 2, (
        "the lookup must cover the whole retention time"
    )
    # Without a time, Langfuse would search all traces.
    assert all(
        {*query} & {"fromStartTime", "fromTimestamp"} for query in environment.client.queries
    )
    environment.set_time(NEXT_DAY + timedelta(minutes=2)).sync()
    assert sorted(value for *_, value in list_values(environment)) == [0.0, 1.0]


def test_judgements_settle_once_per_trace_with_their_day(environment: LedgerEnvironment) -> None:
    environment.answer(1, 2)
    for number in (1, 2):
        environment.vote(number, 0.5 * number, name="judge:topic@p1", reader="judge")
    assert environment.tick().settled_values == {}
    assert environment.set_time(NEXT_DAY + timedelta(minutes=2)).sync().settled_values == {"ann": 2}
    assert list_values(environment) == [(1, "judge:topic@p1", 0.5), (2, "judge:topic@p1", 1.0)]
    assert environment.pass_time(hours=2).sync().settled_values == {}


def test_the_demo_settles_immediately(environment: LedgerEnvironment) -> None:
    environment.answer(1, 2)
    environment.vote(1, 1.0, reader="a")
    environment.vote(2, 0.0, reader="b")
    environment.vote(1, 0.5, name="judge:topic@p1", reader="judge")
    assert environment.tick(closing="at_once").settled_values == {"ann": 3}
    environment.vote(2, 1.0, reader="a")
    report = environment.tick(closing="at_once")
    assert (report.settled_values, report.late_scores) == ({}, 1)


def test_a_value_belongs_to_the_version_and_class_with_most_votes(
    environment: LedgerEnvironment,
) -> None:
    environment.answer(1, 2)
    environment.answer(3, version="v2")
    for number, value in ((1, 1.0), (2, 0.5), (3, 0.0)):
        environment.vote(number, value)
    environment.set_time(NEXT_DAY + timedelta(minutes=2)).sync()
    [row] = settled_rows(environment.ledger(), "ann")
    assert (row.version, row.prompt_class, row.value) == ("v1", "short", 0.75)


def test_edits_are_kept_without_personal_data_and_never_settled(
    environment: LedgerEnvironment,
) -> None:
    environment.answer(1)
    environment.vote(1, "Call +49 170 1234567.", name="output", **{"twin.role": "author"})
    environment.tick()
    environment.set_time(NEXT_DAY + timedelta(minutes=2)).sync()
    assert list_values(environment) == []
    [row] = environment.ledger().interactions("ann").to_dicts()
    assert (row["edit"], row["edit_role"]) == ("Call [phone].", "author")
    assert row["question"] == "How much oil? Mail [e-mail]"
    assert (row["answer"], row["chunk_ids"], row["votes"]) == ("One.", ["c1", "c2"], 0)
    assert row["started_at"] == MORNING


def test_a_comparison_is_reported_and_never_settled(environment: LedgerEnvironment) -> None:
    """Answer 1 loses to answer 2 and counts as rejected. The comparison is not a stream value."""
    environment.answer(1, 2)
    environment.vote(1, 0.0, name="comparison", reader="r1")
    environment.vote(2, 1.0, name="comparison", reader="r1")
    environment.vote(1, 1.0, reader="r2")
    environment.tick()
    environment.set_time(NEXT_DAY + timedelta(minutes=2)).sync()
    assert [row.value for row in settled_rows(environment.ledger(), "ann")] == [1.0]
    columns = ["vote", "votes", "rejections", "rejection_voters"]
    assert environment.ledger().interactions("ann").select(columns).rows() == [
        (1.0, 1, 1, ["r1"]),
        (None, 0, 0, []),
    ]


def test_an_authors_edit_has_priority_over_a_later_edit_by_a_reader(
    environment: LedgerEnvironment,
) -> None:
    environment.answer(1, 2)

    def edit(number: int, text: str, role: str) -> None:
        reader = f"{role} {text}"
        environment.vote(number, text, reader=reader, name="output", **{"twin.role": role})
        environment.pass_time(seconds=1)

    for text, role in (("a", "reader"), ("b", "author"), ("c", "author"), ("d", "reader")):
        edit(1, text, role)
    for text in ("e", "f"):
        edit(2, text, "reader")
    environment.tick()
    columns = ["edit", "edit_role", "edit_reader"]
    assert environment.ledger().interactions("ann").select(columns).rows() == [
        ("c", "author", "author c"),
        ("f", "reader", "reader f"),
    ]


@pytest.mark.long
@pytest.mark.parametrize(
    "error",
    [
        TraceStoreError("read", found="no answer", next_step="wait", status=None),
        TraceStoreError("read", found="HTTP 429: slow", next_step="wait", status=429),
        TraceStoreError("read", found="no JSON", next_step="wait", status=200),
    ],
)
def test_a_failed_read_is_reported_and_differs_from_an_empty_read(
    environment: LedgerEnvironment, error: TraceStoreError
) -> None:
    environment.answer(1)
    environment.vote(1, 1.0)
    environment.tick()
    environment.set_time(NEXT_DAY + timedelta(hours=1))
    environment.client.failures = [error]
    report = environment.sync()
    assert "trace store un" in report.problem
    assert error.found in report.message
    assert (report.deleted_scores, report.settled_values) == (0, {})
    report = environment.tick()
    assert (report.problem, report.settled_values) == ("", {"ann": 1})


def test_a_failure_in_the_middle_keeps_the_committed_rows(environment: LedgerEnvironment) -> None:
    """If a reconciliation fails halfway, no score counts as deleted, and the next one continues."""
    environment.answer(*range(30))
    for number in range(30):
        environment.vote(number, 1.0, reader=f"r{number}")
    environment.tick()
    environment.pass_time(minutes=61)
    failure = TraceStoreError("read", found="no answer", next_step="wait", status=None)
    original_page = environment.client.page
    call_count = 0

    def page(path, parameters):  # type: ignore[no-untyped-def]
        nonlocal call_count
        call_count += 1
        if call_count == 3:
            raise failure
        return original_page(path, parameters)

    environment.client.page = page  # type: ignore[method-assign]
    report = environment.sync()
    assert "no answer" in report.problem
    environment.client.page = original_page  # type: ignore[method-assign]
    report = environment.tick()
    assert (report.problem, report.deleted_scores, report.is_reconciling) == ("", 0, False)


def make_store_fail(environment: LedgerEnvironment, scores: set[str], paths: list[str]) -> None:
    """Make the store fail for every page with one of these scores, or for every page if empty."""
    original_page = environment.client.page

    def page(path: str, parameters: Mapping[str, str]) -> tuple[list[dict[str, Any]], str]:
        rows, cursor = original_page(path, parameters)
        paths.append(path)
        if not scores or scores & {row.get("id") for row in rows}:
            raise TraceStoreError("read", found="HTTP 500: a row", next_step="wait", status=500)
        return rows, cursor

    environment.client.page = page  # type: ignore[method-assign]


@pytest.mark.long
def test_a_score_that_breaks_the_store_delays_no_other_author(
    environment: LedgerEnvironment,
) -> None:
    """Only the millisecond of that score is skipped, even when the last days are read again."""
    environment.answer(1)
    environment.answer(2, author="bo")
    environment.vote(1, 1.0)
    failing_score = environment.pass_time(seconds=7).vote(2, 0.0)
    environment.pass_time(seconds=7).vote(1, 0.5, reader="r2")
    original_page = environment.client.page
    make_store_fail(environment, {failing_score}, paths := [])
    environment.set_time(NEXT_DAY + timedelta(hours=1))
    reports = [environment.tick(requests_per_minute=600) for _ in range(8)]
    assert [report.problem for report in reports[3:]] == [""] * 5
    assert list_values(environment) == [(1, "thumbs", 1.0), (2, "thumbs", 0.5)]
    assert list_values(environment, "bo") == []
    note = "2026-11-20T08:00:07.000Z: HTTP 500: a row"
    assert [note in str(report.unread_items) for report in reports].count(True) == 1
    environment.pass_time(minutes=65)
    ticks = [environment.tick(requests_per_minute=600) for _ in range(8)]
    assert [(tick.problem, tick.deleted_scores) for tick in ticks[1:]] == [("", 0)] * 7
    assert [tick.is_reconciling for tick in (ticks[0], ticks[-1])] == [True, False]
    environment.client.page = original_page  # type: ignore[method-assign]
    assert sum(environment.pass_time(minutes=65).sync().new_scores for _ in range(3)) == 1
    assert paths


def test_no_time_is_skipped_if_the_store_fails_for_every_page(
    environment: LedgerEnvironment,
) -> None:
    environment.answer(1)
    environment.vote(1, 1.0)
    original_page = environment.client.page
    make_store_fail(environment, set(), paths := [])
    for _ in range(6):
        report = environment.tick(requests_per_minute=600)
        assert "HTTP 500" in report.problem
        assert report.unread_items == []
    assert len(paths) > 20, "the window was not halved down to a millisecond"
    environment.client.page = original_page  # type: ignore[method-assign]
    assert sum(environment.tick(requests_per_minute=600).new_scores for _ in range(4)) == 1


def test_a_page_of_another_format_is_an_error(environment: LedgerEnvironment) -> None:
    environment.answer(1)
    environment.vote(1, 1.0)
    original_page = environment.client.page
    environment.client.page = lambda path, parameters: ([{"hello": "world"}], "")  # type: ignore[method-assign]
    report = environment.tick()
    assert "returned invalid data" in report.problem
    environment.client.page = original_page  # type: ignore[method-assign]
    assert environment.tick().new_scores == 1


def test_a_clock_set_back_an_hour_loses_and_repeats_nothing(environment: LedgerEnvironment) -> None:
    environment.answer(1, 2)
    environment.vote(1, 1.0, reader="a")
    environment.pass_time(hours=2).sync()
    environment.pass_time(hours=-1)  # store and ledger have the same clock
    environment.vote(2, 0.0, reader="b")
    report = environment.sync()
    assert report.rewound_s == pytest.approx(3_600, abs=130)
    for _ in range(3):
        environment.pass_time(minutes=40).sync()
    environment.set_time(NEXT_DAY + timedelta(minutes=2)).sync()
    assert sorted(value for *_, value in list_values(environment)) == [0.0, 1.0]


@pytest.mark.long
@pytest.mark.parametrize("days", [2, 30, 400])
def test_a_clock_that_is_ahead_for_one_sync_changes_nothing(
    environment: LedgerEnvironment, days: int
) -> None:
    """An earlier version lost 231 of 600 votes if the clock was 30 days ahead for one sync."""
    clock_rules = {"clock_trust_s": 600.0, "quiet_s": 7_200.0}
    for day in range(6):
        for hour in range(0, 24, 6):
            number = 10 * day + hour // 6 + 1
            environment.set_time(MORNING + timedelta(days=day, hours=hour)).answer(number)
            environment.vote(number, 1.0, reader=f"r{number}")
            environment.pass_time(minutes=5).sync(**clock_rules)
            if (day, hour) == (2, 6):
                environment.pass_time(days=days)
                assert "the clock has jumped ahead by" in environment.sync(**clock_rules).problem
                environment.pass_time(days=-days)
    report = environment.set_time(MORNING + timedelta(days=7)).sync(**clock_rules)
    assert "waits until it has stayed there for 10 minutes" in report.problem, (
        "a clock that was wrong before must be confirmed"
    )
    environment.pass_time(minutes=11).sync(**clock_rules)
    assert [value for *_, value in list_values(environment)] == [1.0] * 24


def test_scores_skipped_by_a_clock_ahead_are_read_again(environment: LedgerEnvironment) -> None:
    """The clock is 40 days ahead. Once it is corrected, the skipped scores are read."""
    environment.answer(1, 2, 3)
    environment.vote(1, 1.0, reader="a")
    environment.tick()
    environment.pass_time(days=40)
    environment.sync()
    environment.sync()
    environment.pass_time(days=-40, hours=20)
    environment.answer(4)
    environment.vote(4, 0.0, reader="b")
    assert environment.tick().rewound_s > 38 * 86_400
    assert "reading continues at the newest score" not in environment.tick().message, (
        "the message was repeated"
    )
    environment.set_time(NEXT_DAY + timedelta(days=1, minutes=2)).sync()
    assert sorted(value for *_, value in list_values(environment)) == [0.0, 1.0]


def test_a_vote_before_midnight_that_is_shown_later_belongs_to_its_day(
    environment: LedgerEnvironment,
) -> None:
    """Scores of the last ten minutes were once lost, so the mean was .95 instead of .5."""
    environment.answer(1, 2)
    environment.set_time(NEXT_DAY - timedelta(minutes=30)).vote(1, 1.0)
    for minutes in (-20, 5, 15):
        environment.set_time(NEXT_DAY + timedelta(minutes=minutes)).sync(quiet_s=7_200)
    assert list_values(environment) == []
    # The store shows this vote only after 00:15.
    environment.set_time(NEXT_DAY - timedelta(minutes=5)).vote(2, 0.0)
    for minutes in (70, 121):
        environment.set_time(NEXT_DAY + timedelta(minutes=minutes)).sync(quiet_s=7_200)
    assert [value for *_, value in list_values(environment)] == [0.5]


def test_a_score_more_than_a_week_late_is_read_and_counts(environment: LedgerEnvironment) -> None:
    """All 300 scores of this kind were once lost without a message."""
    environment.answer(1, 2, 3)
    environment.vote(1, 1.0)
    environment.tick()
    for day in range(1, 12):
        environment.set_time(MORNING + timedelta(days=day)).sync()
    # This reader's day is already settled.
    environment.set_time(MORNING + timedelta(hours=1)).vote(2, 0.0)
    environment.vote(3, 0.0, reader="r2")
    for day in range(12, 15):
        environment.set_time(MORNING + timedelta(days=day)).sync()
    assert [value for *_, value in list_values(environment)] == [1.0, 0.0]
    with environment.state.read_transaction() as connection:
        excluded = count_excluded_scores(connection, "ann")
    assert excluded == {"late: the reader's day was already settled": 1}


def test_a_vote_changed_on_another_day_counts_once_with_its_last_value(
    environment: LedgerEnvironment,
) -> None:
    """Langfuse's key includes the date, so it returns both values; the ledger once alternated."""
    first = make_score("vote", 1.0, MORNING, MORNING)
    changed = make_score("vote", 0.0, MORNING + timedelta(days=1), MORNING + timedelta(days=1))
    environment.answer(1)
    environment.tick()
    with environment.state.lease("ledger") as lease:
        report = SyncReport()
        writer = LedgerWriter(environment.state, lease, report, "daily", lambda _: NO_SCORES)
        for rows in ([first], [changed], [first], [changed, first], [first, changed], [first]):
            with writer.transaction() as connection:
                writer.put_scores(connection, rows)
    with environment.state.read_transaction() as connection:
        stored_rows = connection.execute(sa.select(ledger_tables.scores)).mappings().all()
    assert [(row["value"], row["status"]) for row in stored_rows] == [(0.0, "open")]
    assert report.changed_scores == 1


def make_score(score_id: str, value: float, posted: datetime, updated: datetime) -> dict[str, Any]:
    """Return a row of `GET /v3/scores` about the first answer."""
    return {
        "id": score_id,
        "name": "thumbs",
        "value": value,
        "dataType": "NUMERIC",
        "timestamp": posted.isoformat(),
        "updatedAt": updated.isoformat(),
        "subject": {"kind": "trace", "id": to_trace_id(1)},
        "metadata": {"twin.reader": "r1"},
    }


def test_two_writers_never_run_concurrently(environment: LedgerEnvironment) -> None:
    environment.answer(1)
    with environment.state.lease("ledger"):
        report = environment.tick()
    assert "another process is reading the ledger" in report.problem
    assert environment.tick().new_traces == 1


def test_old_rows_are_deleted_and_settled_values_stay(environment: LedgerEnvironment) -> None:
    environment.answer(1)
    environment.vote(1, 1.0)
    environment.tick()
    environment.set_time(NEXT_DAY + timedelta(minutes=2)).sync()
    environment.set_time(MORNING + timedelta(days=91)).sync()
    assert environment.ledger().interactions("ann").height == 0
    assert list_values(environment) == [(1, "thumbs", 1.0)]


def test_a_newer_ledger_is_refused(environment: LedgerEnvironment) -> None:
    from twin_resources.storage.state.state import StateError

    environment.ledger()
    with environment.state.transaction() as connection:
        connection.execute(sa.text("UPDATE schema_number SET number = 9 WHERE store = 'ledger'"))
    with pytest.raises(StateError, match="schema version 9"):
        Ledger(environment.state, environment.client)


def test_batch_and_front_desk_answers_do_not_count_as_readers_answers(
    environment: LedgerEnvironment,
) -> None:
    environment.answer(1)
    environment.answer(2, batch="true")
    environment.tick()
    rows = environment.ledger().interactions("ann")
    assert (
        filter_reader_interactions(rows).height
        == filter_reader_interactions(rows.lazy()).collect().height
        == 1
    )
    # The front desk's answers are neither judged nor replayed.
    assert filter_reader_interactions(rows.with_columns(route=pl.lit(FRONT_DESK))).is_empty()


def test_a_missing_or_invalid_propensity_is_unknown(environment: LedgerEnvironment) -> None:
    values = {1: "0.25", 2: "", 3: "0", 4: "1.2", 5: "nan", 6: "1"}
    for number, propensity in values.items():
        environment.answer(number, propensity=propensity)
    environment.tick()
    propensities = environment.ledger().interactions("ann").sort("trace_id")["propensity"]
    assert propensities.to_list() == [0.25, None, None, None, None, 1.0]
    assert propensities.null_count() == 4


@pytest.mark.long
def test_a_day_settles_at_most_three_times_the_usual_count(environment: LedgerEnvironment) -> None:
    """In simulations without this limit, a day with many visitors retrained 18 of 24 homes."""
    counts, number = [12, 12, 12, 100, 12], 0
    for day, count in enumerate(counts):
        environment.set_time(MORNING + timedelta(days=day))
        for _ in range(count):
            number += 1
            environment.answer(number)
            environment.vote(number, float(day != 3), reader=f"r{number}")
        environment.pass_time(hours=1).sync(requests=500, requests_per_minute=10_000)
    for hours in (0, 1):
        report = environment.set_time(MORNING + timedelta(days=5, hours=hours)).sync(
            requests_per_minute=10_000
        )
    settled_by_day = [value for *_, value in list_values(environment)]
    assert (settled_by_day.count(1.0), settled_by_day.count(0.0)) == (48, 36)
    with environment.state.read_transaction() as connection:
        assert count_excluded_scores(connection, "ann") == {
            "from a day with over three times the usual number of scores": 64
        }
    assert report.unsettled_days["beyond"] == 0, "an excluded score was reported twice"
    assert environment.tick().settled_values == {}
