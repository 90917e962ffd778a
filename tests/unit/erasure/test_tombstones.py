"""The outbox drops answers that were under way, and scores on them; everything else passes."""

from __future__ import annotations

import asyncio
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
from tests.graph.erasure.spans import AUTHOR, encode_spans, span_of, vote
from twin_resources.erasure import outbox_rows
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasure_target import ErasureTarget
from twin_resources.erasure.outbox_rows import OutboxRows
from twin_resources.erasure.state_store import StateStore
from twin_resources.errors import TwinError
from twin_resources.gateway.api.other_apis import convert_responses_request
from twin_resources.gateway.api.recent_responses import RecentResponses
from twin_resources.observability.langfuse.outbox import Outbox, outbox_path, sending_lock
from twin_resources.observability.langfuse.tombstones import read_spans
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State

READER, OTHER = "0123456789abcdef", "fedcba9876543210"
GONE_READER = reader_target(READER)
NOW = datetime.now(UTC)
WAITING_SCORES = "SELECT body FROM waiting WHERE kind = 'score'"


def span(number: int, *, reader: str = OTHER, chunk: str = "c-9", at: datetime = NOW) -> object:
    return span_of(number, reader=reader, question="What?", passage="x", chunk=chunk, at=at)


def traces_in(path: Path) -> list[int]:
    with sqlite3.connect(path) as connection:
        bodies = connection.execute("SELECT body FROM waiting WHERE kind = 'trace'").fetchall()
    connection.close()
    return sorted(int(each.trace_id, 16) for (body,) in bodies for each in read_spans(body))


def scores_in(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        count = connection.execute("SELECT COUNT(*) FROM waiting WHERE kind = 'score'").fetchone()
    connection.close()
    return int(count[0])


@pytest.fixture
def outbox(home: Settings) -> Iterator[Outbox]:
    made_outbox = Outbox(outbox_path(home))
    yield made_outbox
    made_outbox.close()


@pytest.fixture
def place(home: Settings, outbox: Outbox) -> OutboxRows:
    assert outbox.path.is_file()
    return OutboxRows(Installation.for_settings(home))


def test_an_answer_that_ends_after_its_reader_was_forgotten_leaves_no_trace(
    outbox: Outbox, place: OutboxRows
) -> None:
    place.erase(GONE_READER)
    outbox.put_trace(encode_spans(span(1, reader=READER), span(2)))
    outbox.put_scores([vote(1, OTHER, 1.0), vote(2, OTHER, 1.0)], automatic=True)
    assert traces_in(outbox.path) == [2]
    assert scores_in(outbox.path) == 1
    assert outbox.counts().traces == 1
    assert place.find_remaining(GONE_READER) == []
    assert READER not in outbox.path.read_bytes().decode("latin-1")


def test_votes_on_an_answer_go_with_it_and_the_counts_follow(
    outbox: Outbox, place: OutboxRows
) -> None:
    """The waiting span names trace and reader; another reader's vote names only the trace."""
    outbox.put_trace(encode_spans(span(1, reader=READER), span(2)))
    outbox.put_trace(encode_spans(span(3, reader=READER)))
    outbox.put_scores([vote(number, OTHER, 1.0) for number in (1, 2, 3)])
    outbox.put_scores([vote(4, READER, 1.0)])
    assert len(place.find_remaining(GONE_READER)) == 3

    assert place.erase(GONE_READER) == 5, (
        "two exports, two votes on their answers, one of the reader"
    )

    assert traces_in(outbox.path) == [2]
    with sqlite3.connect(outbox.path) as connection:
        scores = [json.loads(body) for (body,) in connection.execute(WAITING_SCORES)]
    connection.close()
    assert [score["traceId"] for score in scores] == [f"{2:032x}"]
    counts = outbox.counts()
    assert (counts.traces, counts.scores) == (1, 1)
    assert place.find_remaining(GONE_READER) == []
    assert place.erase(GONE_READER) == 0


def test_an_erasing_that_fails_takes_nothing_out(
    outbox: Outbox, place: OutboxRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox.put_trace(encode_spans(span(1, reader=READER)))

    def failing(connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(outbox_rows, "_recount", failing)
        with pytest.raises(TwinError, match="disk I/O error"):
            place.erase(GONE_READER)
    assert (traces_in(outbox.path), outbox.count_tombstones()) == ([1], 0)
    assert place.erase(GONE_READER) == 1


def test_an_outbox_of_before_tombstones_gets_them(outbox: Outbox, place: OutboxRows) -> None:
    outbox.put_trace(encode_spans(span(1, reader=READER)))
    path = outbox.path
    outbox.close()
    with sqlite3.connect(path) as connection:
        connection.executescript("DROP TABLE tombstones; PRAGMA user_version = 1")
    connection.close()
    assert place.erase(GONE_READER) == 1
    reopened = Outbox(path)
    assert reopened.count_tombstones() > 0
    reopened.close()


def test_refused_rows_are_erased_too(outbox: Outbox, place: OutboxRows) -> None:
    outbox.put_trace(encode_spans(span(1, reader=READER), span(2)))
    outbox.put_trace(encode_spans(span(3, reader=READER)))
    outbox.put_scores([vote(1, OTHER, 1.0)])
    while (waiting := outbox.get_next_item()) is not None:
        outbox.record_failure(waiting, "HTTP 500: what a server says may quote what it was sent")
        outbox.refuse(waiting, "HTTP 400")
    assert outbox.counts().refused == 3
    assert {"refused 1", "refused 2"} <= set(place.find_remaining(GONE_READER))

    assert place.erase(GONE_READER) == 4, "with what the server said of them"

    assert outbox.counts().problem == ""
    with sqlite3.connect(outbox.path) as connection:
        refused = connection.execute("SELECT kind, body FROM refused").fetchall()
    connection.close()
    assert [kind for kind, _ in refused] == ["trace"]
    assert [int(each.trace_id, 16) for each in read_spans(refused[0][1])] == [2]


def test_a_reader_who_comes_back_is_traced_again_from_then_on(
    outbox: Outbox, place: OutboxRows
) -> None:
    place.erase(GONE_READER)
    outbox.put_scores([vote(3, READER, 1.0)])
    assert scores_in(outbox.path) == 0
    place.lift_tombstones(GONE_READER, until=NOW.timestamp())
    before, after = NOW - timedelta(seconds=5), NOW + timedelta(seconds=5)
    outbox.put_trace(encode_spans(span(1, reader=READER, at=before)))
    outbox.put_trace(encode_spans(span(2, reader=READER, at=after)))
    outbox.put_scores([vote(1, READER, 1.0), vote(2, READER, 1.0)])
    assert traces_in(outbox.path) == [2]
    assert scores_in(outbox.path) == 1, "the vote on the answer that was under way is gone too"


def test_an_answer_that_showed_a_forgotten_passage_leaves_no_trace_ever(
    outbox: Outbox, place: OutboxRows
) -> None:
    chunks, traces = frozenset({"chunk-of-the-post"}), frozenset({f"{7:032x}"})
    target = post_target(AUTHOR, "tea.md", ids=chunks | traces, chunks=chunks, traces=traces)
    place.erase(target)
    place.lift_tombstones(target, until=NOW.timestamp())
    later = NOW + timedelta(hours=1)
    outbox.put_trace(
        encode_spans(span(1, chunk="c-1,chunk-of-the-post", at=later), span(2, at=later))
    )
    outbox.put_scores([vote(7, OTHER, 1.0), vote(2, OTHER, 1.0)])
    assert traces_in(outbox.path) == [2]
    assert scores_in(outbox.path) == 1, "a vote on a trace that was forgotten"


def test_an_answer_of_a_forgotten_author_leaves_no_trace(outbox: Outbox, place: OutboxRows) -> None:
    target = author_target(AUTHOR)
    place.erase(target)
    outbox.put_trace(encode_spans(span(1)))
    assert traces_in(outbox.path) == []
    place.lift_tombstones(target, until=NOW.timestamp())
    outbox.put_trace(encode_spans(span(2, at=NOW + timedelta(seconds=1))))
    assert traces_in(outbox.path) == [2], "somebody else of that name, or the author again"


def test_erasing_waits_for_what_is_on_its_way(outbox: Outbox, place: OutboxRows) -> None:
    outbox.put_trace(encode_spans(span(1, reader=READER)))
    ended: list[float] = []
    erasing = threading.Thread(
        target=lambda: (place.erase(GONE_READER), ended.append(time.monotonic()))
    )
    with sending_lock(outbox.path):
        waiting = outbox.get_next_item()
        assert waiting is not None
        erasing.start()
        deadline = time.monotonic() + 60
        while traces_in(outbox.path) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert traces_in(outbox.path) == [], "what waits is erased at once"
        assert erasing.is_alive()
        arrived = time.monotonic()
    erasing.join(60)
    assert ended
    assert ended[0] > arrived
    # the store refused it after all: it is not kept aside, for it is gone
    outbox.refuse(waiting, "HTTP 400")
    assert outbox.counts().refused == 0
    assert outbox.counts().traces == 0


@pytest.mark.parametrize(
    ("target", "answers"),
    [
        (GONE_READER, 3),
        (author_target(AUTHOR), 3),
        (post_target(AUTHOR, "tea.md", ids=["a"], traces=frozenset({"a"})), 2),
    ],
    ids=["reader", "author", "post"],
)
def test_what_gateways_remember_goes_with_what_was_forgotten(
    home: Settings, outbox: Outbox, place: OutboxRows, target: ErasureTarget, answers: int
) -> None:
    """With a post go the answer whose trace showed it and every conversation with that answer."""
    recent = RecentResponses(lambda: State.open(home.state_address))

    def answer(trace: str, *, author: str = AUTHOR, reader: str = READER, after: str = "") -> None:
        body: dict[str, Any] = {"model": f"twin/{author}@base", "input": "What?"}
        body |= {"previous_response_id": f"resp_{after}"} if after else {}
        choices = [{"message": {"content": "Tea."}}]
        back = convert_responses_request(body, recent, reader).answer_converter
        back.convert_answer({"id": f"chatcmpl-{trace}", "choices": choices})
        back.store_answer()

    def kept() -> set[str]:
        readers = {"a": READER, "b": READER, "c": READER, "d": READER, "e": OTHER}
        return {name for name, reader in readers.items() if recent.turns(reader, name)}

    answer("a")
    answer("b", after="a")
    answer("c", after="b")
    answer("e", author="bo", reader=OTHER)
    assert kept() == {"a", "b", "c", "e"}
    place.erase(target)
    store = StateStore(place.instance)
    assert store.find_remaining(target) == ["gateway_responses"] * answers
    store.erase(target)
    assert store.find_remaining(target) == []
    assert kept() == {"e"}
    assert recent.answer(READER, "a") is None
    assert recent.answer(OTHER, "e") == "Tea."
    answer("a")  # was under way; the tombstone is known already
    answer("d")
    asyncio.run(recent.purge_responses(outbox))
    assert kept() == ({"e"} if answers == 3 else {"d", "e"})
    place.lift_tombstones(target, until=time.time())
    answer("d" if answers == 3 else "f")
    asyncio.run(recent.purge_responses(outbox))
    assert kept() == {"d", "e"}, "who comes back is answered again"
