"""Test the outbox: order, replacement, limits and durability."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from twin_resources.observability.langfuse import outbox as outbox_module
from twin_resources.observability.langfuse.outbox import (
    Outbox,
    OutboxCounts,
    OutboxError,
    OutboxFullError,
    QueuedScore,
    score_id,
)


def make_score(item_id: str, value: float = 1.0) -> QueuedScore:
    return QueuedScore(item_id, "4bf92f3577b34da6a3ce929d0e0e4736", "thumbs", value)


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox.sqlite")


def refused_items(outbox: Outbox) -> list[tuple[str, str, str]]:
    """Return the kind, id and reason of each refused item."""
    with closing(sqlite3.connect(outbox.path)) as connection:
        return connection.execute("SELECT kind, id, why FROM refused").fetchall()


def send_all(outbox: Outbox) -> list[str]:
    """Mark all items as sent; return the scores' ids and the traces' texts in sending order."""
    order: list[str] = []
    while (item := outbox.get_next_item()) is not None:
        order.append(item.id if item.kind == "score" else item.body.decode())
        outbox.mark_sent(item)
    return order


def test_votes_are_sent_before_traces_and_measurements(outbox: Outbox) -> None:
    outbox.put_scores([make_score("automatic")], automatic=True)
    outbox.put_trace(b"first trace")
    outbox.put_trace(b"second trace")
    outbox.put_scores([make_score("a"), make_score("b")])
    assert send_all(outbox) == ["a", "b", "first trace", "second trace", "automatic"]
    counts = outbox.counts()
    assert (counts.sent_scores, counts.sent_traces, counts.scores, counts.traces) == (3, 2, 0, 0)
    assert (counts.trace_bytes, counts.oldest_at) == (0, None)


def test_a_later_vote_replaces_a_waiting_vote_even_during_sending(outbox: Outbox) -> None:
    outbox.put_scores([make_score("vote", 1.0)])
    item_in_flight = outbox.get_next_item()
    assert item_in_flight is not None
    outbox.put_scores([make_score("vote", 0.0)])
    assert outbox.counts().scores == 1
    outbox.mark_sent(item_in_flight)
    item = outbox.get_next_item()
    assert item is not None
    assert json.loads(item.body)["value"] == 0.0
    outbox.mark_sent(item)
    outbox.mark_sent(item)  # a repeated acknowledgement
    assert outbox.counts().scores == 0


def test_a_repeated_export_is_queued_once(outbox: Outbox) -> None:
    outbox.put_trace(b"export")
    outbox.put_trace(b"export")
    assert (outbox.counts().traces, outbox.counts().trace_bytes) == (1, 6)


def test_a_full_outbox_drops_its_oldest_traces_and_refuses_new_scores(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "MAX_TRACE_BYTES", 100)
    monkeypatch.setattr(outbox_module, "MAX_SCORES", 3)
    outbox.put_scores([make_score("a"), make_score("b")])
    for number in range(12):
        outbox.put_trace(f"trace {number:04d}".encode())
    counts = outbox.counts()
    assert (counts.traces, counts.trace_bytes, counts.dropped_traces) == (10, 100, 2)
    assert send_all(outbox)[:3] == ["a", "b", "trace 0002"]
    outbox.put_scores([make_score("c"), make_score("d"), make_score("e")])
    with pytest.raises(OutboxFullError, match="3 scores that the trace store has not accepted"):
        outbox.put_scores([make_score("f")])
    assert outbox.counts().scores == 3
    assert send_all(outbox) == ["c", "d", "e"]
    outbox.put_scores([make_score("f")])
    assert outbox.counts().scores == 1


def test_an_outbox_starts_empty_with_space_for_one_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "MAX_SCORES", 1)
    outbox = Outbox(tmp_path / "new" / "folder" / "outbox.sqlite")
    assert outbox.counts() == OutboxCounts(0, 0, 0, None, 0, 0, 0, 0, "", None)
    outbox.put_scores([make_score("a")])
    assert outbox.counts().scores == 1


def test_the_database_overwrites_removed_items_and_keeps_commits(tmp_path: Path) -> None:
    for pages, outbox in (
        (77, Outbox(tmp_path / "outbox.sqlite", checkpoint_pages=77)),
        (1_000, Outbox(tmp_path / "other.sqlite")),
    ):
        pragmas = {"secure_delete": 1, "synchronous": 1, "journal_mode": "wal"}
        pragmas |= {"wal_autocheckpoint": pages, "user_version": 2}
        with outbox._read_connection() as connection:
            values = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas}
        assert values == pragmas


def test_a_failing_item_moves_to_the_end_of_the_queue(outbox: Outbox) -> None:
    outbox.put_scores([make_score("poison"), make_score("good")])
    first = outbox.get_next_item()
    assert first is not None
    assert first.id == "poison"
    outbox.record_failure(first, "HTTP 500")
    assert outbox.counts().problem == "HTTP 500"
    assert outbox.counts().problem_at == pytest.approx(time.time(), abs=60)
    assert send_all(outbox) == ["good", "poison"]
    assert outbox.counts().problem == ""


def test_a_refused_score_is_kept_with_its_reason(outbox: Outbox) -> None:
    outbox.put_scores([make_score("bad")])
    item = outbox.get_next_item()
    assert item is not None
    outbox.mark_refused(item, "HTTP 400: no name")
    assert outbox.get_next_item() is None
    assert refused_items(outbox) == [("score", "bad", "HTTP 400: no name")]
    assert (outbox.counts().refused, outbox.counts().scores) == (1, 0)


def test_concurrent_writes_from_threads_are_all_stored(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    first, second = Outbox(path), Outbox(path)

    def put(outbox: Outbox, name: str) -> None:
        for number in range(50):
            outbox.put_scores([make_score(f"{name}-{number}")])

    threads = [
        threading.Thread(target=put, args=(outbox, name))
        for outbox, name in ((first, "a"), (first, "b"), (second, "c"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first.close()
    second.close()
    reopened = Outbox(path)
    assert reopened.counts().scores == 150
    assert len(set(send_all(reopened))) == 150


def test_newer_and_damaged_files_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    Outbox(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(OutboxError, match="schema version 99"):
        Outbox(path)
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(b"not a database at all, but long enough to be read as one" * 20)
    with pytest.raises(OutboxError, match="not a database") as error:
        Outbox(damaged)
    assert "move the file away" in str(error.value) or "restore" in str(error.value)


def test_score_ids_depend_on_every_part_and_its_boundaries() -> None:
    assert score_id("thumbs", "reader", "trace") == score_id("thumbs", "reader", "trace")
    assert score_id("ab", "c") != score_id("a", "bc")
    assert len(score_id("x")) == 32
