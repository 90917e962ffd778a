"""Test that a home which is switched to another trace store and back loses nothing it knew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa
from starlette.testclient import TestClient

from tests.settled_rows import settled_rows
from tests.unit.ledger.conftest import KEYS, MORNING, LedgerEnvironment, to_trace_id
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.observability.trace_store.local_store import build_app
from twin_resources.observability.trace_store.trace_tables import TraceTables
from twin_resources.quality.ledger.known_stores import describe_stores, traces_of_earlier_stores


@contextmanager
def another_store(environment: LedgerEnvironment, path: Path) -> Iterator[None]:
    """Let the ledger and the environment's answers and votes use another store's file."""
    app = build_app(
        TraceTables(path), keys=KEYS, now_ms=lambda: int(environment.now.timestamp() * 1000)
    )
    http, client = environment.http, environment.client.client
    with TestClient(app) as environment.http:
        environment.http.auth = (KEYS.public, KEYS.secret)
        environment.client.client = LangfuseClient(
            "http://testserver", public_key="", secret_key="", http=environment.http
        )
        yield
    environment.http, environment.client.client = http, client


def count_rows(environment: LedgerEnvironment) -> dict[str, int]:
    queries = {
        "answers": "SELECT COUNT(*) FROM ledger_traces",
        "votes": "SELECT COUNT(*) FROM ledger_scores WHERE status != 'deleted'",
        "deleted": "SELECT COUNT(*) FROM ledger_scores WHERE status = 'deleted'",
    }
    with environment.state.read_transaction() as connection:
        counts = {
            name: int(connection.execute(sa.text(query)).scalar_one())
            for name, query in queries.items()
        }
    return counts | {"values": len(settled_rows(environment.ledger(), "ann"))}


def sync_for_hours(environment: LedgerEnvironment, hours: int) -> None:
    """Sync every half an hour, so that the passes over the last days end too."""
    for _ in range(2 * hours):
        assert environment.pass_time(minutes=30).sync().problem == ""


def test_a_home_switched_to_another_store_and_back_loses_no_vote(
    environment: LedgerEnvironment, tmp_path: Path
) -> None:
    """The pass over the last days once marked everything as deleted, for it was not in the new."""
    environment.answer(*range(1, 13), reader="r1")
    for number in range(1, 13):
        environment.vote(number, 1.0, reader=f"r{number}")
    environment.tick()
    environment.set_time(MORNING + timedelta(days=1))
    sync_for_hours(environment, 3)
    before = {"answers": 12, "votes": 12, "deleted": 0, "values": 12}
    assert count_rows(environment) == before

    with another_store(environment, tmp_path / "other.sqlite"):
        report = environment.tick()
        assert "is read now, in place of the embedded trace store" in report.message
        sync_for_hours(environment, 3)
        assert count_rows(environment) == before
        # What the new store has is read, and a vote on an answer of the old one counts.
        environment.answer(13)
        environment.vote(13, 0.0, reader="r13")
        environment.vote(1, 0.0, reader="r99")
        environment.tick()
        assert count_rows(environment) == before | {"answers": 13, "votes": 14}
        with environment.state.read_transaction() as connection:
            earlier = traces_of_earlier_stores(connection, "ann")
            assert sorted(earlier) == [to_trace_id(number) for number in range(1, 13)]
            assert "12 answers and 12 scores" in describe_stores(connection)[1]

    assert environment.tick().switched_stores
    sync_for_hours(environment, 3)
    assert count_rows(environment) == before | {"answers": 13, "votes": 14}
    # The store that has a row can show that it was deleted.
    environment.http.delete("/api/public/scores/" + environment.vote(2, 1.0, reader="r2"))
    sync_for_hours(environment, 3)
    assert count_rows(environment) == before | {"answers": 13, "votes": 13, "deleted": 1}


def test_a_store_whose_file_was_lost_deletes_nothing(
    environment: LedgerEnvironment, tmp_path: Path
) -> None:
    environment.answer(1)
    environment.vote(1, 1.0)
    environment.tick()
    # The same address and the same keys, but a new file.
    with another_store(environment, tmp_path / "begun-anew.sqlite"):
        sync_for_hours(environment, 3)
        counts = count_rows(environment)
    assert (counts["answers"], counts["votes"], counts["deleted"]) == (1, 1, 0)
