"""Convert OpenAI's other two APIs, `/v1/responses` and `/v1/completions`, to the chat API.

Scope: converting their requests to chat requests, and chat answers to their format, whole and
streamed.
Out of scope: the chat request (`request_body.py`), and the connection (`routes.py`).

LiteLLM also has both routes, but they bypass parts of the plugin. Their answers have no `choices`,
so quotations, the ending at a sentence and the field `twin` would each need a second
implementation. Because both APIs are converted to the chat API, they use the same plugin. A
conversation that names an earlier answer is assembled from `recent_responses.py`. An answer that is
no longer stored is listed in `twin.ignored`.

Formats: https://platform.openai.com/docs/api-reference/responses and …/completions
"""
# pyright: strict

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, cast

from twin_resources.access.refusals import bad_request
from twin_resources.gateway.api.recent_responses import (
    ANSWER_REFERENCE_KEY,
    MESSAGE_PREFIX,
    RESPONSE_PREFIX,
    RecentResponses,
    RequestOrigin,
)
from twin_resources.gateway.exchange.fixed_answers import DONE_EVENT, encode_event
from twin_resources.gateway.request.ignored_parameters import IGNORED_KEYS, is_accepted_value
from twin_resources.gateway.request.request_body import (
    ALLOWED_KEYS,
    MAX_REPEATED_CHARACTERS,
    refuse_unknown_keys,
)

_SAMPLING_KEYS = frozenset(
    {"temperature", "top_p", "stop", "seed", "presence_penalty", "frequency_penalty"}
)
# Accepted only with these values or null. Other values would change the answer.
_COMPLETIONS_DEFAULTS: Mapping[str, tuple[object, ...]] = MappingProxyType(
    {"suffix": ("",), "echo": (False,), "best_of": (1,)}
)
_RESPONSES_DEFAULTS: Mapping[str, tuple[object, ...]] = MappingProxyType(
    {"conversation": (), "prompt": (), "background": (False,)}
)
# Accepted with any value and listed in `twin.ignored`, like the ignored keys of the chat API.
_IGNORED_RESPONSES_KEYS = ("truncation", "include", "max_tool_calls")
_COMPLETIONS_KEYS = (
    _SAMPLING_KEYS
    | IGNORED_KEYS
    | _COMPLETIONS_DEFAULTS.keys()
    | {"model", "prompt", "max_tokens", "stream", "stream_options"}
)
_RESPONSES_KEYS = (
    _SAMPLING_KEYS
    | IGNORED_KEYS
    | _RESPONSES_DEFAULTS.keys()
    | set(_IGNORED_RESPONSES_KEYS)
    | {"previous_response_id"}
    | {"model", "input", "instructions", "max_output_tokens", "text", "stream", "stream_options"}
)


class AnswerConverter(ABC):
    """Converter of the answer to one chat request into the format of another API."""

    @abstractmethod
    def convert_answer(self, completion: Mapping[str, Any]) -> Mapping[str, Any]:
        """Convert a whole answer."""

    @abstractmethod
    def convert_chunk(self, chunk: Mapping[str, Any]) -> Iterator[bytes]:
        """Yield the server-sent events of one chunk, each followed by an empty line."""

    def end_events(self) -> Iterator[bytes]:
        """Yield the events after the last chunk."""
        yield DONE_EVENT

    def store_answer(self) -> None:  # noqa: B027 - only the Responses API names earlier answers
        """Store the finished answer if a later request may name it. Writes to the state store."""


@dataclass(frozen=True)
class ConvertedRequest:
    """A request to another API, converted to a chat request.

    Attributes:
        chat: the equivalent chat request, as a client would send it.
        ignored: names of the request's fields that have no effect.
        answer_converter: converts the answer to the other API's format.
    """

    chat: dict[str, Any]
    ignored: tuple[str, ...]
    answer_converter: AnswerConverter


def convert_completions_request(body: Mapping[str, Any], *_: object) -> ConvertedRequest:
    """Convert a request to `/v1/completions`; its prompt becomes the question.

    Raises:
        RefusedError: 400 if a key or a value is not supported.
    """
    refuse_unknown_keys(body, frozenset(_COMPLETIONS_KEYS))
    _refuse_unsupported_values(body, _COMPLETIONS_DEFAULTS)
    prompt: object = body.get("prompt")
    if isinstance(prompt, list):
        prompts = cast("list[object]", prompt)
        prompt = prompts[0] if len(prompts) == 1 else None
    if not isinstance(prompt, str):
        raise bad_request(
            "prompt",
            found="a prompt that is not a single text",
            next_step="send one prompt as text; a twin answers one question at a time",
        )
    chat = _shared_fields(body)
    chat["messages"] = [{"role": "user", "content": prompt}]
    return ConvertedRequest(chat, (), CompletionConverter())


def convert_responses_request(
    body: Mapping[str, Any], recent_responses: RecentResponses, reader: str
) -> ConvertedRequest:
    """Convert a request to `/v1/responses`.

    Reads the state store if the request names an earlier answer, so do not call it on the event
    loop.

    Args:
        recent_responses: the earlier answers.
        reader: the reader whose answers the request may name.

    Raises:
        RefusedError: 400 if a key, an input item or a value is not supported; 503 if the store
            cannot be read.
    """
    refuse_unknown_keys(body, frozenset(_RESPONSES_KEYS))
    _refuse_unsupported_values(body, _RESPONSES_DEFAULTS)
    if "message.output_text.logprobs" in str(body.get("include")):
        raise bad_request(
            "include", found="log probabilities", next_step="omit them; a twin returns none"
        )
    ignored_names = [
        name for name in _IGNORED_RESPONSES_KEYS if body.get(name) not in (None, [], "disabled")
    ]
    chat = _shared_fields(body)
    messages: list[object] = []
    if body.get("instructions") is not None:
        messages.append({"role": "system", "content": body["instructions"]})
    conversation = _Conversation(recent_responses, reader)
    conversation.read_previous(body.get("previous_response_id"))
    conversation.read_input(body.get("input"))
    chat["messages"] = [*messages, *conversation.messages]
    ignored_names += conversation.ignored
    if body.get("max_output_tokens") is not None:
        chat["max_tokens"] = body["max_output_tokens"]
    text = _as_object("text", body.get("text"))
    if text.get("verbosity") is not None:
        ignored_names.append("text.verbosity")
    chat |= _response_format(_as_object("text.format", text.get("format")))
    if chat.get("stream"):
        chat["stream_options"] = {"include_usage": True}
    else:
        chat.pop("stream_options", None)

    author = str(body.get("model")).removeprefix("twin/").partition("@")[0]
    request_origin = RequestOrigin(reader, author, time.time())

    def store(trace_id: str, text: str) -> None:
        recent_responses.store(
            request_origin,
            trace_id,
            conversation.own_messages,
            text,
            previous=conversation.previous_trace_id,
        )

    converter = ResponseConverter(dict(body), None if body.get("store") is False else store)
    return ConvertedRequest(chat, tuple(ignored_names), converter)


class CompletionConverter(AnswerConverter):
    """Converter of chat answers into those of `/v1/completions`."""

    def convert_answer(self, completion: Mapping[str, Any]) -> Mapping[str, Any]:
        return _convert_completion(completion, text_key="message")

    def convert_chunk(self, chunk: Mapping[str, Any]) -> Iterator[bytes]:
        is_error = "error" in chunk
        yield encode_event(chunk if is_error else _convert_completion(chunk, text_key="delta"))


@dataclass
class ResponseConverter(AnswerConverter):
    """Converter of chat answers into those of `/v1/responses`.

    Attributes:
        request_body: the request; an answer repeats some of its fields.
        store: stores the trace id and the text of an answer; None if the client sent
            `store: false`.
    """

    request_body: Mapping[str, Any]
    store: Callable[[str, str], None] | None
    _sequence_number: int = 0
    _text: str = ""
    _finish_reason: str = ""
    _first_chunk: Mapping[str, Any] = field(default_factory=dict[str, Any])
    _usage: Mapping[str, Any] = field(default_factory=dict[str, Any])
    _twin: Mapping[str, Any] | None = None
    _annotations: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    _has_failed: bool = False

    def convert_answer(self, completion: Mapping[str, Any]) -> Mapping[str, Any]:
        choice = _first_choice(completion)
        message = cast("dict[str, Any]", choice.get("message") or {})
        self._first_chunk = completion
        self._usage = completion.get("usage") or {}
        self._twin = completion.get("twin")
        self._text = _content_text(message)
        self._finish_reason = str(choice.get("finish_reason") or "stop")
        self._annotations = _flatten_citations(message.get("annotations"))
        return self._document()

    def convert_chunk(self, chunk: Mapping[str, Any]) -> Iterator[bytes]:
        if "error" in chunk:
            self._has_failed = True
            error = cast("dict[str, Any]", chunk["error"])
            error_fields = {name: error.get(name) for name in ("code", "message", "param")}
            yield self._event("error", **error_fields)
            return
        if not self._first_chunk:
            self._first_chunk = chunk
            yield from self._opening_events()
        self._usage = chunk.get("usage") or self._usage
        self._twin = chunk.get("twin") or self._twin
        choice = _first_choice(chunk)
        delta = cast("dict[str, Any]", choice.get("delta") or {})
        self._annotations += _flatten_citations(delta.get("annotations"))
        self._finish_reason = str(choice.get("finish_reason") or self._finish_reason)
        if text := _content_text(delta):
            self._text += text
            yield self._event(
                "response.output_text.delta", delta=text, logprobs=[], **self._content_position()
            )

    def end_events(self) -> Iterator[bytes]:
        if self._has_failed or not self._first_chunk:
            return
        content_position = self._content_position()
        for number, annotation in enumerate(self._annotations):
            yield self._event(
                "response.output_text.annotation.added",
                annotation_index=number,
                annotation=annotation,
                **content_position,
            )
        yield self._event(
            "response.output_text.done", text=self._text, logprobs=[], **content_position
        )
        yield self._event(
            "response.content_part.done", part=self._content_part(), **content_position
        )
        yield self._event("response.output_item.done", output_index=0, item=self._message())
        document = self._document()
        yield self._event(f"response.{document['status']}", response=document)

    def store_answer(self) -> None:
        """Store the answer; see `AnswerConverter.store_answer`."""
        if self.store is not None and self._first_chunk and not self._has_failed:
            self.store(_prefixed_id("", self._first_chunk), self._text)

    def _opening_events(self) -> Iterator[bytes]:
        document = self._document() | {"status": "in_progress", "output": (), "usage": None}
        yield self._event("response.created", response=document)
        yield self._event("response.in_progress", response=document)
        item = self._message() | {"status": "in_progress", "content": list[object]()}
        yield self._event("response.output_item.added", output_index=0, item=item)
        yield self._event(
            "response.content_part.added", part=self._content_part(), **self._content_position()
        )

    def _event(self, event_type: str, **fields: Any) -> bytes:
        document = {"type": event_type, "sequence_number": self._sequence_number} | fields
        self._sequence_number += 1
        return f"event: {event_type}\n".encode() + encode_event(document)

    def _content_position(self) -> dict[str, Any]:
        return {
            "item_id": _prefixed_id(MESSAGE_PREFIX, self._first_chunk),
            "output_index": 0,
            "content_index": 0,
        }

    def _content_part(self) -> dict[str, Any]:
        return {
            "type": "output_text",
            "text": self._text,
            "annotations": list(self._annotations),
            "logprobs": [],
        }

    def _message(self) -> dict[str, Any]:
        return {
            "id": _prefixed_id(MESSAGE_PREFIX, self._first_chunk),
            "type": "message",
            "role": "assistant",
            "status": "incomplete" if self._finish_reason == "length" else "completed",
            "content": [self._content_part()],
        }

    def _document(self) -> dict[str, Any]:
        is_truncated = self._finish_reason == "length"
        request = self.request_body
        document: dict[str, Any] = {
            "id": _prefixed_id(RESPONSE_PREFIX, self._first_chunk),
            "object": "response",
            "created_at": self._first_chunk.get("created"),
            "status": "incomplete" if is_truncated else "completed",
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if is_truncated else None,
            "instructions": request.get("instructions"),
            "max_output_tokens": request.get("max_output_tokens"),
            "metadata": {},
            "model": self._first_chunk.get("model"),
            "output": [self._message()],
            "parallel_tool_calls": False,
            "previous_response_id": request.get("previous_response_id"),
            "reasoning": {"effort": None, "summary": None},
            "store": request.get("store") is not False,
            "temperature": request.get("temperature"),
            "text": {"format": {"type": "text"}} | (request.get("text") or {}),
            "tool_choice": "none",
            "tools": [],
            "top_p": request.get("top_p"),
            "truncation": "disabled",
            "usage": _convert_usage(self._usage) if self._usage else None,
        }
        return document | ({"twin": self._twin} if self._twin is not None else {})


def _shared_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that have the same meaning in the chat API."""
    shared_names = (ALLOWED_KEYS | IGNORED_KEYS) - {"messages", "response_format"}
    return {name: value for name, value in body.items() if name in shared_names}


def _refuse_unsupported_values(
    body: Mapping[str, Any], accepted_values: Mapping[str, tuple[object, ...]]
) -> None:
    for name, values in accepted_values.items():
        if not is_accepted_value(body.get(name), values):
            raise bad_request(
                name,
                found=f"{name} = {body[name]!r}"[:80],
                next_step="omit it; a twin stores no conversations or prompts and gives one "
                "answer to each question",
            )


class _Conversation:
    """The messages of a Responses request in the chat API's format, and the ignored items.

    Attributes:
        messages: the whole conversation.
        own_messages: the messages of this request, as they are stored; a named answer remains
            a reference.
        previous_trace_id: trace id of the stored answer that the request names; empty if there is
            none.
        ignored: names of the items that have no effect.
    """

    def __init__(self, recent: RecentResponses, reader: str) -> None:
        self.messages: list[dict[str, Any]] = []
        self.own_messages: list[dict[str, Any]] = []
        self.previous_trace_id = ""
        self.ignored: list[str] = []
        self._recent, self._reader = recent, reader

    def read_previous(self, response_id: object) -> None:
        """Add the conversation up to and including a previous response."""
        if response_id is None:
            return
        trace_id = str(response_id).removeprefix(RESPONSE_PREFIX)
        turns = self._recent.load_turns(self._reader, trace_id)
        if turns is None:
            self._record_ignored("previous_response_id")
            return
        self.messages += turns
        self.previous_trace_id = trace_id

    def read_input(self, content: object) -> None:
        """Read `input`.

        Raises:
            RefusedError: 400 if it is neither a string nor a list of items.
        """
        if isinstance(content, str):
            self._add_message({"role": "user", "content": content})
            return
        if not isinstance(content, list):
            raise bad_request(
                "input", found="no input", next_step="send text or a list of messages"
            )
        for position, item in enumerate(cast("list[object]", content)):
            self._read_item(position, item)

    def _read_item(self, position: int, item: object) -> None:
        fields = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
        item_type = fields.get("type", "message")
        if not fields or not isinstance(item_type, str):
            raise bad_request(
                "input", found=f"item {position} has no type", next_step="send messages"
            )
        if item_type == "message":
            content = _convert_content(fields.get("content"))
            self._add_message({"role": fields.get("role"), "content": content})
        elif item_type == "item_reference":
            trace_id = str(fields.get("id")).removeprefix(MESSAGE_PREFIX)
            text = self._recent.load_answer(self._reader, trace_id)
            if text is None:
                self._record_ignored("item_reference")
            else:
                answer = {"role": "assistant", "content": text}
                self._add_message(
                    answer, stored_message={"role": "assistant", ANSWER_REFERENCE_KEY: trace_id}
                )
        elif item_type != "reasoning":  # a twin's answers contain no reasoning, so it is not listed
            self._record_ignored(item_type[:MAX_REPEATED_CHARACTERS])

    def _add_message(
        self, message: dict[str, Any], *, stored_message: dict[str, Any] | None = None
    ) -> None:
        self.messages.append(message)
        self.own_messages.append(stored_message or message)

    def _record_ignored(self, name: str) -> None:
        if name not in self.ignored:
            self.ignored.append(name)


def _convert_content(content: object) -> object:
    """Change the types of a message's text parts to those of the chat API.

    Other parts stay unchanged, and the chat request refuses them.
    """
    if not isinstance(content, list):
        return content
    parts: list[object] = []
    for part in cast("list[object]", content):
        fields = cast("dict[str, Any]", part) if isinstance(part, dict) else {}
        if fields.get("type") in {"input_text", "output_text"}:
            parts.append({"type": "text", "text": fields.get("text")})
        else:
            parts.append(cast("object", part))
    return parts


def _response_format(text_format: Mapping[str, Any]) -> dict[str, Any]:
    if not text_format:
        return {}
    if text_format.get("type") != "json_schema":
        return {"response_format": dict(text_format)}
    schema = {name: value for name, value in text_format.items() if name != "type"}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _as_object(name: str, value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad_request(name, found=f"a {type(value).__name__}", next_step="send an object")
    return cast("dict[str, Any]", value)


def _convert_completion(chat: Mapping[str, Any], *, text_key: str) -> dict[str, Any]:
    """Convert a chat answer or chunk; a usage chunk has no choices.

    Args:
        text_key: key of the choice that contains the text.
    """
    choices = [
        {
            "index": 0,
            "text": _content_text(choice.get(text_key)),
            "logprobs": None,
            "finish_reason": choice.get("finish_reason"),
        }
        for choice in chat.get("choices") or ()
    ]
    identity = {"id": _prefixed_id("cmpl-", chat), "object": "text_completion"}
    return {**chat, **identity, "choices": choices}


def _first_choice(chat: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = cast("list[dict[str, Any]]", chat.get("choices") or [])
    return choices[0] if choices else {}


def _content_text(message: object) -> str:
    fields = cast("dict[str, Any]", message) if isinstance(message, dict) else {}
    return str(fields.get("content") or "")


def _prefixed_id(prefix: str, chat: Mapping[str, Any]) -> str:
    return prefix + str(chat.get("id", "")).removeprefix("chatcmpl-")


def _flatten_citations(annotations: object) -> list[dict[str, Any]]:
    """Flatten the citations of a message: the Responses API puts their fields next to the type."""
    citations = cast("list[dict[str, Any]]", annotations or [])
    return [{"type": "url_citation", **citation["url_citation"]} for citation in citations]


def _convert_usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "input_tokens": usage.get("prompt_tokens", 0),
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage.get("completion_tokens", 0),
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.get("total_tokens", 0),
    }
