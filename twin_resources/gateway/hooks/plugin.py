"""Connect the request path to LiteLLM's hooks, as the plugin of the proxy.

Scope: LiteLLM's hooks and the details of LiteLLM on which they depend.
Out of scope: preparing the prompt (`request_path.py`), the record of an answer
(`request_record.py`), its trace (`trace_logger.py`), stopping a canary (`canary_watch.py`),
authentication (`authentication.py`).

Hooks: https://docs.litellm.ai/docs/proxy/call_hooks and litellm/integrations/custom_logger.py
(1.106)
"""
# ruff: noqa: ARG002 - LiteLLM calls its hooks with these keywords

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from anyio import CancelScope
from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy._types import ProxyException, UserAPIKeyAuth

from twin_resources.access.keys import Key
from twin_resources.access.paid_budget import PaidBudget, PaidCall
from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api.early_opening import CLIENT_DISCONNECTED_STATUS, current_opening
from twin_resources.gateway.config.proxy_config import REQUEST_TIMEOUT_S, RETRIES
from twin_resources.gateway.exchange.answer_ending import (
    remove_unsupported_sentences,
    stream_supported_sentences,
    stream_with_heading,
    truncate_response,
    truncate_stream,
)
from twin_resources.gateway.exchange.exchange import Fallback
from twin_resources.gateway.exchange.guardrails import guard_answer, guard_stream
from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.hooks.canary_watch import TIMEOUT_S, CanaryWatch
from twin_resources.gateway.hooks.failed_calls import refusal_for_error
from twin_resources.gateway.hooks.field_stripping import strip_internal_fields
from twin_resources.gateway.hooks.prefetch import PrefetchStream
from twin_resources.gateway.request.request_body import (
    ADMITTED_KEY,
    ALLOWED_KEYS,
    ChatRequest,
)
from twin_resources.gateway.stages.request_path import RequestPath
from twin_resources.registry.route_names import PAID

# For a paid model or an older version, whose speed the stable version's window does not measure.
ROUTED_TIMEOUT_S = 60.0
# The retries take about five seconds. The client cannot retry, because it has already received the
# beginning of the answer.
BROKEN_STREAM_RETRIES = 6
_REPLACED_KEYS = ALLOWED_KEYS | {ADMITTED_KEY}
_MAX_RECORDS = 2000  # records of failed requests stay until newer ones replace them


class TwinPlugin(CustomLogger):
    """A plugin that runs the request path before a call and adds the answer's details after it."""

    def __init__(
        self,
        request_path: RequestPath,
        budget: PaidBudget | None,
        *,
        watch: CanaryWatch,
        find_router: Callable[[], Any],
    ) -> None:
        """Create the plugin.

        Args:
            request_path: prepares requests.
            budget: reserves money for paid calls; None without a paid route.
            watch: observes canaries and stops them.
            find_router: returns LiteLLM's router.
        """
        super().__init__()
        self.request_path = request_path
        self.budget = budget
        self.watch = watch
        self._find_router = find_router
        self._in_flight: OrderedDict[str, RequestRecord] = OrderedDict()

    def find_record(self, call_id: object) -> RequestRecord | None:
        """Return the record of a request by LiteLLM's call id."""
        return self._in_flight.get(str(call_id))

    def remove_record(self, call_id: object) -> None:
        """Remove a record whose trace has been written."""
        self._in_flight.pop(str(call_id), None)

    async def async_pre_call_hook(
        self, user_api_key_dict: UserAPIKeyAuth, cache: Any, data: dict[str, Any], call_type: Any
    ) -> dict[str, Any]:
        """Replace the client's request with the prepared one (`preparation.py`)."""
        record = current_opening.get().record
        self._store_record(data["litellm_call_id"], record)
        _rewrite_request(data, record)
        if record.cost.paid_call is not None:
            data["num_retries"] = 0  # the provider would charge for each retry
        if record.fallback is not None:
            timeout_s = ROUTED_TIMEOUT_S
            if record.decision.route == "canary":
                timeout_s = TIMEOUT_S
            elif record.decision.is_elsewhere:
                timeout_s = REQUEST_TIMEOUT_S  # a large model may be slow, and its speed is unknown
            _add_fallback(data, record.fallback, timeout_s)
        return data

    async def prepare(self, question: ChatRequest, key: Key) -> RequestRecord:
        """Choose the model, retrieve posts, render the prompt, and reserve the cost of a paid call.

        Raises:
            RefusedError: see `RequestPath.prepare`; 429 or 503 if the client named the paid model
                and its cost cannot be reserved.
        """
        return await self._reserve_cost(await self.request_path.prepare(question, key), key)

    async def _reserve_cost(self, record: RequestRecord, key: Key) -> RequestRecord:
        """Reserve the maximum cost of the answer if the paid model is to write it.

        If that fails, a request that did not name the paid model is prepared again without it.

        Raises:
            RefusedError: 429 or 503 if the client named the paid model.
        """
        if self.budget is None or record.decision.server_key != PAID or record.is_fixed:
            return record
        try:
            record.cost.paid_call = await self.budget.reserve(
                key,
                record.chat_request.author,
                record.exchange.messages,
                max_tokens=int(record.exchange.sampling["max_tokens"]),
            )
        except RefusedError as error:
            if record.chat_request.has_named_version:
                raise
            problem = "budget used up" if error.status == 429 else "budget unreadable"
            return await self.request_path.prepare(record.chat_request, key, paid_problem=problem)
        return record

    def _store_record(self, call_id: str, record: RequestRecord) -> None:
        while len(self._in_flight) >= _MAX_RECORDS:
            _, oldest_record = self._in_flight.popitem(last=False)
            oldest_record.end(0)
        self._in_flight[call_id] = record
        record.call_id = call_id
        record.cost.begin()

    async def async_post_call_success_hook(
        self, data: dict[str, Any], user_api_key_dict: UserAPIKeyAuth, response: Any
    ) -> Any:
        """Add the `twin` field to an unstreamed answer."""
        record = self.find_record(data.get("litellm_call_id"))
        if record is None:
            return response
        self._end(record, response)
        self.watch.count_request(record, is_answered=True)
        truncate_response(record, response)
        await remove_unsupported_sentences(record, response)
        guard_answer(record, response)
        strip_internal_fields(response)
        return _add_twin_field(record, _add_opening(record, response))

    async def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: UserAPIKeyAuth, response: Any, request_data: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Add the `twin` field to the chunk with the finish reason.

        That chunk is delayed until the usage chunk after it, because the cost of the answer depends
        on the token counts.
        """
        record = self.find_record(request_data.get("litellm_call_id"))
        if record is None:
            async for chunk in response:
                yield chunk
            return
        final_chunk: Any = None
        streams = [_count_stream(record, response)]
        try:
            messages = request_data["messages"]
            prose = truncate_stream(record, self._restart_broken_stream(record, streams, messages))
            prose = guard_stream(record, stream_supported_sentences(record, prose))
            async for chunk in stream_with_heading(record, prose):
                strip_internal_fields(chunk)
                if record.is_opened:
                    chunk.id = record.completion_id  # the opening was sent with this id
                if getattr(chunk, "usage", None):
                    self._end(record, chunk)
                if any(choice.finish_reason for choice in chunk.choices):
                    final_chunk = chunk
                elif chunk.choices and any(_has_content(choice) for choice in chunk.choices):
                    yield chunk
                elif getattr(chunk, "usage", None):
                    if final_chunk is not None:
                        yield _add_twin_field(record, final_chunk)
                        final_chunk = None
                    if record.chat_request.include_usage:
                        yield chunk
            if final_chunk is not None:
                self._end(record, final_chunk)
                yield _add_twin_field(record, final_chunk)
            if record.cost.paid_call is not None and record.replaced_decision is None:
                record.cost.paid_call.settle_empty()  # has no effect if the call has ended
        finally:
            await self._close(record, streams)

    async def _close(self, record: RequestRecord, streams: Sequence[AsyncGenerator[Any]]) -> None:
        """Close the streams of an answer that has ended, or whose reader has disconnected."""
        is_answered = record.cost.is_ended
        try:
            # LiteLLM would close the streams only after counting the written tokens.
            with CancelScope(shield=True):
                for stream in streams:
                    await stream.aclose()
        finally:
            if record.cost.paid_call is not None:
                record.cost.paid_call.settle_interrupted()  # has no effect if the call has ended
            # No tokens were counted if the reader disconnected or the stream broke off.
            record.end(0, paid_usd=_paid_usd(record))
            self.watch.count_request(record, is_answered=is_answered)

    async def _restart_broken_stream(
        self,
        record: RequestRecord,
        streams: list[AsyncGenerator[Any]],
        messages: Sequence[Mapping[str, Any]],
    ) -> AsyncGenerator[Any, None]:
        """Yield the chunks of a stream, and restart it once if it breaks off.

        The new answer follows the partial one. The stable version restarts a canary's answer; any
        other version restarts its own answer, because its server restarts in about a second. An
        answer in JSON is not restarted after its first text, because the result would not be valid.

        Args:
            streams: contains the first stream; the restarted one is appended.
        """
        has_text = False
        try:
            async for chunk in streams[0]:
                has_text = has_text or any(_has_text(choice) for choice in chunk.choices)
                record.has_prose |= has_text
                yield chunk
        except Exception as error:
            if record.cost.paid_call is not None:
                record.cost.paid_call.settle_failed(error)
            fallback, replaced_decision = record.fallback, record.replaced_decision
            uses_fallback = fallback is not None and replaced_decision is None
            if record.cost.is_ended or not (uses_fallback or record.can_restart):
                raise
            if has_text and record.chat_request.response_format is not None:
                raise
            server_key = record.decision.server_key
            sys.stderr.write(f"the stream of {server_key} broke off: {type(error).__name__}\n")
            sampling = record.exchange.sampling
            if fallback is not None:  # also if the broken stream was the fallback's own
                messages = fallback.messages
                sampling = {**sampling, "max_tokens": fallback.max_tokens}
            if fallback is not None and uses_fallback:
                record.record_fallback(
                    f"{record.decision.route} broke off: answered again by "
                    f"{fallback.decision.route}"
                )
            else:
                record.record_restart()
            new_stream = await self._find_router().acompletion(
                model=record.decision.server_key,
                num_retries=BROKEN_STREAM_RETRIES,
                messages=[dict(message) for message in messages],
                stream=True,
                stream_options={"include_usage": True},
                response_format=record.chat_request.response_format,
                litellm_call_id=record.call_id,  # with traceparent, identifies its span
                proxy_server_request={"headers": {"traceparent": record.traceparent}},
                **sampling,
            )
            streams.append(new_stream)
            separator = "\n\n" if has_text else ""
            async for chunk in new_stream:
                for choice in chunk.choices:
                    if separator and choice.delta is not None and choice.delta.content:
                        choice.delta.content, separator = separator + choice.delta.content, ""
                yield chunk

    async def log_success_fallback_event(
        self, original_model_group: str, kwargs: dict[str, Any], original_exception: Exception
    ) -> None:
        """Record that the fallback answered because the first choice failed before its first token.

        The first choice is a canary or a routed paid model.
        """
        record = self.find_record(kwargs.get("litellm_call_id"))
        if record is not None:
            if record.cost.paid_call is not None:
                record.cost.paid_call.settle_failed(original_exception)
            error = type(original_exception).__name__
            route = record.decision.route
            fallback_route = record.fallback.decision.route if record.fallback else "nobody"
            record.record_fallback(f"{route} failed ({error}): answered by {fallback_route}")

    def record_called_server(self, record: RequestRecord, kwargs: dict[str, Any]) -> None:
        """Record a fallback from LiteLLM's log call, which may precede the fallback hook."""
        group = called_server_key(kwargs)
        if record.fallback is not None and group == record.fallback.decision.server_key:
            record.record_fallback(
                f"{record.decision.route} failed: answered by {record.fallback.decision.route}"
            )

    async def async_post_call_response_headers_hook(
        self, data: dict[str, Any], *args: Any, **kwargs: Any
    ) -> dict[str, str] | None:
        """Return the trace id as a header, which a stream sends first."""
        record = self.find_record(data.get("litellm_call_id"))
        return record.headers() if record is not None else None

    async def async_post_call_failure_hook(
        self,
        request_data: dict[str, Any],
        original_exception: Exception,
        user_api_key_dict: UserAPIKeyAuth,
        traceback_str: str | None = None,
    ) -> HTTPException | None:
        """Return an error that names the cause and the next step, or None to keep LiteLLM's."""
        record = self.find_record(request_data.get("litellm_call_id"))
        if record is not None and record.cost.paid_call is not None:
            is_proxy_error = isinstance(original_exception, ProxyException | HTTPException)
            if is_proxy_error or record.fallback is not None:  # then it may be the fallback's error
                record.cost.paid_call.settle_interrupted()
            else:
                record.cost.paid_call.settle_failed(original_exception)
        if record is None:
            return None
        if isinstance(original_exception, ProxyException | HTTPException):
            if getattr(original_exception, "status_code", None) == CLIENT_DISCONNECTED_STATUS:
                record.end(0)  # otherwise its meter would keep counting the machine as busy
            return None
        record.end(0)
        refusal = record.failure = refusal_for_error(record, original_exception)
        sys.stderr.write(f"{type(original_exception).__name__}: {refusal}\n")
        return HTTPException(status_code=refusal.status, detail=str(refusal))

    def _end(self, record: RequestRecord, response: Any) -> None:
        usage, paid_call = token_counts(response), record.cost.paid_call
        if paid_call is not None and record.replaced_decision is None and not record.cost.is_ended:
            text = "".join(
                str(choice.message.content or "")
                for choice in response.choices
                if getattr(choice, "message", None) is not None
            )
            paid_call.settle_answer(getattr(response, "usage", None), text)
        record.end(usage.get("total", 0), paid_usd=_paid_usd(record))


def _paid_usd(record: RequestRecord) -> float | None:
    """Return the price of a paid answer in US dollars, or None if a local model answered."""
    if record.cost.paid_call is None or record.decision.server_key != PAID:
        return None
    return record.cost.paid_call.usd


def _count_stream(record: RequestRecord, response: Any) -> Any:
    if record.cost.paid_call is None:
        return response
    return PrefetchStream(response, partial(_count_chunk, record, record.cost.paid_call))


def _count_chunk(record: RequestRecord, paid_call: PaidCall, chunk: Any) -> None:
    """Count one chunk of a paid stream, unless the fallback answers."""
    if record.replaced_decision is not None:
        return
    for choice in chunk.choices:
        if _has_text(choice):
            paid_call.record_text(choice.delta.content)
    if getattr(chunk, "usage", None):
        paid_call.settle_answer(chunk.usage)


def _add_opening(record: RequestRecord, response: Any) -> Any:
    """Return a copy of the answer with the quotations and the label above its prose.

    The trace is written from the model's own response, which the feedback loop judges.
    """
    heading = record.heading if response.choices and response.choices[0].message.content else ""
    if not (record.quotes or record.prefix or heading):
        return response
    response_copy = response.model_copy(deep=True)
    message = response_copy.choices[0].message
    message.content = f"{record.prefix}{heading}{message.content or ''}"
    if record.quotes:
        message.annotations = record.citations
    return response_copy


def _add_twin_field(record: RequestRecord, response: Any) -> Any:
    # LiteLLM serializes a plain chunk on a fast path that drops unknown fields. A fingerprint (in
    # OpenAI's definition, the backend that answered) makes it serialize the whole chunk.
    response.system_fingerprint = record.decision.version
    response.twin = record.twin_field()
    if record.quotes and getattr(response.choices[0], "delta", None) is not None:
        response.choices[0].delta.annotations = record.citations
    return response


def _rewrite_request(data: dict[str, Any], record: RequestRecord) -> None:
    """Replace the client's fields with the prepared ones; LiteLLM needs `metadata`, so it stays."""
    request = record.chat_request
    for name in _REPLACED_KEYS:
        data.pop(name, None)
    data |= dict(record.exchange.sampling)
    data["model"] = record.decision.server_key
    data["messages"] = record.exchange.messages
    if request.stream:
        data["stream"] = True
        data["stream_options"] = {"include_usage": True}
    if request.response_format is not None:
        data["response_format"] = dict(request.response_format)
    # The traceparent contains the trace id. No other header is forwarded.
    headers = {"traceparent": record.traceparent}
    data["proxy_server_request"]["headers"] = headers
    data["metadata"]["headers"] = {}


def _add_fallback(data: dict[str, Any], fallback: Fallback, timeout_s: float) -> None:
    """Add the fallback, which has its own prompt, to a request."""
    # No retry before the fallback, because the reader would wait for it.
    data |= {"num_retries": 0, "timeout": timeout_s}
    data["fallbacks"] = [
        {
            "model": fallback.decision.server_key,
            "messages": [dict(message) for message in fallback.messages],
            "max_tokens": fallback.max_tokens,
            "num_retries": RETRIES,
            "timeout": REQUEST_TIMEOUT_S,
        }
    ]


def _has_content(choice: Any) -> bool:
    return _has_text(choice) or bool(choice.delta is not None and choice.delta.role)


def _has_text(choice: Any) -> bool:
    return bool(choice.delta is not None and choice.delta.content)


def called_server_key(kwargs: dict[str, Any]) -> str:
    """Return the model group of a call that LiteLLM logs, which is the server key."""
    parameters = kwargs.get("litellm_params") or {}
    return str((parameters.get("metadata") or {}).get("model_group") or "")


def token_counts(response: Any) -> dict[str, int]:
    """Return the token counts `input`, `output` and `total` that a response contains."""
    usage = getattr(response, "usage", None)
    if usage is None:
        return {}
    counts = {
        "input": usage.prompt_tokens,
        "output": usage.completion_tokens,
        "total": usage.total_tokens,
    }
    return {name: int(count) for name, count in counts.items() if count is not None}
