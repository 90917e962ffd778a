"""What chat programs ask a model for themselves: titles, tags, follow-up questions, search queries.

Belongs here: recognising such a request, and the answer that the program gives. Does not belong
here: what readers ask (`front_desk/`), an answer by a client's schema (`stages/fixed_text.py`).

Open WebUI sends three of them beside a reader's first question, to the model that the reader has
chosen. Nobody reads them as an answer, so no post is looked for, no model writes, and no reader is
counted. The templates are recognised by what the defaults of a dozen programs have in common; who
has written another can name a model for such tasks (`twin/<author>@base`, `@paid`).
"""
# pyright: strict

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twin_resources.gateway.request_body import ChatRequest

HOUSEKEEPING = "housekeeping"
MOST_TITLE_WORDS = 6
MOST_SUMMED_UP, SUMMED_UP_CHARACTERS = 10, 200  # questions of a summary, and of each
INSTRUCTION_CHARACTERS = 2000  # an instruction stands at the beginning
ROLE_CHARACTERS = 300  # a title's instruction opens a system message; a persona's may hold one
LIMIT_CHARACTERS = 400  # between an instruction to name and its limit
TITLE = "Conversation"  # where nothing of the reader is found in the request

_HISTORY = re.compile(r"<chat_history>(.*?)</chat_history>", re.DOTALL | re.IGNORECASE)
_DOCUMENT = re.compile(r"<context>.*?(?:</context>|\Z)", re.DOTALL | re.IGNORECASE)
_KEY = re.compile(r"[{]\s*\"(title|tags|follow_ups|queries|text|prompt|emoji)\"\s*:")
_EMPTY = {
    "tags": ["General"],
    "follow_ups": [],
    "queries": [],
    "text": "",
    "prompt": "",
    "emoji": "",
}
_TASK = re.compile(r"\s*#{2,3} Task:", re.IGNORECASE)
_TOOL_CHOICE = re.compile(r"\s*Available tools:.{0,40000}\"tool_calls\"", re.DOTALL | re.IGNORECASE)
# An instruction names this conversation and limits the output. A reader may ask for a title too,
# but not for "only the title" of "the conversation".
_THIS = (
    r"(?:the|this|our|your) (?:[\w'’]+ ){0,3}?(?:conversation|chat|thread|discussion|dialogue?)s?\b"
)
_THIS_ONE = rf"{_THIS}(?! (?:between|about|partner))"
_NAMING = re.compile(
    rf"\btitle\b[^.\n]{{0,80}}(?:{_THIS_ONE}|first message|user'?s message)"
    r"|summari[sz]e.{0,40}\b(?:conversation|chat|discussion|messages?)\b.{0,40}"
    r"\b(?:in|into|as|by|with) an? (?:[\w-]+ ){0,3}title\b"
    r"|summari[sz]e in a \d+-word title"
    rf"|{_THIS_ONE}.{{0,40}}\b(?:in|into|as|by|with) an? (?:[\w-]+ ){{0,3}}title\b"
    rf"|\bname {_THIS_ONE}"
    r"|\b(?:conversation|chat|thread) title\b|\btitle generator\b",
    re.DOTALL | re.IGNORECASE,
)
_LIMITED = re.compile(
    r"\b(?:only|just|nothing but)\b[^.\n]{0,40}\b(?:title|name)\b"
    r"|\b(?:title|name) only\b|\bnothing else\b|\bno other text\b"
    r"|\b(?:without|omit(?:ting)?|no|(?:do not|don't) use)\b[^.\n]{0,40}"
    r"\b(?:quotes?|quotation marks?|punctuation|colons?|preamble|lead-in|explanations?)\b"
    r"|\bas JSON\b|[{]\s*\"title\"",
    re.IGNORECASE,
)
_SUMMARY = re.compile(
    r"summari[sz]e (?:the|this|our) (?:conversation|chat|discussion)\b.{0,120}"
    r"\b(?:prompt|context|memory|tokens)\b",
    re.DOTALL | re.IGNORECASE,
)
_FIRST_SAID = re.compile(
    r"\"role\"\s*:\s*\"user\",?\s*\"content\"\s*:\s*\"((?:[^\"\\]|\\.)*)"
    r"|(?:^|\n|\. )\s*(?:user|human|here is the message)\s*:\s*(.+?)"
    r"(?=\n\s*(?:assistant|ai|user|human)\s*:|$)",
    re.DOTALL | re.IGNORECASE,
)


@dataclass(frozen=True)
class ProgramAnswer:
    """The answer to a program's own request.

    Attributes:
        key, value: under which name the program's JSON has what. text: as the program asked for
            it, in JSON or plain.
    """

    key: str
    value: str | list[str]
    text: str

    @property
    def document(self) -> str:
        """The answer as a JSON object."""
        return json.dumps({self.key: self.value}, ensure_ascii=False)


def housekeeping_answer(chat_request: ChatRequest) -> ProgramAnswer | None:
    """The answer to a program's own request, in the form that it asks for.

    Returns:
        JSON, a title or a summary; None: a reader asks.
    """
    if chat_request.names_version:
        return None  # who names a model has chosen it for this
    asked = chat_request.question
    if _TASK.match(asked):
        key = _KEY.search(
            _DOCUMENT.sub("", asked)
        )  # a document of the reader holds JSON of its own
        if key is None:
            return None
        name = key[1]
        return _json(name, _title(chat_request) if name == "title" else _EMPTY[name])
    system = chat_request.system[:INSTRUCTION_CHARACTERS]
    if _TOOL_CHOICE.match(chat_request.system):
        return _json("tool_calls", [])
    instruction = asked[:INSTRUCTION_CHARACTERS]
    if _SUMMARY.search(instruction):
        summary = "The reader asked: " + " ".join(_questions(chat_request)[-MOST_SUMMED_UP:])
        return ProgramAnswer("summary", summary, summary)
    for text, begins_within in ((system, ROLE_CHARACTERS), (instruction, len(instruction))):
        naming = _NAMING.search(text)
        if naming is None or naming.start() > begins_within:
            continue
        around = text[max(0, naming.start() - LIMIT_CHARACTERS) : naming.end() + LIMIT_CHARACTERS]
        if chat_request.response_format is not None or _LIMITED.search(around):
            title = _title(chat_request)
            wants_json = _KEY.search(text) is not None
            return _json("title", title) if wants_json else ProgramAnswer("title", title, title)
    return None


def _json(key: str, value: str | list[str]) -> ProgramAnswer:
    return ProgramAnswer(key, value, json.dumps({key: value}, ensure_ascii=False))


def _questions(chat_request: ChatRequest) -> list[str]:
    """What the reader has asked, each cut off as a title is not."""
    turns = [turn["content"] for turn in chat_request.history if turn["role"] == "user"]
    return [turn[:SUMMED_UP_CHARACTERS] for turn in turns]


def _title(chat_request: ChatRequest) -> str:
    """The first words that the reader wrote."""
    before = [turn["content"] for turn in chat_request.history if turn["role"] == "user"]
    inside = _HISTORY.search(chat_request.question)
    text = inside[1] if inside else chat_request.question
    said = _FIRST_SAID.search(text)
    first = before[0] if before else (said[1] or said[2]) if said else ""
    if not first and chat_request.system and not inside:
        first = chat_request.question  # the instruction is the system message
    words = first.split()
    title = " ".join(words[:MOST_TITLE_WORDS]).strip("\"'“”.,;:!?… ")
    return title or TITLE
