"""Convert a request that forces a tool call into one for JSON that matches the tool's schema.

Scope: converting the request, and converting the JSON answer into a call to the tool.
Out of scope: tools that the model may choose not to call (`ignored_parameters.py`), and the limits
of a schema (`response_format.py`).

LangChain, instructor and Pydantic AI force one tool by default to get structured output.
Format: https://platform.openai.com/docs/guides/function-calling
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from twin_resources.access.refusals import bad_request
from twin_resources.gateway.api.other_apis import AnswerConverter, ConvertedRequest
from twin_resources.gateway.exchange.fixed_answers import encode_event

_TOOL_KEYS = ("tools", "tool_choice", "parallel_tool_calls")
REQUIRED = "required"


def convert_forced_tool(body: Mapping[str, Any]) -> ConvertedRequest | None:
    """Convert a chat request that forces a tool call into a request for JSON.

    Returns:
        The converted request, or None if the request forces no tool.

    Raises:
        RefusedError: 400 if the forced tool is not in the list, or if several tools are listed and
            the request does not name one.
    """
    choice: object = body.get("tool_choice")
    forced_name = _forced_tool_name(choice)
    if choice != REQUIRED and not forced_name:
        return None
    functions = _functions_by_name(body.get("tools"))
    name = forced_name or next(iter(functions), "")
    if name not in functions or (choice == REQUIRED and len(functions) > 1):
        raise bad_request(
            "tool_choice",
            found=f"tool_choice = {choice!r}"[:80] + f" with {len(functions)} tools",
            next_step="name one of the listed tools, or send its schema as response_format; a twin "
            "does not choose between tools",
            code="not_given",
        )
    function = functions[name]
    empty_schema: dict[str, Any] = {"type": "object", "properties": {}}
    schema: Any = function.get("parameters") or empty_schema
    json_schema: dict[str, Any] = {"name": name, "schema": schema}
    if isinstance(function.get("strict"), bool):
        json_schema["strict"] = function["strict"]
    converted_body = {key: value for key, value in body.items() if key not in _TOOL_KEYS}
    converted_body["response_format"] = {"type": "json_schema", "json_schema": json_schema}
    return ConvertedRequest(converted_body, (), ToolCallConverter(name))


@dataclass
class ToolCallConverter(AnswerConverter):
    """Converter that turns a chat answer, whose text is a tool's arguments, into a tool call."""

    tool_name: str
    _has_started: bool = False

    def convert_answer(self, completion: Mapping[str, Any]) -> Mapping[str, Any]:
        """Convert a whole answer."""
        choices: list[dict[str, Any]] = []
        for choice in completion.get("choices") or ():
            message = dict(choice["message"])
            call = self._tool_call(completion, str(message.get("content") or ""))
            message |= {"content": None, "tool_calls": [call]}
            choices.append(choice | {"message": message, "finish_reason": _finish_reason(choice)})
        return {**completion, "choices": choices}

    def convert_chunk(self, chunk: Mapping[str, Any]) -> Iterator[bytes]:
        """Yield the server-sent event of one chunk."""
        choices: list[dict[str, Any]] = []
        for choice in chunk.get("choices") or ():
            delta = dict(choice.get("delta") or {})
            text = delta.pop("content", None)
            if text:
                delta["tool_calls"] = [self._tool_call_delta(chunk, str(text))]
            choices.append(choice | {"delta": delta, "finish_reason": _finish_reason(choice)})
        converted_chunk = {**chunk, "choices": choices} if "choices" in chunk else chunk
        yield encode_event(converted_chunk)

    def _tool_call_delta(self, chunk: Mapping[str, Any], text: str) -> dict[str, Any]:
        if self._has_started:
            return {"index": 0, "function": {"arguments": text}}
        self._has_started = True
        return {"index": 0, **self._tool_call(chunk, text)}

    def _tool_call(self, completion: Mapping[str, Any], arguments: str) -> dict[str, Any]:
        call_id = "call_" + str(completion.get("id")).removeprefix("chatcmpl-")
        function = {"name": self.tool_name, "arguments": arguments}
        return {"id": call_id, "type": "function", "function": function}


def _forced_tool_name(choice: object) -> str:
    if not isinstance(choice, dict):
        return ""
    function = cast("dict[str, Any]", choice).get("function")
    name = cast("dict[str, Any]", function).get("name") if isinstance(function, dict) else None
    return str(name or "")


def _functions_by_name(tools: object) -> dict[str, dict[str, Any]]:
    """Return the functions of a list of tools by name."""
    functions: dict[str, dict[str, Any]] = {}
    for tool in cast("list[object]", tools) if isinstance(tools, list) else []:
        fields = cast("dict[str, Any]", tool) if isinstance(tool, dict) else {}
        entry: object = fields.get("function")
        if isinstance(entry, dict):
            function = cast("dict[str, Any]", entry)
            functions[str(function.get("name"))] = function
    return functions


def _finish_reason(choice: Mapping[str, Any]) -> str | None:
    """Return the finish reason, with `stop` replaced by `tool_calls`."""
    reason = choice.get("finish_reason")
    return "tool_calls" if reason == "stop" else reason
