"""Test that the ledger reads scores from ClickHouse, which merges rows by day, name and id.

The ledger's unit tests run on it, and so does a simulation with random votes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.live.trace_store.clickhouse_scores import ClickHouseScores
from tests.unit.ledger import conftest, test_ledger
from tests.unit.ledger.conftest import LedgerEnvironment
from twin_resources.quality.ledger import ledger_tables

pytestmark = [pytest.mark.live, pytest.mark.long]
sessions = pytest.importorskip("chdb.session", reason="extra `clickhouse` not installed")
DAY_COUNT, STEP_COUNT, ANSWER_COUNT, READER_COUNT = 6, 600, 10, 10
MAX_REQUESTS = 4  # per sync, so that a window is read in parts
# These tests are about the ledger's file, not about scores.
NOT_ABOUT_SCORES = {"test_a_newer_ledger_is_refused", "test_two_writers_never_run_concurrently"}
for _name, _test in vars(test_ledger).items():
    if _name.startswith("test_") and _name not in NOT_ABOUT_SCORES:
        globals()[_name] = _test


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    session = sessions.Session()
    yield session
    session.close()


@pytest.fixture
def environment(
    request: pytest.FixtureRequest, tmp_path: Path, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LedgerEnvironment]:
    """Return the environment of the ledger's tests, with the scores in ClickHouse."""
    monkeypatch.setattr(conftest, "TraceTables", lambda path: ClickHouseScores(path, engine))
    yield from conftest.environment.__wrapped__(request, tmp_path)


@pytest.mark.parametrize("draw", range(3))
def test_the_last_value_of_each_vote_counts_on_whichever_day_it_was_changed(
    environment: LedgerEnvironment, draw: int
) -> None:
    """Each draw has a new seed, not in the test's name: workers must collect the same names."""
    seed = random.SystemRandom().randrange(1 << 31)
    print(f"draw {draw}: seed {seed}")  # noqa: T201
    rng = random.Random(seed)
    value_by_vote: dict[str, float] = {}
    change_count = reported_count = 0
    environment.answer(*range(ANSWER_COUNT))
    for _ in range(STEP_COUNT):
        environment.pass_time(minutes=rng.randrange(1, DAY_COUNT * 24 * 60 // STEP_COUNT))
        number, reader = rng.randrange(ANSWER_COUNT), f"r{rng.randrange(READER_COUNT)}"
        value = float(rng.randrange(2))
        vote = environment.vote(number, value, reader=reader)
        change_count += value_by_vote.get(vote, value) != value
        value_by_vote[vote] = value
        if not rng.randrange(10):
            report = environment.tick(requests=MAX_REQUESTS)
            assert report.problem == ""
            reported_count += report.changed_scores
    for _ in range(4):
        reported_count += environment.pass_time(hours=2).sync().changed_scores
    with environment.state.read_transaction() as connection:
        rows = connection.execute(sa.select(ledger_tables.scores)).mappings().all()
    assert {row["id"]: row["value"] for row in rows} == value_by_vote
    assert reported_count <= change_count, "a vote alternates between its two rows"
    assert isinstance(environment.tables, ClickHouseScores)
    assert environment.tables.count() > len(value_by_vote), "no vote was changed on another day"
