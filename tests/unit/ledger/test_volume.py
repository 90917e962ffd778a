"""Test reading 100,000 scores within 20 requests per minute, and readers with many votes.

The rows are written directly into the tables of the embedded store, because only reading is tested.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tests.settled_rows import settled_rows
from tests.unit.ledger.conftest import MORNING, LedgerEnvironment, to_trace_id
from twin_resources.observability.trace_store.posted_scores import ScoreRow, build_score_row
from twin_resources.quality.ledger import ledger_tables
from twin_resources.statistics.vote_limits import admit_reader_days

Vote = tuple[str, str, int, float, int]  # id, reader, trace, value, arrival in milliseconds


def put_votes(environment: LedgerEnvironment, votes: list[Vote]) -> None:
    rows: list[ScoreRow] = []
    for vote_id, reader, trace, value, arrival_ms in votes:
        body: dict[str, Any] = {
            "id": vote_id,
            "traceId": to_trace_id(trace),
            "name": "thumbs",
            "value": value,
            "metadata": {"twin.reader": reader, "twin.authors": "*"},
        }
        rows.append(build_score_row(body, now_ms=arrival_ms))
    for start in range(0, len(rows), 20_000):
        environment.tables.put_scores(rows[start : start + 20_000])


def get_now_ms(environment: LedgerEnvironment) -> int:
    return int(environment.now.timestamp() * 1000)


def drain(environment: LedgerEnvironment, *, max_ticks: int) -> int:
    """Sync every minute until the ledger has read everything; return the number of syncs."""
    for tick in range(1, max_ticks + 1):
        report = environment.pass_time(minutes=1).sync()
        assert report.problem == "", report.message
        if not report.backlog_s:
            return tick
    raise AssertionError(f"not caught up after {max_ticks} ticks: {report.message}")


@pytest.mark.long
@pytest.mark.parametrize("spread_ms", [1, 200_000])
@pytest.mark.parametrize("count", [8_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_many_scores_are_read_within_the_request_limits(
    environment: LedgerEnvironment, count: int, spread_ms: int
) -> None:
    """The scores arrive within one millisecond, which cannot be divided, or within 200 seconds."""
    environment.answer(1)
    environment.tick()
    start_ms = get_now_ms(environment)
    put_votes(
        environment,
        [
            (f"vote-{n:06d}", f"r{n}", 1, n % 2, start_ms + n * spread_ms // count)
            for n in range(count)
        ],
    )
    environment.pass_time(minutes=5)
    tick_count = drain(environment, max_ticks=120)
    requests_by_minute = Counter(moment.replace(second=0) for moment in environment.client.requests)
    assert max(requests_by_minute.values()) <= 20
    page_count = count // 100
    # Finding suitable windows takes some requests.
    assert tick_count <= page_count / 19 * 1.6 + 5, tick_count
    environment.set_time((MORNING + timedelta(days=1)).replace(hour=0, minute=2)).sync()
    while environment.pass_time(minutes=1).sync().backlog_s:
        pass
    values = settled_rows(environment.ledger(), "ann", after=0)
    assert len(values) == count
    assert sum(value.value for value in values) == count / 2
    assert [value.sequence for value in values] == list(range(1, count + 1))


@pytest.mark.long
def test_frequent_syncs_leave_the_relay_its_requests(environment: LedgerEnvironment) -> None:
    environment.answer(1)
    environment.tick()
    start_ms = get_now_ms(environment)
    put_votes(environment, [(f"v{n}", f"r{n}", 1, 1.0, start_ms + n) for n in range(8_000)])
    environment.pass_time(minutes=5)
    reports = [environment.pass_time(seconds=7).sync() for _ in range(20)]
    for moment in environment.client.requests:
        requests_in_minute = [
            request
            for request in environment.client.requests
            if 0 <= (request - moment).total_seconds() < 60
        ]
        assert len(requests_in_minute) <= 20  # of the 30 requests per organization
    assert any("requests are used up" in report.problem for report in reports)
    drain(environment.pass_time(minutes=1), max_ticks=10)


@pytest.mark.long
def test_excess_votes_of_one_key_are_excluded_and_counted(environment: LedgerEnvironment) -> None:
    environment.answer(*range(40))
    for day in range(12):
        now = get_now_ms(environment.set_time(MORNING + timedelta(days=day)))
        put_votes(
            environment,
            [
                *((f"{day}-{number}", "one key", number, 0.0, now) for number in range(40)),
                (f"{day}-good-a", f"good{day}", 0, 1.0, now),
                (f"{day}-good-b", f"good{day}b", 1, 1.0, now),
            ],
        )
        environment.pass_time(hours=3).sync()
    assert environment.set_time(MORNING + timedelta(days=12)).sync().problem == ""
    values = settled_rows(environment.ledger(), "ann")
    bad_values = [value for value in values if value.value == 0.0]
    assert len(values) - len(bad_values) == 24
    assert len(bad_values) <= 6
    statement = (
        sa.select(ledger_tables.scores.c.author, ledger_tables.scores.c.reader, sa.func.count())
        .where(ledger_tables.scores.c.status == "capped")
        .group_by(ledger_tables.scores.c.author, ledger_tables.scores.c.reader)
    )
    with environment.state.read_transaction() as connection:
        capped_counts = [tuple(row) for row in connection.execute(statement)]
    assert capped_counts == [("ann", "one key", 40 * (12 - len(bad_values)))]


def test_the_limit_never_excludes_readers_with_equal_activity() -> None:
    for reader_count in (1, 2, 3, 5, 19, 20, 25, 40, 100):
        admitted: Counter[str] = Counter()
        for number in range(40 * reader_count):  # one reader a day in rotation
            reader = number % reader_count
            assert admit_reader_days([f"r{reader}"], admitted) == [True], (reader_count, number)
