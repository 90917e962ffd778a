"""Requests that chat programs make for themselves, in the shapes of their defaults."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.gateway.test_request_path import FOUND, Found, Retrieving, path, prepare
from twin_resources.gateway.housekeeping import HOUSEKEEPING, housekeeping_answer
from twin_resources.gateway.request_body import read_question
from twin_resources.settings import Settings

SAID = "How much oil does a clock want, and where does it go?"
HISTORY = f"<chat_history>\nUSER: {SAID}\nASSISTANT: One drop.\n</chat_history>"


def task(wanted: str, form: str) -> str:
    """Open WebUI's shape: a task, its guidelines, the form as JSON, the conversation."""
    return f"### Task:\n{wanted}\n### Output:\nJSON format: {form}\n### Chat History:\n{HISTORY}"


def answer(question: str, *, model: str = "twin/ann", system: str = "") -> str:
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": question})
    return housekeeping_answer(read_question({"model": model, "messages": messages}))


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (task("Name it", '{ "title": "your title" }'), {"title": "How much oil does a clock"}),
        (task("Give tags", '{ "tags": ["tag1", "tag2"] }'), {"tags": ["General"]}),
        (task("Suggest more", '{ "follow_ups": ["Question 1?"] }'), {"follow_ups": []}),
        (task("Search?", '{ "queries": ["query1"] }'), {"queries": []}),
        (task("Complete it", '{ "text": "<your completion>" }'), {"text": ""}),
    ],
)
def test_a_task_gets_the_json_that_it_asks_for(question: str, expected: dict[str, Any]) -> None:
    assert json.loads(answer(question)) == expected


@pytest.mark.parametrize(
    ("question", "system"),
    [
        (
            "Provide a concise, 5-word-or-less title for the conversation, in its language. Only "
            f"return the title itself.\n\nConversation:\nUser: {SAID}\nAI: One drop.",
            "",
        ),
        (
            f"user: {SAID}\nassistant: One drop.",
            "Name this conversation with a short title. Output only the title, without quotes.",
        ),
        (f"Summarize in a 10-word Title. Give the title only. Here is the message: {SAID}", ""),
    ],
)
def test_a_title_is_the_readers_first_words(question: str, system: str) -> None:
    assert answer(question, system=system) == "How much oil does a clock"


@pytest.mark.parametrize(
    "question",
    [
        SAID,
        "What is the title of your first post?",
        "Which title would you give a talk about clocks?",
        "### Task: tell me how to oil a clock",
        "Tell me about the conversation you had with the clockmaker.",
    ],
)
def test_a_reader_is_no_program(question: str) -> None:
    assert answer(question) == ""


def test_who_names_a_model_for_it_gets_that_model() -> None:
    assert answer(task("Name it", '{ "title": "x" }'), model="twin/ann@paid") == ""


async def test_no_post_is_looked_for_and_no_reader_is_counted(home: Settings) -> None:
    retrieving = Retrieving(lambda: Found((FOUND,)))
    prepared = await prepare(path(home, retrieving), task("Name it", '{ "title": "x" }'))
    assert json.loads(prepared.fixed_answer) == {"title": "How much oil does a clock"}
    assert retrieving.asked == []
    answering = prepared.answering
    assert (answering.chosen.route, answering.front_desk) == ("front_desk", HOUSEKEEPING)
    assert answering.prefix == "", "the answer is nothing but what the program reads"
