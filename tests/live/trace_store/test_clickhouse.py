"""The ledger reads scores from ClickHouse, which merges rows by project, day, name and id.

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
DAYS, STEPS, ANSWERS, READERS = 6, 600, 10, 10
FEW_REQUESTS = 4  # per sync, so that a window is read in parts
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


@pytest.mark.parametrize("seed", [random.SystemRandom().randrange(1 << 31) for _ in range(3)])
def test_the_last_value_of_each_vote_counts_on_whichever_day_it_was_changed(
    environment: LedgerEnvironment, seed: int
) -> None:
    rng = random.Random(seed)
    last: dict[str, float] = {}
    changed = seen_changed = 0
    environment.answer(*range(ANSWERS))
    for _ in range(STEPS):
        environment.pass_time(minutes=rng.randrange(1, DAYS * 24 * 60 // STEPS))
        number, reader = rng.randrange(ANSWERS), f"r{rng.randrange(READERS)}"
        value = float(rng.randrange(2))
        vote = environment.vote(number, value, reader=reader)
        changed += last.get(vote, value) != value
        last[vote] = value
        if not rng.randrange(10):
            report = environment.tick(requests=FEW_REQUESTS)
            assert report.problem == ""
            seen_changed += report.changed_scores
    for _ in range(4):
        seen_changed += environment.pass_time(hours=2).sync().changed_scores
    with environment.state.read_transaction() as connection:
        stored = connection.execute(sa.select(ledger_tables.scores)).mappings().all()
    assert {row["id"]: row["value"] for row in stored} == last
    assert seen_changed <= changed, "a vote alternates between its two rows"
    assert isinstance(environment.tables, ClickHouseScores)
    assert environment.tables.count() > len(last), "no vote was changed on another day"
