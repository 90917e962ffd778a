"""Test that the outbox drops erased answers that were in progress, and their scores."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.erasure_targets import author_target, post_target, reader_target
from tests.graph.erasure.spans import AUTHOR, encode_spans, make_span, make_vote
from twin_resources.erasure import outbox_rows
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasure_target import ErasureTarget
from twin_resources.erasure.outbox_rows import OutboxRows
from twin_resources.erasure.state_store import StateStore
from twin_resources.errors import TwinError
from twin_resources.gateway.api.recent_responses import RecentResponses
from twin_resources.observability.langfuse.outbox import Outbox, outbox_path, sending_lock
from twin_resources.observability.langfuse.tombstones import read_spans
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state

READER, OTHER = "0123456789abcdef", "fedcba9876543210"
ERASED_READER = reader_target(READER)
NOW = datetime.now(UTC)
WAITING_SCORES = "SELECT body FROM waiting WHERE kind = 'score'"


def build_span(
    number: int, *, reader: str = OTHER, chunk: str = "c-9", at: datetime = NOW
) -> object:
    return make_span(number, reader=reader, question="What?", passage="x", chunk=chunk, at=at)


def read_traces(path: Path) -> list[int]:
    with sqlite3.connect(path) as connection:
        bodies = connection.execute("SELECT body FROM waiting WHERE kind = 'trace'").fetchall()
    connection.close()
    return sorted(int(span.trace_id, 16) for (body,) in bodies for span in read_spans(body))


@pytest.fixture
def outbox(home: Settings) -> Iterator[Outbox]:
    outbox = Outbox(outbox_path(home))
    yield outbox
    outbox.close()


@pytest.fixture
def store(home: Settings, outbox: Outbox) -> OutboxRows:
    assert outbox.path.is_file()
    return OutboxRows(Installation.for_settings(home))


def test_an_answer_finished_after_the_erasure_of_its_reader_is_dropped(
    outbox: Outbox, store: OutboxRows
) -> None:
    store.erase(ERASED_READER)
    outbox.put_trace(encode_spans(build_span(1, reader=READER), build_span(2)))
    outbox.put_scores([make_vote(1, OTHER, 1.0), make_vote(2, OTHER, 1.0)], automatic=True)
    assert read_traces(outbox.path) == [2]
    assert outbox.counts().scores == 1
    assert outbox.counts().traces == 1
    assert store.find_remaining(ERASED_READER) == []
    assert READER not in outbox.path.read_bytes().decode("latin-1")


def test_votes_on_an_answer_are_erased_and_the_counts_updated(
    outbox: Outbox, store: OutboxRows
) -> None:
    """A span in the outbox names its trace and reader; another reader's vote names the trace."""
    outbox.put_trace(encode_spans(build_span(1, reader=READER), build_span(2)))
    outbox.put_trace(encode_spans(build_span(3, reader=READER)))
    outbox.put_scores([make_vote(number, OTHER, 1.0) for number in (1, 2, 3)])
    outbox.put_scores([make_vote(4, READER, 1.0)])
    assert len(store.find_remaining(ERASED_READER)) == 3

    assert store.erase(ERASED_READER) == 5, (
        "two exports, two votes on their answers and one vote of the reader"
    )

    assert read_traces(outbox.path) == [2]
    with sqlite3.connect(outbox.path) as connection:
        scores = [json.loads(body) for (body,) in connection.execute(WAITING_SCORES)]
    connection.close()
    assert [score["traceId"] for score in scores] == [f"{2:032x}"]
    counts = outbox.counts()
    assert (counts.traces, counts.scores) == (1, 1)
    assert store.find_remaining(ERASED_READER) == []
    assert store.erase(ERASED_READER) == 0


def test_a_failed_erasure_deletes_nothing(
    outbox: Outbox, store: OutboxRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox.put_trace(encode_spans(build_span(1, reader=READER)))

    def fail(connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(outbox_rows, "_update_counts", fail)
        with pytest.raises(TwinError, match="disk I/O error"):
            store.erase(ERASED_READER)
    assert (read_traces(outbox.path), outbox.count_tombstones()) == ([1], 0)
    assert store.erase(ERASED_READER) == 1


def test_rows_that_the_trace_store_refused_are_erased_too(
    outbox: Outbox, store: OutboxRows
) -> None:
    outbox.put_trace(encode_spans(build_span(1, reader=READER), build_span(2)))
    outbox.put_trace(encode_spans(build_span(3, reader=READER)))
    outbox.put_scores([make_vote(1, OTHER, 1.0)])
    while (waiting := outbox.get_next_item()) is not None:
        outbox.record_failure(waiting, "HTTP 500: a server's message may quote the request")
        outbox.mark_refused(waiting, "HTTP 400")
    assert outbox.counts().refused == 3
    assert {"refused 1", "refused 2"} <= set(store.find_remaining(ERASED_READER))

    assert store.erase(ERASED_READER) == 4, "three rows and the server message"

    assert outbox.counts().problem == ""
    with sqlite3.connect(outbox.path) as connection:
        refused = connection.execute("SELECT kind, body FROM refused").fetchall()
    connection.close()
    assert [kind for kind, _ in refused] == ["trace"]
    assert [int(span.trace_id, 16) for span in read_spans(refused[0][1])] == [2]


def test_a_returning_reader_is_traced_from_then_on(outbox: Outbox, store: OutboxRows) -> None:
    store.erase(ERASED_READER)
    outbox.put_scores([make_vote(3, READER, 1.0)])
    assert outbox.counts().scores == 0
    store.limit_tombstones(ERASED_READER, until=NOW.timestamp())
    before, after = NOW - timedelta(seconds=5), NOW + timedelta(seconds=5)
    outbox.put_trace(encode_spans(build_span(1, reader=READER, at=before)))
    outbox.put_trace(encode_spans(build_span(2, reader=READER, at=after)))
    outbox.put_scores([make_vote(1, READER, 1.0), make_vote(2, READER, 1.0)])
    assert read_traces(outbox.path) == [2]
    assert outbox.counts().scores == 1, "the vote on the dropped answer was stored"


def test_an_answer_with_a_forgotten_passage_is_never_traced(
    outbox: Outbox, store: OutboxRows
) -> None:
    chunks, traces = frozenset({"chunk-of-the-post"}), frozenset({f"{7:032x}"})
    target = post_target(AUTHOR, "tea.md", ids=chunks | traces, chunks=chunks, traces=traces)
    store.erase(target)
    store.limit_tombstones(target, until=NOW.timestamp())
    later = NOW + timedelta(hours=1)
    outbox.put_trace(
        encode_spans(
            build_span(1, chunk="c-1,chunk-of-the-post", at=later), build_span(2, at=later)
        )
    )
    outbox.put_scores([make_vote(7, OTHER, 1.0), make_vote(2, OTHER, 1.0)])
    assert read_traces(outbox.path) == [2]
    assert outbox.counts().scores == 1, "a vote on a forgotten trace was stored"


def test_an_answer_of_a_forgotten_author_is_not_traced(outbox: Outbox, store: OutboxRows) -> None:
    target = author_target(AUTHOR)
    store.erase(target)
    outbox.put_trace(encode_spans(build_span(1)))
    assert read_traces(outbox.path) == []
    store.limit_tombstones(target, until=NOW.timestamp())
    outbox.put_trace(encode_spans(build_span(2, at=NOW + timedelta(seconds=1))))
    assert read_traces(outbox.path) == [2], "an author who returns is not traced"


def test_an_erasure_waits_for_a_row_that_is_being_sent(outbox: Outbox, store: OutboxRows) -> None:
    outbox.put_trace(encode_spans(build_span(1, reader=READER)))
    end_times: list[float] = []
    erasure_thread = threading.Thread(
        target=lambda: (store.erase(ERASED_READER), end_times.append(time.monotonic()))
    )
    with sending_lock(outbox.path):
        waiting = outbox.get_next_item()
        assert waiting is not None
        erasure_thread.start()
        deadline = time.monotonic() + 60
        while read_traces(outbox.path) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert read_traces(outbox.path) == [], "a row was not erased at once"
        assert erasure_thread.is_alive()
        sent_at = time.monotonic()
    erasure_thread.join(60)
    assert end_times
    assert end_times[0] > sent_at
    # A row that is refused after its erasure is not stored again.
    outbox.mark_refused(waiting, "HTTP 400")
    assert outbox.counts().refused == 0
    assert outbox.counts().traces == 0


@pytest.mark.long
@pytest.mark.parametrize(
    ("target", "erased_count"),
    [
        (ERASED_READER, 3),
        (author_target(AUTHOR), 3),
        (post_target(AUTHOR, "tea.md", ids=["a"], traces=frozenset({"a"})), 2),
    ],
    ids=["reader", "author", "post"],
)
def test_stored_responses_of_gateways_are_erased(
    home: Settings, outbox: Outbox, store: OutboxRows, target: ErasureTarget, erased_count: int
) -> None:
    """Erasing a post deletes the answer that showed it and every conversation with that answer."""
    responses = RecentResponses(lambda: open_home_state(home), outbox)

    def answer(trace: str, *, author: str = AUTHOR, reader: str = READER, after: str = "") -> None:
        body: dict[str, Any] = {"model": f"twin/{author}@base", "input": "What?"}
        body |= {"previous_response_id": f"resp_{after}"} if after else {}
        _, store_answer = responses.replace_references(body, reader)
        assert store_answer is not None
        store_answer(trace, "Tea.")

    def list_stored_answers() -> set[str]:
        readers = {"a": READER, "b": READER, "c": READER, "d": READER, "e": OTHER}
        return {name for name, reader in readers.items() if responses.load_turns(reader, name)}

    answer("a")
    answer("b", after="a")
    answer("c", after="b")
    answer("e", author="bo", reader=OTHER)
    assert list_stored_answers() == {"a", "b", "c", "e"}
    store.erase(target)
    state_store = StateStore(store.installation)
    assert state_store.find_remaining(target) == ["gateway_responses"] * erased_count
    state_store.erase(target)
    assert state_store.find_remaining(target) == []
    assert list_stored_answers() == {"e"}
    assert responses.load_answer(READER, "a") is None
    assert responses.load_answer(OTHER, "e") == "Tea."
    answer("a")  # finished after the erasure, so its tombstone exists
    answer("d")
    assert list_stored_answers() == ({"e"} if erased_count == 3 else {"d", "e"})
    store.limit_tombstones(target, until=time.time())
    answer("d" if erased_count == 3 else "f")
    assert list_stored_answers() == {"d", "e"}, "the answer to a returning reader was dropped"
