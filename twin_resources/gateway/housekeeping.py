"""What chat programs ask a model for themselves: titles, tags, follow-up questions, search queries.

Belongs here: recognising such a request, and the answer that the program gives. Does not belong
here: what readers ask (`front_desk/`).

Open WebUI sends three of them beside a reader's first question, to the model that the reader has
chosen. Nobody reads them as an answer, so no post is looked for, no model writes, and no reader is
counted. The templates are the defaults of Open WebUI, LibreChat, LobeChat and Jan; who has written
another can name a model for such tasks (`twin/<author>@base`, `@paid`).
"""
# pyright: strict

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twin_resources.gateway.request_body import ChatRequest

HOUSEKEEPING = "housekeeping"
MOST_TITLE_WORDS = 6
INSTRUCTION_CHARACTERS = 2000  # an instruction stands at the beginning
TITLE = "Conversation"  # where nothing of the reader is found in the request

_HISTORY = re.compile(r"<chat_history>(.*?)</chat_history>", re.DOTALL | re.IGNORECASE)
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
# An instruction to name a conversation, and nothing else: a reader may ask for a title too, but not
# for "only the title" of "the conversation".
_NAMING = re.compile(
    r"title for (?:the|this) conversation.{0,300}only return the title"
    r"|summari[sz]e in a \d+-word title\. give the title only"
    r"|(?:conversation|chat).{0,200}\btitle\b.{0,300}(?:only|nothing but|just) the title"
    r"|(?:only|nothing but|just) the title\b.{0,300}\b(?:conversation|chat history)",
    re.DOTALL | re.IGNORECASE,
)
_FIRST_SAID = re.compile(
    r"(?:^|\n|\. )\s*(?:user|human|here is the message)\s*:\s*(.+?)"
    r"(?=\n\s*(?:assistant|ai|user|human)\s*:|$)",
    re.DOTALL | re.IGNORECASE,
)


def housekeeping_answer(chat_request: ChatRequest) -> str:
    """The answer to a program's own request, in the form that it asks for.

    Returns:
        JSON or a title; empty: a reader asks.
    """
    if chat_request.names_version:
        return ""  # who names a model has chosen it for this
    asked = chat_request.question
    if _TASK.match(asked):
        key = _KEY.search(asked)
        if key is None:
            return ""
        name = key[1]
        value = _title(chat_request) if name == "title" else _EMPTY[name]
        return json.dumps({name: value}, ensure_ascii=False)
    instructed = f"{chat_request.system[:INSTRUCTION_CHARACTERS]}\n{asked[:INSTRUCTION_CHARACTERS]}"
    return _title(chat_request) if _NAMING.search(instructed) else ""


def _title(chat_request: ChatRequest) -> str:
    """The first words that the reader wrote."""
    before = [turn["content"] for turn in chat_request.history if turn["role"] == "user"]
    inside = _HISTORY.search(chat_request.question)
    text = inside[1] if inside else chat_request.question
    said = _FIRST_SAID.search(text)
    first = before[0] if before else said[1] if said else ""
    if not first and chat_request.system and not inside:
        first = chat_request.question  # the instruction is the system message
    words = first.split()
    title = " ".join(words[:MOST_TITLE_WORDS]).strip("\"'“”.,;:!?… ")
    return title or TITLE
