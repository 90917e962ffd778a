"""A tool that a client forces: an object by a schema, which a model's server can be held to.

Scope: such a request as one for JSON, and the JSON as a call of the tool. Out of
scope: tools that a model may leave alone (`ignored_parameters.py`), the bounds of a schema
(`response_format.py`).

LangChain's, instructor's and Pydantic AI's ways to structured output force one tool by default.
Shape: https://platform.openai.com/docs/guides/function-calling
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from twin_resources.access.refusals import Refused
from twin_resources.gateway.api.other_apis import CarriedRequest

_OF_TOOLS = ("tools", "tool_choice", "parallel_tool_calls")
REQUIRED = "required"


def from_forced_tool(body: Mapping[str, Any]) -> CarriedRequest | None:
    """Carry a chat request that forces a tool over to one for JSON.

    Returns:
        None: it forces none.

    Raises:
        Refused: 400 a tool that is not in the list, or none in particular of several.
    """
    choice: object = body.get("tool_choice")
    forced = _forced_name(choice)
    if choice != REQUIRED and not forced:
        return None
    functions = _functions(body.get("tools"))
    name = forced or next(iter(functions), "")
    if name not in functions or (choice == REQUIRED and len(functions) > 1):
        raise Refused(
            400,
            "not_given",
            tried="read the request",
            found=f"tool_choice = {choice!r}"[:80] + f" with {len(functions)} tools",
            next_step="force one tool of the list by its name, or send its schema as "
            "response_format; a twin chooses no tools",
            param="tool_choice",
        )
    function = functions[name]
    empty: dict[str, Any] = {"type": "object", "properties": {}}
    schema: Any = function.get("parameters") or empty
    named: dict[str, Any] = {"name": name, "schema": schema}
    if isinstance(function.get("strict"), bool):
        named["strict"] = function["strict"]
    chat = {key: value for key, value in body.items() if key not in _OF_TOOLS}
    chat["response_format"] = {"type": "json_schema", "json_schema": named}
    return CarriedRequest(chat, (), ToolCallConverter(name))


@dataclass
class ToolCallConverter:
    """A chat answer whose text is the arguments of a tool, as a call of it."""

    name: str
    _is_begun: bool = False

    def whole(self, chat: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer in one piece."""
        choices: list[dict[str, Any]] = []
        for choice in chat.get("choices") or ():
            message = dict(choice["message"])
            call = self._call(chat, str(message.get("content") or ""))
            message |= {"content": None, "tool_calls": [call]}
            choices.append(choice | {"message": message, "finish_reason": _reason(choice)})
        return {**chat, "choices": choices}

    def piece(self, chunk: Mapping[str, Any]) -> Iterator[str]:
        """The server-sent event of one chunk of a stream."""
        choices: list[dict[str, Any]] = []
        for choice in chunk.get("choices") or ():
            delta = dict(choice.get("delta") or {})
            text = delta.pop("content", None)
            if text:
                delta["tool_calls"] = [self._delta(chunk, str(text))]
            choices.append(choice | {"delta": delta, "finish_reason": _reason(choice)})
        told = {**chunk, "choices": choices} if "choices" in chunk else chunk
        yield f"data: {json.dumps(told, ensure_ascii=False)}\n\n"

    def end(self) -> Iterator[str]:
        """The events after the last chunk."""
        yield "data: [DONE]\n\n"

    def remember(self) -> None:
        """No chat request names an answer."""

    def _delta(self, chunk: Mapping[str, Any], text: str) -> dict[str, Any]:
        if self._is_begun:
            return {"index": 0, "function": {"arguments": text}}
        self._is_begun = True
        return {"index": 0, **self._call(chunk, text)}

    def _call(self, chat: Mapping[str, Any], arguments: str) -> dict[str, Any]:
        call_id = "call_" + str(chat.get("id")).removeprefix("chatcmpl-")
        function = {"name": self.name, "arguments": arguments}
        return {"id": call_id, "type": "function", "function": function}


def _forced_name(choice: object) -> str:
    if not isinstance(choice, dict):
        return ""
    function = cast("dict[str, Any]", choice).get("function")
    name = cast("dict[str, Any]", function).get("name") if isinstance(function, dict) else None
    return str(name or "")


def _functions(tools: object) -> dict[str, dict[str, Any]]:
    """The functions of a list of tools, by their names."""
    functions: dict[str, dict[str, Any]] = {}
    for tool in cast("list[object]", tools) if isinstance(tools, list) else []:
        fields = cast("dict[str, Any]", tool) if isinstance(tool, dict) else {}
        function: object = fields.get("function")
        if isinstance(function, dict):
            told = cast("dict[str, Any]", function)
            functions[str(told.get("name"))] = told
    return functions


def _reason(choice: Mapping[str, Any]) -> str | None:
    """Of an answer that ended by itself a call; one that was cut off stays one."""
    reason = choice.get("finish_reason")
    return "tool_calls" if reason == "stop" else reason
