"""Test a batch with the running gateway and with a provider that refuses and fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.http_server import Request, Response, http_server
from tests.live.gateway.stack import PASSAGES, Stack
from twin_resources.errors import TwinError
from twin_resources.gateway.batches.answers import AnswerRow, Journal, journal_path
from twin_resources.gateway.batches.batch_run import BatchTotals, answer_questions
from twin_resources.gateway.batches.questions import BatchQuestion, read_questions

pytestmark = [pytest.mark.live]


class KilledError(Exception):
    """Raised to simulate a batch that is killed after a row."""


def make_questions(*questions: str) -> list[BatchQuestion]:
    return [
        BatchQuestion(str(number), ({"role": "user", "content": text},), "", {})
        for number, text in enumerate(questions)
    ]


def test_a_killed_batch_resumes_and_writes_one_file(stack: Stack, tmp_path: Path) -> None:
    path, output = tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"
    titles = [title for title, _ in PASSAGES]
    lines = [json.dumps({"id": title, "question": f"{title}? {text}"}) for title, text in PASSAGES]
    lines.append(json.dumps({"id": "two", "question": "Oil?", "model": "twin/nobody"}))
    path.write_text("\n".join(lines))
    rows, invalid_rows = read_questions(path)
    assert invalid_rows == []
    options = {"url": f"{stack.url}/v1", "key": stack.key, "model": "twin/ann@voice"}

    def kill_after_one(_done: BatchTotals, _row: AnswerRow) -> None:
        raise KilledError

    first_run = Journal(output)
    with pytest.raises(ExceptionGroup):
        answer_questions(rows, first_run, **options, concurrency=1, on_row=kill_after_one)
    first_run.close()
    assert len(journal_path(output).read_text().splitlines()) == 1

    journal = Journal(output)
    totals = answer_questions(rows, journal, **options, concurrency=2)
    journal.finish(row.fingerprint("twin/ann@voice") for row in rows)
    assert (totals.already_answered, totals.answered, totals.failed) == (1, len(titles) - 1, 1)
    *answered, refused = map(json.loads, output.read_text().splitlines())
    assert [row["id"] for row in (*answered, refused)] == [*titles, "two"]
    assert refused["error"].startswith(("403", "404"))
    for row in answered:
        assert row["answer"]
        assert row["error"] == ""
        assert row["route"]
        assert row["trace_id"]
        assert row["sources"]
    assert totals.cost_usd == pytest.approx(sum(row["cost_usd"] for row in answered[1:]))

    second_run = Journal(output)
    assert answer_questions(rows[:-1], second_run, **options).already_answered == len(titles), (
        "a question was asked twice"
    )
    second_run.close()


@contextmanager
def run_provider(*statuses: int) -> Iterator[tuple[str, list[str]]]:
    """Answer with these statuses in order, then 200; yield the address and the questions asked."""
    remaining, questions = list(statuses), list[str]()
    lock = threading.Lock()

    def respond(request: Request) -> Response:
        with lock:
            status = remaining.pop(0) if remaining else 200
            questions.append(request.document["messages"][-1]["content"])
        if status != 200:
            return Response({"error": {"message": f"no {status}"}}, status, {"Retry-After": "0.01"})
        text = request.document["messages"][-1]["content"].upper()
        completion = {
            "id": "a", "object": "chat.completion", "created": 0,
            "model": request.document["model"],
            "choices": [{"index": 0, "finish_reason": "stop",
                         "message": {"role": "assistant", "content": text}}],
            "twin": {"route": "paid", "version": "paid", "cost_usd": 0.5},
        }  # fmt: skip
        return Response(completion)

    with http_server(respond) as url:
        yield f"{url}/v1", questions


def test_a_temporary_error_is_retried(tmp_path: Path) -> None:
    with run_provider(429, 503) as (url, questions):
        journal = Journal(tmp_path / "answers.jsonl")
        totals = answer_questions(make_questions("a"), journal, url=url, key="k", model="m")
    assert (totals.answered, totals.cost_usd, dict(totals.routes)) == (1, 0.5, {"paid": 1})
    assert questions == ["a"] * 3


def test_a_refused_row_does_not_end_the_batch(tmp_path: Path) -> None:
    with run_provider(200, 422, 200) as (url, _sent):
        output = tmp_path / "answers.jsonl"
        journal = Journal(output)
        rows = make_questions("a", "b", "c")
        totals = answer_questions(rows, journal, url=url, key="k", model="m", concurrency=1)
        journal.finish(row.fingerprint("m") for row in rows)
    assert (totals.answered, totals.failed) == (2, 1)
    answers = [json.loads(line) for line in output.read_text().splitlines()]
    assert [(row["answer"], row["error"]) for row in answers] == [
        ("A", ""),
        ("", "422: no 422"),
        ("C", ""),
    ]


@pytest.mark.parametrize("status", [401, 500])
def test_a_failing_gateway_ends_the_batch_and_keeps_its_answers(
    tmp_path: Path, status: int
) -> None:
    with run_provider(200, *[status] * 20) as (url, _sent):
        journal = Journal(tmp_path / "answers.jsonl")
        rows = make_questions("a", "b")
        with pytest.raises(TwinError, match=f"{status}: no {status}"):
            answer_questions(rows, journal, url=url, key="k", model="m", concurrency=1)
        journal.close()
    with run_provider() as (url, questions):
        journal = Journal(tmp_path / "answers.jsonl")
        totals = answer_questions(make_questions("a", "b"), journal, url=url, key="k", model="m")
        journal.close()
    assert (totals.already_answered, totals.answered, questions) == (1, 1, ["b"])
