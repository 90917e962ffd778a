"""Requests that chat programs make for themselves, in the shapes of their defaults."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.gateway.exchanges import (
    FakeRetriever,
    create_path,
    find_passage,
    prepare,
)
from twin_resources.gateway.request.housekeeping import HOUSEKEEPING, housekeeping_answer
from twin_resources.gateway.request.request_body import read_question
from twin_resources.settings import Settings

SAID = "How much oil does a clock want, and where does it go?"
HISTORY = f"<chat_history>\nUSER: {SAID}\nASSISTANT: One drop.\n</chat_history>"


def task(wanted: str, form: str) -> str:
    """Open WebUI's shape: a task, its guidelines, the form as JSON, the conversation."""
    return f"### Task:\n{wanted}\n### Output:\nJSON format: {form}\n### Chat History:\n{HISTORY}"


def answer(question: str, *, model: str = "twin/ann", system: str = "") -> str:
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": question})
    found = housekeeping_answer(read_question({"model": model, "messages": messages}))
    return found.text if found else ""


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
        (
            f'[{{"role":"user","content":"{SAID}"}},{{"role":"assistant","content":"One."}}]',
            "Summarize the user's conversation into a title within ten words, no punctuation.",
        ),
        (SAID, "Write a title based on the first message of a chat. Do not use quotes or colons."),
        (SAID, "You are a title generator. You output only a thread title."),
    ],
)
def test_a_title_is_the_readers_first_words(question: str, system: str) -> None:
    assert answer(question, system=system) == "How much oil does a clock"


@pytest.mark.parametrize(
    "asked",
    [
        "Please write a four-word title for our conversation, without quotation marks.",
        "Suggest a short title for this chat. Reply with the title and nothing else.",
        "Generate a title of 3 to 7 words for this conversation, omitting punctuation.",
    ],
)
def test_a_title_may_be_asked_for_behind_the_conversation(asked: str) -> None:
    turns = [{"role": "user", "content": SAID}, {"role": "assistant", "content": "One drop."}]
    body = {"model": "twin/ann", "messages": [*turns, {"role": "user", "content": asked}]}
    found = housekeeping_answer(read_question(body))
    assert found is not None
    assert found.text == "How much oil does a clock"


IN_OTHER_LANGUAGES = {
    "ar": "اكتب عنوان المحادثة بدون علامات ترقيم",
    "cs": "Napiš název té konverzace, třemi až pěti slovy, bez interpunkce.",
    "da": "Find en overskrift til samtalen uden tegnsætning.",
    "de": "Gib unserem Gespräch einen Titel aus vier Wörtern, ohne Satzzeichen.",
    "es": "Pon un título a la conversación, sin puntuación ni comillas.",
    "fr": "Donne un titre de quatre mots à la discussion, sans ponctuation.",
    "id": "Beri judul untuk percakapan ini, tanpa tanda baca.",
    "it": "Scrivi un titolo di 5 parole per la conversazione, senza punteggiatura.",
    "ja": "この会話のタイトルを句読点なしで書いてください",
    "ko": "대화의 제목을 문장 부호 없이 쓰세요",
    "no": "Lag en tittel på fem ord, uten tegnsetting.",
    "pt": "Dê um título à nossa conversa, sem pontuação.",
    "ru": "Придумай заголовок беседы без знаков препинания.",
    "tr": "Sohbet için noktalama işareti kullanmadan bir başlık yaz.",
    "vi": "Đặt tiêu đề cho cuộc trò chuyện, không dùng dấu câu.",
    "zh": "给这段对话起一个十字以内的标题，不要标点",
}


@pytest.mark.parametrize("asked", IN_OTHER_LANGUAGES.values(), ids=IN_OTHER_LANGUAGES)
def test_a_title_may_be_asked_for_in_the_language_of_the_program(asked: str) -> None:
    turns = f"user: {SAID}\nassistant: One drop.\n"
    assert answer(f"{turns}\n{asked}") == "How much oil does a clock"
    below = turns + "assistant: " + "One drop of oil on each pivot. " * 150 + f"\n\n{asked}"
    assert answer(below) == "How much oil does a clock", "below a long conversation"
    said = f'[{{"role": "user", "mainText": "{SAID}"}}]'
    assert answer(said, system=asked) == "How much oil does a clock"


def test_a_translated_task_is_known_by_its_tag_and_its_json() -> None:
    asked = task("Gib Schlagworte", '{ "tags": ["a"] }').replace("### Task:", "### Aufgabe:")
    assert json.loads(answer(asked)) == {"tags": ["General"]}
    assert answer(asked.replace("chat_history", "history")) == ""


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ('Reply with JSON like {"follow_ups": []}', '{"follow_ups": []}'),
        (f"Headline, please!\nUser: {SAID}", "How much oil does a clock"),
    ],
)
def test_a_program_may_say_that_no_reader_asks(asked: str, expected: str) -> None:
    assert answer(asked) == ""
    assert answer(asked, model="twin/ann@task") == expected


@pytest.mark.parametrize(
    "asked",
    [
        "Fasse unser Gespräch kurz zusammen, als Kontext für später, in 200 Zeichen.",
        "Résume la discussion pour servir de contexte, en 200 mots.",
        "请总结这段对话，作为之后的上下文",
    ],
)
def test_a_summary_may_be_asked_for_in_another_language(asked: str) -> None:
    turns = [{"role": "user", "content": SAID}, {"role": "user", "content": asked}]
    found = housekeeping_answer(read_question({"model": "twin/ann", "messages": turns}))
    assert found is not None
    assert found.text == f"The reader asked: {SAID}"


def test_a_summary_for_the_program_repeats_the_readers_questions() -> None:
    asked = "Summarize this conversation briefly, to use as a prompt for later context."
    turns = [{"role": "user", "content": SAID}, {"role": "user", "content": asked}]
    found = housekeeping_answer(read_question({"model": "twin/ann", "messages": turns}))
    assert found is not None
    assert found.text == f"The reader asked: {SAID}"


@pytest.mark.parametrize(
    ("schema", "question", "expected"),
    [
        (
            None,
            "Write a title for the conversation.\nUser: " + SAID,
            {"title": "How much oil does"},
        ),
        ({"name": {"type": "string"}}, task("", '{ "title": "" }'), {"name": "How much oil does"}),
        (
            {"follow_ups": {"type": "array", "items": {"type": "string"}}},
            task("", '{ "follow_ups": [] }'),
            {"follow_ups": []},
        ),
    ],
)
async def test_forced_json_is_json_of_the_schema(
    home: Settings, schema: dict[str, Any] | None, question: str, expected: dict[str, Any]
) -> None:
    form: dict[str, Any] = {"type": "json_object"}
    if schema is not None:
        whole = {"type": "object", "properties": schema, "required": list(schema)}
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": whole}}
    path = create_path(home, FakeRetriever(find_passage))
    prepared = await prepare(path, question, response_format=form)
    assert prepared.fixed_text.front_desk == HOUSEKEEPING
    told = json.loads(prepared.exchange.fixed_answer)
    assert told.keys() == expected.keys()
    assert all(str(told[key]).startswith(str(value)) for key, value in expected.items())


@pytest.mark.parametrize(
    "question",
    [
        SAID,
        "What is the title of your first post?",
        "Which title would you give a talk about clocks?",
        "### Task: tell me how to oil a clock",
        "Tell me about the conversation you had with the clockmaker.",
        "What would be a good title for the conversation between Socrates and Phaedrus?",
        "Which title did you give the talk on clocks, without the subtitle?",
        "Give me only the title of your newest post.",
        "Please summarize your posts on oil in 200 words or less.",
        "Can you name the conversation partner of your post on brass?",
        "Welches Thema hatte dein Gespräch mit dem Uhrmacher, in fünf Wörtern?",
        "Quel est le titre de ta discussion sur le laiton ?",
        "¿Por qué tu título no lleva puntuación?",
        "你和钟表匠的对话主题是什么？",
        "Fasse dein Gespräch mit dem Uhrmacher zusammen.",
        "### Frage:\\nWie oft ölt man eine Uhr?",
        '### Task:\nAnswer.\n<context>{"title": "Elm Road"}</context>\nHow is brass cleaned?',
    ],
)
def test_a_reader_is_no_program(question: str) -> None:
    assert answer(question) == ""


def test_a_site_may_speak_of_titles_in_its_own_instruction() -> None:
    system = "You answer as the author of a blog with the title Springs, without quotation marks. "
    more = "Later in this conversation, write a title for the chat where a reader asks for one."
    assert answer(SAID, system=system) == ""
    assert answer(SAID, system=system * 4 + more) == ""


def test_who_names_a_model_for_it_gets_that_model() -> None:
    assert answer(task("Name it", '{ "title": "x" }'), model="twin/ann@paid") == ""


async def test_no_post_is_looked_for_and_no_reader_is_counted(home: Settings) -> None:
    retriever = FakeRetriever(find_passage)
    prepared = await prepare(create_path(home, retriever), task("Name it", '{ "title": "x" }'))
    assert json.loads(prepared.exchange.fixed_answer) == {"title": "How much oil does a clock"}
    assert retriever.questions == []
    assert (prepared.decision.route, prepared.fixed_text.front_desk) == (
        "front_desk",
        HOUSEKEEPING,
    )
    assert prepared.prefix == "", "the answer is nothing but what the program reads"
