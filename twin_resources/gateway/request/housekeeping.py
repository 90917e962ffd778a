"""Answer what a chat program asks for itself: a title, tags, follow-up questions, search queries.

A program says so by the model `twin/<author>@task`, by the header `x-twin-task`, or by the heading
`### Task:` of Open WebUI's templates (https://docs.openwebui.com). No posts are searched and no
model is called.
"""
# pyright: strict

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twin_resources.gateway.request.request_body import ChatRequest

HOUSEKEEPING = "housekeeping"
MAX_TITLE_WORDS = 6
DEFAULT_TITLE = "Conversation"  # used if the request contains no reader's text

_HEADING = re.compile(r"\s*#{2,3} Task:", re.IGNORECASE)
_DOCUMENT = re.compile(r"<context>.*?(?:</context>|\Z)", re.DOTALL | re.IGNORECASE)
_RESULT_KEY = re.compile(r"[{]\s*\"(title|tags|follow_ups|queries|text|prompt|emoji)\"\s*:")
_EMPTY_VALUES = {"tags": ["General"], "follow_ups": [], "queries": []}
_FIRST_USER_MESSAGE = re.compile(
    r"(?:^|\n|>)\s*user\s*:\s*(.+?)(?=\n\s*(?:assistant|user)\s*:|</|$)", re.DOTALL | re.IGNORECASE
)


def housekeeping_answer(chat_request: ChatRequest) -> str:
    """Return the answer to a program's own request, or empty if a reader sent the request.

    It is JSON where the prompt or the request asks for JSON, and otherwise a plain title.
    """
    question = chat_request.question
    has_heading = _HEADING.match(question) is not None and not chat_request.has_named_version
    if not chat_request.is_task and not has_heading:
        return ""
    # A reader's document may contain JSON.
    key = _RESULT_KEY.search(_DOCUMENT.sub("", f"{chat_request.system}\n{question}"))
    if key is None and not chat_request.is_task:
        return ""
    if key is not None and key[1] != "title":
        return json.dumps({key[1]: _EMPTY_VALUES.get(key[1], "")})
    earlier_turns = [turn["content"] for turn in chat_request.history if turn["role"] == "user"]
    message = _FIRST_USER_MESSAGE.search(question)
    first_message = earlier_turns[0] if earlier_turns else message[1] if message else ""
    title = " ".join(first_message.split()[:MAX_TITLE_WORDS]).strip("\"'“”.,;:!?… ")
    title = title or DEFAULT_TITLE
    is_plain = key is None and chat_request.response_format is None
    return title if is_plain else json.dumps({"title": title}, ensure_ascii=False)
