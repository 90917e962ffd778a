"""Requests that twelve chat programs send over a whole conversation, in each program's format.

Scope: a program's turns by API, its parameters, and how it attaches a document.
Out of scope: the gateway's responses (`test_gateway_sessions.py`).

The formats come from the programs' sources; the texts are this project's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

OIL, BRASS = "How much oil does a clock need?", "How is old brass cleaned?"
DOCUMENT = "The station at Elm Road has four platforms and a waiting room. " * 300
PICTURE = "data:image/png;base64,iVBORw0KGgo="
Turn = dict[str, Any]
Reference = tuple[list[Turn], Mapping[str, Any]]


@dataclass(frozen=True)
class Program:
    """A chat program.

    Attributes:
        name: the program's name.
        path: path of the API below `/v1/`.
        default_fields: fields that it sends with every question.
        attach: function that builds a message from a question and a document.
        make_reference: function that builds a reference to an answer from its response and the
            earlier turns, or None for a program that sends all turns again.
    """

    name: str
    default_fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    path: str = "chat/completions"
    attach: Callable[[str, str], str] = lambda question, document: f"{document}\n\n{question}"
    make_reference: Callable[[Turn, list[Turn]], Reference] | None = None

    @property
    def uses_responses_api(self) -> bool:
        return self.path == "responses"

    def make_body(self, turns: list[Turn], **fields: Any) -> dict[str, Any]:
        """Return the request for the next answer of a conversation."""
        field_name = "input" if self.uses_responses_api else "messages"
        return {"model": "twin/ann", **self.default_fields, field_name: turns, **fields}

    def make_turn(self, role: str, text: str) -> Turn:
        """Return one turn."""
        if not self.uses_responses_api:
            return {"role": role, "content": text}
        part_type = "output_text" if role == "assistant" else "input_text"
        return {"type": "message", "role": role, "content": [{"type": part_type, "text": text}]}

    def make_picture_turn(self, text: str) -> Turn:
        """Return a reader's turn with a picture."""
        if self.uses_responses_api:
            part: Any = {"type": "input_image", "image_url": PICTURE, "detail": "auto"}
            return {"role": "user", "content": [{"type": "input_text", "text": text}, part]}
        part = {"type": "image_url", "image_url": {"url": PICTURE}}
        return {"role": "user", "content": [{"type": "text", "text": text}, part]}

    def make_tool_turns(self) -> list[Turn]:
        """Return another model's tool call and its result."""
        if self.uses_responses_api:
            call = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
            return [call, {"type": "function_call_output", "call_id": "c1", "output": "A clock."}]
        function = {"name": "look", "arguments": "{}"}
        call = {"id": "c1", "type": "function", "function": function}
        return [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "A clock."},
        ]


def _wrap_in_tags(question: str, document: str) -> str:
    return (
        "### Task:\nAnswer the query with the context, and cite its sources.\n\n"
        f'<context>\n<source id="1" name="a.json">{{"title": "{document}"}}</source>\n</context>\n'
        f"\n<user_query>\n{question}\n</user_query>"
    )


def _refer_by_item(answer: Turn, earlier_turns: list[Turn]) -> Reference:
    references = [{"type": "item_reference", "id": item["id"]} for item in answer["output"]]
    return [*earlier_turns, *references], {}


def _refer_by_response(answer: Turn, _: list[Turn]) -> Reference:
    return [], {"previous_response_id": answer["id"]}


def _put_question_first(question: str, document: str) -> str:
    return f"{question}\n\n<files>\n<file name='a.txt'>{document}</file>\n</files>"


_STREAM = {"stream": True, "stream_options": {"include_usage": True}}
TOOL = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {}}},
}
PROGRAMS = (
    Program(
        "Open WebUI",
        {**_STREAM, "temperature": 0.3, "reasoning": {"effort": "low"}},
        attach=_wrap_in_tags,
    ),
    Program(
        "LibreChat",
        {**_STREAM, "n": 1, "user": "665f1c0e9b1d8a0012345678", "tools": [TOOL]},
    ),
    Program(
        "LobeChat",
        {**_STREAM, "frequency_penalty": 0, "presence_penalty": 0, "top_p": 1},
        attach=_put_question_first,
    ),
    Program(
        "Jan",
        {"stream": True, "top_k": 40, "min_p": 0.05, "repeat_penalty": 1.1, "cache_prompt": True},
    ),
    Program(
        "NextChat",
        {**_STREAM, "presence_penalty": 0, "frequency_penalty": 0, "top_p": 1},
    ),
    Program(
        "Cherry Studio",
        {**_STREAM, "enable_thinking": False, "chat_template_kwargs": {"enable_thinking": False}},
        attach=_put_question_first,
    ),
    Program(
        "SillyTavern",
        {"stream": True, "top_k": 0, "top_a": 0, "min_p": 0, "repetition_penalty": 1, "stop": []},
    ),
    Program(
        "Continue",
        {"stream": True, "max_tokens": 4096, "tools": [TOOL], "tool_choice": "auto"},
        attach=_put_question_first,
    ),
    Program(
        "AI SDK, chat",
        dict(_STREAM),
    ),
    Program(
        "AI SDK, Responses",
        {"stream": True, "include": ["reasoning.encrypted_content"]},
        path="responses",
        make_reference=_refer_by_item,
    ),
    Program(
        "LangChain",
        {"temperature": 0.7, "n": 1, "tools": [TOOL], "parallel_tool_calls": True},
    ),
    Program(
        "openai for Python, Responses",
        path="responses",
        make_reference=_refer_by_response,
    ),
)
