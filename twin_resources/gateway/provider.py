"""The twin as a provider of LiteLLM, which serves it on each API of OpenAI's.

Interfaces: https://docs.litellm.ai/docs/providers/custom_llm_server and
https://docs.litellm.ai/docs/proxy/call_hooks (1.106)
"""
# ruff: noqa: ARG001, ARG002 - LiteLLM calls these with its own keywords

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from litellm.integrations.custom_logger import CustomLogger
from litellm.llms.custom_llm import CustomLLM, CustomLLMError
from litellm.proxy._types import UserAPIKeyAuth
from litellm.types.utils import Delta, ModelResponse, ModelResponseStream, StreamingChoices, Usage

from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api.recent_responses import MESSAGE_PREFIX, RESPONSE_PREFIX
from twin_resources.gateway.compose import Composer
from twin_resources.gateway.exchange.exchange import AnswerCall, RequestRecord, current_call
from twin_resources.gateway.request.request_body import read_question

# A stream whose next chunk is already there never yields to the event loop, so a disconnect was
# not noticed: 8 of 12 streams of a fast model were written to the end (1,500 tokens).
_YIELD_INTERVAL_S = 0.01


async def authenticate(request: Any, api_key: str) -> UserAPIKeyAuth:
    """Return LiteLLM's user for a request that the allow-list has authenticated."""
    return UserAPIKeyAuth(api_key=current_call.get().key.reader)


class TwinProvider(CustomLLM):
    """LiteLLM's provider `twin`; the model `twin/<author>` is one author's twin."""

    def __init__(self, composer: Composer) -> None:
        super().__init__()
        self._composer = composer

    async def acompletion(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        *args: Any,
        messages: list[Any],
        model_response: ModelResponse,
        **kwargs: Any,
    ) -> ModelResponse:
        """Return a whole answer."""
        call = current_call.get()
        text = "".join([piece async for piece in self._answer(call, messages)])
        record = _record(call)
        choice: Any = model_response.choices[0]
        choice.message.content, choice.finish_reason = text, record.finish_reason
        if record.exchange.quotes:
            choice.message.annotations = record.citations
        model_response.id = f"chatcmpl-{record.trace_id}"
        model_response.usage = _usage(record)  # pyright: ignore[reportAttributeAccessIssue]
        return model_response

    async def astreaming(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, *args: Any, messages: list[Any], **kwargs: Any
    ) -> AsyncGenerator[ModelResponseStream]:
        """Yield an answer; the first chunk has the field `twin`."""
        call, is_first = current_call.get(), True
        clock = asyncio.get_running_loop().time
        last_yield = clock()
        async with aclosing(self._answer(call, messages)) as pieces:
            async for piece in pieces:
                chunk = _chunk(_record(call), Delta(content=piece, role="assistant"))
                yield _add_twin_field(chunk, _record(call)) if is_first else chunk
                is_first = False
                if clock() - last_yield > _YIELD_INTERVAL_S:
                    await asyncio.sleep(0)
                    last_yield = clock()
        record = _record(call)
        if record.exchange.quotes:  # for the events of the Responses API
            annotations: Any = record.citations
            yield _chunk(record, Delta(content="", annotations=annotations))
        usage_chunk = _chunk(record, Delta())  # LiteLLM drops one after the finish reason
        usage_chunk.usage = _usage(record)  # pyright: ignore[reportAttributeAccessIssue]
        yield usage_chunk
        yield _chunk(record, Delta(), finish_reason=record.finish_reason)

    async def _answer(self, call: AnswerCall, messages: Sequence[Any]) -> AsyncGenerator[str]:
        try:
            request = read_question(call.model, messages, call.parameters)
            request = replace(request, ignored=(*request.ignored, *call.lost_references))
            async with aclosing(self._composer.answer(request, call)) as pieces:
                async for piece in pieces:
                    yield piece
        except RefusedError as refusal:
            call.refusal = refusal
            raise CustomLLMError(refusal.status, refusal.client_message) from refusal


class ResponseFields(CustomLogger):
    """Gives answers what LiteLLM drops: `twin`, citations, and ids that tell the trace.

    A later request of the Responses API names an answer by these ids (`recent_responses.py`).
    """

    async def async_post_call_success_hook(
        self, data: dict[str, Any], user_api_key_dict: UserAPIKeyAuth, response: Any
    ) -> Any:
        """Complete a whole answer."""
        record = _record(current_call.get())
        if response.object == "response":
            _name_response(response, record)
        return _add_twin_field(response, record)

    async def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: UserAPIKeyAuth, response: Any, request_data: dict[str, Any]
    ) -> AsyncGenerator[Any]:
        """Complete the chunks or events of a stream.

        Events that LiteLLM sends before the answer wait for it: a refusal then still has its own
        status, and the trace is known when the response starts.
        """
        call, events, has_begun = current_call.get(), list[Any](), False
        async for event in response:
            events.append(event)
            if call.refusal is not None and not has_begun:
                raise CustomLLMError(call.refusal.status, call.refusal.client_message)
            if call.record is None:
                continue
            has_begun = True
            for held_event in events:
                if getattr(held_event, "choices", None) is None:
                    _name_event(held_event, call.record)
                elif _is_empty(held_event):
                    continue
                elif held_event.choices and held_event.choices[0].finish_reason:
                    choice = held_event.choices[0]
                    _add_twin_field(held_event, call.record)
                    if hasattr(choice, "text"):
                        choice.text = choice.text or ""  # clients join the texts of all chunks
                    elif call.record.exchange.quotes:
                        choice.delta.annotations = call.record.citations
                yield held_event
            events.clear()


def _is_empty(chunk: Any) -> bool:
    """Return whether a chunk has neither text, finish reason nor usage, but for the first."""
    if not chunk.choices or getattr(chunk, "usage", None) or getattr(chunk, "twin", None):
        return False
    choice = chunk.choices[0]
    text = choice.text if hasattr(choice, "text") else choice.delta.content
    return not (choice.finish_reason or text)


def _name_event(event: Any, record: RequestRecord) -> None:
    if getattr(event, "response", None) is not None:
        _name_response(event.response, record)
        event.response.twin = record.twin_field()
    if getattr(event, "item_id", None):
        event.item_id = MESSAGE_PREFIX + record.trace_id
    if getattr(event, "item", None) is not None:
        _set(event.item, "id", MESSAGE_PREFIX + record.trace_id)


def _name_response(response: Any, record: RequestRecord) -> None:
    response.id = RESPONSE_PREFIX + record.trace_id
    response.model = record.chat_request.model
    for item in response.output or ():
        _set(item, "id", MESSAGE_PREFIX + record.trace_id)


def _set(item: Any, name: str, value: str) -> None:
    if isinstance(item, dict):
        item[name] = value
    else:
        setattr(item, name, value)


def _record(call: AnswerCall) -> RequestRecord:
    if call.record is None:
        raise LookupError("the answer has no record: it was not composed")
    return call.record


def _chunk(
    record: RequestRecord, delta: Delta, *, finish_reason: str | None = None
) -> ModelResponseStream:
    choice = StreamingChoices(delta=delta, finish_reason=finish_reason)
    model = record.chat_request.model
    return ModelResponseStream(id=f"chatcmpl-{record.trace_id}", model=model, choices=[choice])


def _add_twin_field(response: Any, record: RequestRecord) -> Any:
    # LiteLLM serializes a plain chunk on a fast path that drops unknown fields. A fingerprint (in
    # OpenAI's definition, the backend that answered) makes it serialize the whole chunk.
    response.system_fingerprint = record.decision.version
    response.twin = record.twin_field()
    return response


def _usage(record: RequestRecord) -> Usage:
    usage = record.usage
    return Usage(
        prompt_tokens=usage.get("input", 0),
        completion_tokens=usage.get("output", 0),
        total_tokens=usage.get("total", 0),
    )
