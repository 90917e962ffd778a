"""Test the answers to requests that chat programs send on their own, with default prompts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.gateway.exchanges import FakeRetriever, create_path, find_passage, prepare
from twin_resources.gateway.request.housekeeping import HOUSEKEEPING, housekeeping_answer
from twin_resources.gateway.request.request_body import read_question
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
    program_answer = housekeeping_answer(read_question({"model": model, "messages": messages}))
    return program_answer.text if program_answer else ""


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
    ("question", "system"),
    [
        (
            "Provide a concise, 5-word-or-less title for the conversation, in its language. Only "
            f"return the title itself.\n\nConversation:\nUser: {QUESTION}\nAI: One drop.",
            "",
        ),
        (
            f"user: {QUESTION}\nassistant: One drop.",
            "Name this conversation with a short title. Output only the title, without quotes.",
        ),
        (f"Summarize in a 10-word Title. Give the title only. Here is the message: {QUESTION}", ""),
        (
            f'[{{"role":"user","content":"{QUESTION}"}},{{"role":"assistant","content":"One."}}]',
            "Summarize the user's conversation into a title within ten words, no punctuation.",
        ),
        (
            QUESTION,
            "Write a title based on the first message of a chat. Do not use quotes or colons.",
        ),
        (QUESTION, "You are a title generator. You output only a thread title."),
    ],
)
def test_a_title_consists_of_the_readers_first_words(question: str, system: str) -> None:
    assert answer_program(question, system=system) == TITLE


@pytest.mark.parametrize(
    "instruction",
    [
        "Please write a four-word title for our conversation, without quotation marks.",
        "Suggest a short title for this chat. Reply with the title and nothing else.",
        "Generate a title of 3 to 7 words for this conversation, omitting punctuation.",
    ],
)
def test_a_title_may_be_requested_after_the_conversation(instruction: str) -> None:
    assert answer_program(instruction, QUESTION, "One drop.") == TITLE


TITLE_INSTRUCTIONS = {
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


@pytest.mark.parametrize("instruction", TITLE_INSTRUCTIONS.values(), ids=TITLE_INSTRUCTIONS)
def test_a_title_may_be_requested_in_any_supported_language(instruction: str) -> None:
    turns = f"user: {QUESTION}\nassistant: One drop.\n"
    assert answer_program(f"{turns}\n{instruction}") == TITLE
    long_request = (
        turns + "assistant: " + "One drop of oil on each pivot. " * 150 + f"\n\n{instruction}"
    )
    assert answer_program(long_request) == TITLE, "after a long conversation"
    messages_json = f'[{{"role": "user", "mainText": "{QUESTION}"}}]'
    assert answer_program(messages_json, system=instruction) == TITLE


def test_a_translated_task_is_recognized_by_its_tag_and_json() -> None:
    instruction = format_task("Gib Schlagworte", '{ "tags": ["a"] }').replace(
        "### Task:", "### Aufgabe:"
    )
    assert json.loads(answer_program(instruction)) == {"tags": ["General"]}
    assert answer_program(instruction.replace("chat_history", "history")) == ""


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


@pytest.mark.parametrize(
    "instruction",
    [
        "Summarize this conversation briefly, to use as a prompt for later context.",
        "Fasse unser Gespräch kurz zusammen, als Kontext für später, in 200 Zeichen.",
        "Résume la discussion pour servir de contexte, en 200 mots.",
        "请总结这段对话，作为之后的上下文",
    ],
)
def test_a_summary_repeats_the_readers_questions(instruction: str) -> None:
    assert answer_program(instruction, QUESTION) == f"The reader asked: {QUESTION}"


@pytest.mark.parametrize(
    ("schema", "question", "expected"),
    [
        (
            None,
            "Write a title for the conversation.\nUser: " + QUESTION,
            {"title": "How much oil does"},
        ),
        (
            {"name": {"type": "string"}},
            format_task("", '{ "title": "" }'),
            {"name": "How much oil does"},
        ),
        (
            {"follow_ups": {"type": "array", "items": {"type": "string"}}},
            format_task("", '{ "follow_ups": [] }'),
            {"follow_ups": []},
        ),
    ],
)
async def test_a_forced_schema_is_followed(
    home: Settings, schema: dict[str, Any] | None, question: str, expected: dict[str, Any]
) -> None:
    response_format: dict[str, Any] = {"type": "json_object"}
    if schema is not None:
        document_schema = {"type": "object", "properties": schema, "required": list(schema)}
        response_format = {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": document_schema},
        }
    path = create_path(home, FakeRetriever(find_passage))
    prepared = await prepare(path, question, response_format=response_format)
    assert prepared.fixed_text.front_desk == HOUSEKEEPING
    document = json.loads(prepared.exchange.fixed_answer)
    assert document.keys() == expected.keys()
    assert all(str(document[key]).startswith(str(value)) for key, value in expected.items())


@pytest.mark.parametrize(
    "question",
    [
        QUESTION,
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
def test_a_readers_question_is_not_housekeeping(question: str) -> None:
    assert answer_program(question) == ""


def test_a_system_message_about_titles_is_not_housekeeping() -> None:
    system = "You answer as the author of a blog with the title Springs, without quotation marks. "
    suffix = "Later in this conversation, write a title for the chat where a reader asks for one."
    assert answer_program(QUESTION, system=system) == ""
    assert answer_program(QUESTION, system=system * 4 + suffix) == ""


def test_a_task_for_a_named_model_is_answered_by_that_model() -> None:
    assert answer_program(format_task("Name it", '{ "title": "x" }'), model="twin/ann@paid") == ""


async def test_a_task_is_answered_without_retrieval(home: Settings) -> None:
    retriever = FakeRetriever(find_passage)
    prepared = await prepare(
        create_path(home, retriever), format_task("Name it", '{ "title": "x" }')
    )
    assert json.loads(prepared.exchange.fixed_answer) == {"title": TITLE}
    assert retriever.questions == []
    assert (prepared.decision.route, prepared.fixed_text.front_desk) == ("front_desk", HOUSEKEEPING)
    assert prepared.prefix == "", "the program parses the whole answer"
