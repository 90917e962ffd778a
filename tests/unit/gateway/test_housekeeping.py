"""The answers to requests that chat programs send on their own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.gateway.exchanges import (
    FakeRetriever,
    create_path,
    find_passage,
    prepare,
    read_chat,
)
from twin_resources.gateway.request.housekeeping import HOUSEKEEPING, housekeeping_answer
from twin_resources.settings import Settings

TITLE = "How much oil does a clock"
QUESTION = "How much oil does a clock want, and where does it go?"
HISTORY = f"<chat_history>\nUSER: {QUESTION}\nASSISTANT: One drop.\n</chat_history>"


def format_task(task: str, example: str) -> str:
    """Return a request as Open WebUI writes it."""
    return f"### Task:\n{task}\n### Output:\nJSON format: {example}\n### Chat History:\n{HISTORY}"


def answer_program(question: str, *turns: str, model: str = "twin/ann", system: str = "") -> str:
    """Return the answer to a program's request after earlier turns, empty if there is none."""
    messages = [{"role": "system", "content": system}] if system else []
    messages += [{"role": "user", "content": turn} for turn in (*turns, question)]
    return housekeeping_answer(read_chat({"model": model, "messages": messages}))


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (format_task("Name it", '{ "title": "your title" }'), {"title": TITLE}),
        (format_task("Give tags", '{ "tags": ["tag1", "tag2"] }'), {"tags": ["General"]}),
        (format_task("Suggest more", '{ "follow_ups": ["Question 1?"] }'), {"follow_ups": []}),
        (format_task("Search?", '{ "queries": ["query1"] }'), {"queries": []}),
        (format_task("Complete it", '{ "text": "<your completion>" }'), {"text": ""}),
    ],
)
def test_a_task_gets_the_requested_json(question: str, expected: dict[str, Any]) -> None:
    assert json.loads(answer_program(question)) == expected


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ('Reply with JSON like {"follow_ups": []}', '{"follow_ups": []}'),
        (f"Headline, please!\nUser: {QUESTION}", TITLE),
    ],
)
def test_a_program_may_mark_its_request_as_a_task(instruction: str, expected: str) -> None:
    assert answer_program(instruction) == ""
    assert answer_program(instruction, model="twin/ann@task") == expected


async def test_a_forced_format_gets_json(home: Settings) -> None:
    path = create_path(home, FakeRetriever(find_passage))
    task = "Name this."
    prepared = await prepare(
        path,
        QUESTION,
        "One drop.",
        task,
        model="twin/ann@task",
        response_format={"type": "json_object"},
    )
    assert prepared.exchange.fixed_text.front_desk == HOUSEKEEPING
    assert json.loads(prepared.exchange.fixed_answer) == {"title": TITLE}


@pytest.mark.parametrize(
    "question",
    [
        QUESTION,
        "What is the title of your first post?",
        "Which title would you give a talk about clocks?",
        "### Task: tell me how to oil a clock",
        "Please write a four-word title for our conversation, without quotation marks.",
        "### Frage:\nWie oft ölt man eine Uhr?",
        '### Task:\nAnswer.\n<context>{"title": "Elm Road"}</context>\nHow is brass cleaned?',
    ],
)
def test_a_readers_question_is_not_housekeeping(question: str) -> None:
    assert answer_program(question) == ""


def test_a_task_for_a_named_model_is_answered_by_that_model() -> None:
    assert answer_program(format_task("Name it", '{ "title": "x" }'), model="twin/ann@paid") == ""


async def test_a_task_is_answered_without_retrieval(home: Settings) -> None:
    retriever = FakeRetriever(find_passage)
    prepared = await prepare(
        create_path(home, retriever), format_task("Name it", '{ "title": "x" }')
    )
    assert json.loads(prepared.exchange.fixed_answer) == {"title": TITLE}
    assert retriever.questions == []
    assert (prepared.decision.route, prepared.exchange.fixed_text.front_desk) == (
        "front_desk",
        HOUSEKEEPING,
    )
    assert prepared.prefix == "", "the program parses the whole answer"
