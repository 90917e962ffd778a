"""A batch at the running gateway, and beside a provider that refuses, waits and goes away."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from tests.http_server import Request, Response, http_server
from tests.live.gateway.stack import PASSAGES, Stack
from twin_resources.errors import TwinError
from twin_resources.gateway.batches.answers import AnswerRow, Journal, journal_path
from twin_resources.gateway.batches.completing import BatchTotals, complete
from twin_resources.gateway.batches.questions import BatchQuestion, read_questions

pytestmark = [pytest.mark.live]


class Killed(Exception):
    """Stands for the kill of a batch after some rows."""


def asked(*questions: str) -> list[BatchQuestion]:
    return [
        BatchQuestion(str(number), ({"role": "user", "content": text},), "", {})
        for number, text in enumerate(questions)
    ]


def test_a_killed_batch_of_the_gateway_goes_on_and_ends_in_one_table(
    stack: Stack, tmp_path: Path
) -> None:
    path, out = tmp_path / "questions.jsonl", tmp_path / "answers.parquet"
    titles = [title for title, _ in PASSAGES]
    lines = [json.dumps({"id": title, "question": f"{title}? {text}"}) for title, text in PASSAGES]
    lines.append(json.dumps({"id": "two", "question": "Oil?", "model": "twin/nobody"}))
    path.write_text("\n".join(lines))
    rows, broken = read_questions(path)
    assert broken == []
    at = {"url": f"{stack.url}/v1", "key": stack.key, "model": "twin/ann@voice"}

    def killed_after_one(_done: BatchTotals, _row: AnswerRow) -> None:
        raise Killed

    first = Journal(out)
    with pytest.raises(ExceptionGroup):
        complete(rows, first, **at, concurrency=1, on_row=killed_after_one)
    first.close()
    assert len(journal_path(out).read_text().splitlines()) == 1

    journal = Journal(out)
    done = complete(rows, journal, **at, concurrency=2)
    journal.finish(row.fingerprint("twin/ann@voice") for row in rows)
    assert (done.already_answered, done.answered, done.failed) == (1, len(titles) - 1, 1)
    table = pl.read_parquet(out)
    assert table["id"].to_list() == [*titles, "two"]
    assert "404" in table["error"][-1] or "403" in table["error"][-1]
    answered = table.head(len(titles))
    assert answered["answer"].str.len_chars().min() > 0
    assert set(answered["error"]) == {""}
    assert "" not in set(answered["route"]) | set(answered["trace_id"])
    assert answered["sources"].list.len().min() >= 1
    assert done.cost_usd == pytest.approx(answered["cost_usd"][1:].sum())

    again = Journal(out)
    assert complete(rows[:-1], again, **at).already_answered == len(titles), (
        "nothing is asked twice"
    )
    again.close()


@contextmanager
def provider(*statuses: int) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Answers in turn with these statuses, then 200; its address, and the headers it was sent."""
    left, sent = list(statuses), list[dict[str, str]]()
    lock = threading.Lock()

    def answered(request: Request) -> Response:
        with lock:
            status = left.pop(0) if left else 200
            sent.append(dict(request.headers))
        if status != 200:
            return Response({"error": {"message": f"no {status}"}}, status, {"Retry-After": "0.01"})
        text = request.document["messages"][-1]["content"].upper()
        whole = {
            "id": "a", "object": "chat.completion", "created": 0,
            "model": request.document["model"],
            "choices": [{"index": 0, "finish_reason": "stop",
                         "message": {"role": "assistant", "content": text}}],
            "twin": {"route": "paid", "version": "paid", "cost_usd": 0.5},
        }  # fmt: skip
        return Response(whole)

    with http_server(answered) as url:
        yield f"{url}/v1", sent


def test_what_passes_is_tried_again_as_the_same_request(tmp_path: Path) -> None:
    with provider(429, 503) as (url, sent):
        journal = Journal(tmp_path / "answers.jsonl")
        done = complete(asked("a"), journal, url=url, key="k", model="m")
    assert (done.answered, done.cost_usd, dict(done.routes)) == (1, 0.5, {"paid": 1})
    assert len(sent) == 3
    assert len({one["idempotency-key"] for one in sent}) == 1


def test_a_row_that_is_refused_does_not_end_the_batch(tmp_path: Path) -> None:
    with provider(200, 422, 200) as (url, _sent):
        out = tmp_path / "answers.jsonl"
        journal = Journal(out)
        rows = asked("a", "b", "c")
        done = complete(rows, journal, url=url, key="k", model="m", concurrency=1)
        journal.finish(one.fingerprint("m") for one in rows)
    assert (done.answered, done.failed) == (2, 1)
    read = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["answer"], row["error"]) for row in read] == [
        ("A", ""),
        ("", "422: no 422"),
        ("C", ""),
    ]


@pytest.mark.drawn(1)
@pytest.mark.parametrize("status", [401, 500])
def test_a_gateway_that_is_out_of_order_ends_the_batch_and_keeps_what_there_is(
    tmp_path: Path, status: int
) -> None:
    with provider(200, *[status] * 20) as (url, _sent):
        journal = Journal(tmp_path / "answers.jsonl")
        with pytest.raises(TwinError, match=f"{status}: no {status}"):
            complete(asked("a", "b"), journal, url=url, key="k", model="m", concurrency=1)
        journal.close()
    with provider() as (url, sent):
        journal = Journal(tmp_path / "answers.jsonl")
        done = complete(asked("a", "b"), journal, url=url, key="k", model="m")
        journal.close()
    assert (done.already_answered, done.answered, len(sent)) == (1, 1, 1)
