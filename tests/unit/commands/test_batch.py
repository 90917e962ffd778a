"""`twin batch` against an HTTP server: what stands in the output file, and what is asked again."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from twin_cli.commands.batch import continue_file, read_requests, run_batch

from tests.http_server import Request, Response, http_server
from twin_resources.errors import TwinError
from twin_resources.processes.endpoints import Endpoints, write_endpoints
from twin_resources.settings import Settings


def ask(home: Settings, lines: list[str], *statuses: int) -> tuple[Any, list[str]]:
    """Run a batch against a server that sends these statuses, then 200.

    Returns:
        The command's JSON object or its error, and the questions that reached the server.
    """
    remaining, asked = list(statuses), list[str]()

    def respond(request: Request) -> Response:
        asked.append(request.document["messages"][-1]["content"])
        status = remaining.pop(0) if remaining else 200
        if status != 200:
            return Response({"error": {"message": "no"}}, status, {"Retry-After": "0.01"})
        message = {"role": "assistant", "content": asked[-1].upper()}
        return Response(
            {
                "id": "a", "object": "chat.completion", "created": 0, "model": "m",
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "twin": {"route": "paid", "cost_usd": 0.5},
            }
        )  # fmt: skip

    questions, out = home.home / "questions.jsonl", home.home / "answers.jsonl"
    questions.write_text("\n".join(lines))
    printed = Console(file=io.StringIO(), width=200)
    with http_server(respond) as url:
        write_endpoints(
            Endpoints(
                home=str(home.home), dagster="", gateway=f"{url}/v1", gateway_key="k", models=(),
                traces="", traces_public_key="", traces_secret_key="", logs="", pids={},
            )
        )  # fmt: skip
        try:
            run_batch(
                home, questions, out, author="", model="twin/ann", max_concurrent=1, as_json=True,
                console=printed,
            )  # fmt: skip
        except TwinError as error:
            return error, asked
    return json.loads(printed.file.getvalue()), asked  # pyright: ignore[reportAttributeAccessIssue]


def test_a_batch_goes_on_after_its_last_answer(home: Settings) -> None:
    out = home.home / "answers.jsonl"
    lines = [json.dumps({"id": name, "question": name}) for name in "abc"]
    failure, asked = ask(home, lines, 429, 200, 422, *[500] * 9)
    assert "run the same batch again" in str(failure)
    assert asked[:4] == ["a", "a", "b", "c"]
    with out.open("ab") as file:  # a process that was killed while it wrote
        file.write(b'{"id": "c", "mod')
    lines[0] = json.dumps({"id": "a", "question": "edited"})
    totals, asked = ask(home, lines, 200, 422)
    assert sorted(asked) == ["b", "c", "edited"], "an answered question was asked again"
    assert (totals["kept"], totals["answered"], totals["cost_usd"]) == (0, 2, 1.0)
    assert list(totals["refused"].values()) == ["Error code: 422 - {'error': {'message': 'no'}}"]
    totals, asked = ask(home, lines)
    assert (totals["kept"], totals["refused"], len(asked)) == (2, {}, 1)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(row["answer"] for row in rows) == ["A", "B", "C", "EDITED"]


def test_a_file_that_is_in_use_or_of_another_program_is_left_as_it_is(home: Settings) -> None:
    out = home.home / "answers.jsonl"
    with out.open("a+b") as first, out.open("a+b") as second:
        continue_file(first, out)
        with pytest.raises(TwinError, match="another command is working on it"):
            continue_file(second, out)
    for content in ('{"question": "mine"}\n', "no JSON\n", '{"question": "mine"}'):
        out.write_text(content)
        with out.open("a+b") as file, pytest.raises(TwinError, match="not written by"):
            continue_file(file, out)
        assert out.read_text() == content


def test_a_line_is_a_question_or_messages_or_a_request_of_openai(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    messages = [{"role": "user", "content": "Oil?"}]
    body = {"model": "gpt-4o", "messages": messages, "max_tokens": 20, "label": "mine"}
    lines: list[Any] = [
        {"question": "Oil?", "model": "twin/ann@base"},
        {"id": "b", "messages": messages},
        {"custom_id": "c", "body": body},
        {"question": " "}, {"messages": [{"role": "assistant", "content": "a"}]},
        {"messages": []}, {"messages": ["a"]}, {"prompt": "a"}, [1], {"id": "b", "question": "c"},
    ]  # fmt: skip
    path.write_text("\n".join([*map(json.dumps, lines), "{"]))
    requests, skipped = read_requests(path, "twin/ann")
    assert [(row["id"], row["model"], row["options"]) for row in requests] == [
        ("1", "twin/ann@base", {}), ("b", "twin/ann", {}), ("c", "twin/ann", {"max_tokens": 20}),
    ]  # fmt: skip
    assert all(row["messages"] == messages for row in requests)
    assert list(skipped) == [f"line {number}" for number in range(4, 12)]
    path.write_text("{\n")
    with pytest.raises(TwinError, match="no question in the file; line 1"):
        read_requests(path, "twin/ann")
