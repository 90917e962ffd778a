"""Connect the request path to LiteLLM's hooks; the plugin of the proxy.

Scope: LiteLLM's hooks and the details of LiteLLM that they depend on.
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
from twin_resources.access.refusals import Refused
from twin_resources.gateway.api.early_opening import READER_LEFT, current
from twin_resources.gateway.config.proxy_config import REQUEST_TIMEOUT_S, RETRIES
from twin_resources.gateway.exchange.answer_ending import (
    end_prose,
    headed_stream,
    prose_ended,
    support_answer,
    supported_stream,
)
from twin_resources.gateway.exchange.exchange import Fallback
from twin_resources.gateway.exchange.guardrails import guard_answer, guarded_stream
from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.hooks.canary_watch import CanaryWatch
from twin_resources.gateway.hooks.failed_calls import failed_call
from twin_resources.gateway.hooks.field_stripping import without_inner_fields
from twin_resources.gateway.hooks.prefetch import ReadAhead
from twin_resources.gateway.request.request_body import (
    ADMITTED_KEY,
    ALLOWED_KEYS,
    ChatRequest,
)
from twin_resources.gateway.stages.request_path import RequestPath
from twin_resources.registry.route_names import PAID

# For a paid model or an older version, whose speed the stable version's window does not measure.
ROUTED_TIMEOUT_S = 60.0
# About five seconds. The reader has the beginning of the answer, and the client cannot retry it.
RETRIES_OF_BROKEN_STREAM = 6
_REPLACED_KEYS = ALLOWED_KEYS | {ADMITTED_KEY}
_MAX_RECORDS = 2000  # records of failed requests stay until newer ones replace them


class TwinPlugin(CustomLogger):
    """Runs the request path before a call and adds sources, cost and headers after it."""

    def __init__(
        self,
        path: RequestPath,
        budget: PaidBudget | None,
        *,
        watch: CanaryWatch,
        find_router: Callable[[], Any],
    ) -> None:
        """Create the plugin.

        Args:
            path: prepares requests.
            budget: reserves money for paid calls; None without a paid route.
            watch: observes canaries and stops them.
            find_router: returns LiteLLM's router.
        """
        super().__init__()
        self.path = path
        self.budget = budget
        self.watch = watch
        self._find_router = find_router
        self._in_flight: OrderedDict[str, RequestRecord] = OrderedDict()

    def record(self, call_id: object) -> RequestRecord | None:
        """Return the record of a request by LiteLLM's call id."""
        return self._in_flight.get(str(call_id))

    def forget(self, call_id: object) -> None:
        """Remove a record whose trace was written."""
        self._in_flight.pop(str(call_id), None)

    async def async_pre_call_hook(
        self, user_api_key_dict: UserAPIKeyAuth, cache: Any, data: dict[str, Any], call_type: Any
    ) -> dict[str, Any]:
        """Replace the client's request by the prepared one (`preparation.py`)."""
        answering = current.get().answering
        self._remember(data["litellm_call_id"], answering)
        _rewrite(data, answering)
        if answering.cost.bought is not None:
            data["num_retries"] = 0  # each retry would be paid for again
        if answering.fallback is not None:
            timeout_s = ROUTED_TIMEOUT_S
            if answering.chosen.route == "canary":
                timeout_s = self.watch.timeout_s(answering.asked.author)
            elif answering.chosen.is_elsewhere:
                timeout_s = REQUEST_TIMEOUT_S  # a large model may be slow, and its speed is unknown
            _add_fallback(data, answering.fallback, timeout_s)
        return data

    async def prepare(self, question: ChatRequest, key: Key) -> RequestRecord:
        """Choose the model, retrieve posts, render the prompt, and reserve the cost of a paid call.

        Raises:
            Refused: see `RequestPath.prepare`; 429 or 503 if the client named the paid model and
                its cost cannot be reserved.
        """
        return await self._with_reservation(await self.path.prepare(question, key), key)

    async def _with_reservation(self, answering: RequestRecord, key: Key) -> RequestRecord:
        """Reserve the maximum cost of the answer if the paid model is to write it.

        If that fails, a request that did not name the paid model is prepared again without it.

        Raises:
            Refused: 429 or 503 if the client named the paid model.
        """
        if self.budget is None or answering.chosen.server_key != PAID or answering.is_fixed:
            return answering
        try:
            answering.cost.bought = await self.budget.reserve(
                key,
                answering.asked.author,
                answering.exchange.messages,
                max_tokens=int(answering.exchange.sampling["max_tokens"]),
            )
        except Refused as error:
            if answering.asked.names_version:
                raise
            unpaid = "budget used up" if error.status == 429 else "budget unreadable"
            return await self.path.prepare(answering.asked, key, unpaid=unpaid)
        return answering

    def _remember(self, call_id: str, answering: RequestRecord) -> None:
        while len(self._in_flight) >= _MAX_RECORDS:
            _, oldest = self._in_flight.popitem(last=False)
            oldest.end(0)
        self._in_flight[call_id] = answering
        answering.call_id = call_id
        answering.cost.begin()

    async def async_post_call_success_hook(
        self, data: dict[str, Any], user_api_key_dict: UserAPIKeyAuth, response: Any
    ) -> Any:
        """Add the `twin` field to an unstreamed answer."""
        answering = self.record(data.get("litellm_call_id"))
        if answering is None:
            return response
        self._end(answering, response)
        self.watch.ended(answering, answered=True)
        end_prose(answering, response)
        await support_answer(answering, response)
        guard_answer(answering, response)
        without_inner_fields(response)
        return _add_twin_field(answering, _with_opening(answering, response))

    async def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: UserAPIKeyAuth, response: Any, request_data: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Add the `twin` field to the chunk with the finish reason.

        That chunk is held back until the usage chunk after it, because the cost of the answer
        depends on the token counts.
        """
        answering = self.record(request_data.get("litellm_call_id"))
        if answering is None:
            async for chunk in response:
                yield chunk
            return
        last: Any = None
        streams = [_counted(answering, response)]
        try:
            messages = request_data["messages"]
            prose = prose_ended(answering, self._unbroken(answering, streams, messages))
            prose = guarded_stream(answering, supported_stream(answering, prose))
            async for chunk in headed_stream(answering, prose):
                without_inner_fields(chunk)
                if answering.is_opened:
                    chunk.id = answering.completion_id  # the opening was sent with this id
                if getattr(chunk, "usage", None):
                    self._end(answering, chunk)
                if any(choice.finish_reason for choice in chunk.choices):
                    last = chunk
                elif chunk.choices and any(_has_content(choice) for choice in chunk.choices):
                    yield chunk
                elif getattr(chunk, "usage", None):
                    if last is not None:
                        yield _add_twin_field(answering, last)
                        last = None
                    if answering.asked.include_usage:
                        yield chunk
            if last is not None:
                self._end(answering, last)
                yield _add_twin_field(answering, last)
            if answering.cost.bought is not None and answering.drawn is None:
                answering.cost.bought.empty()  # has no effect if the call has ended
        finally:
            await self._close(answering, streams)

    async def _close(
        self, answering: RequestRecord, streams: Sequence[AsyncGenerator[Any]]
    ) -> None:
        """Close the streams of an answer that has ended, or whose reader has disconnected."""
        answered = answering.cost.is_over
        try:
            # Closed here, because LiteLLM closes it only after counting the written tokens.
            with CancelScope(shield=True):
                for stream in streams:
                    await stream.aclose()
        finally:
            if answering.cost.bought is not None:
                answering.cost.bought.left()  # has no effect if the call has ended
            # No tokens were counted if the reader disconnected or the server broke off.
            answering.end(0, paid_usd=_paid_for(answering))
            self.watch.ended(answering, answered=answered)

    async def _unbroken(
        self,
        answering: RequestRecord,
        streams: list[AsyncGenerator[Any]],
        messages: Sequence[Mapping[str, Any]],
    ) -> AsyncGenerator[Any, None]:
        """Yield the chunks of a stream, and restart it once if it breaks off.

        The new answer follows the partial one. The stable version restarts a canary's answer; any
        other version restarts its own, because its server is back in about a second. An answer in
        JSON is not restarted after its first text, because the result would not be valid JSON.

        Args:
            streams: contains the first stream; the restarted one is appended.
        """
        begun = False
        try:
            async for chunk in streams[0]:
                begun = begun or any(_has_text(choice) for choice in chunk.choices)
                answering.is_prose_begun |= begun
                yield chunk
        except Exception as error:
            if answering.cost.bought is not None:
                answering.cost.bought.failed(error)
            fallback, failed = answering.fallback, answering.drawn
            by_fallback = fallback is not None and failed is None
            if answering.cost.is_over or not (by_fallback or answering.can_be_begun_anew):
                raise
            if begun and answering.asked.response_format is not None:
                raise
            sys.stderr.write(f"{answering.chosen.server_key} broke off: {type(error).__name__}\n")
            if fallback is not None:  # also if the broken stream was the fallback's own
                messages = fallback.messages
            if fallback is not None and by_fallback:
                answering.answered_by_fallback(
                    f"{answering.chosen.route} broke off: answered again by {fallback.chosen.route}"
                )
            else:
                answering.begins_anew()
            restarted = await self._find_router().acompletion(
                model=answering.chosen.server_key,
                num_retries=RETRIES_OF_BROKEN_STREAM,
                messages=[dict(message) for message in messages],
                stream=True,
                stream_options={"include_usage": True},
                response_format=answering.asked.response_format,
                litellm_call_id=answering.call_id,  # with traceparent, identifies its span
                proxy_server_request={"headers": {"traceparent": answering.traceparent}},
                **answering.exchange.sampling,
            )
            streams.append(restarted)
            separator = "\n\n" if begun else ""
            async for chunk in restarted:
                for choice in chunk.choices:
                    if separator and choice.delta is not None and choice.delta.content:
                        choice.delta.content, separator = separator + choice.delta.content, ""
                yield chunk

    async def log_success_fallback_event(
        self, original_model_group: str, kwargs: dict[str, Any], original_exception: Exception
    ) -> None:
        """Record that a canary or a routed paid model failed before its first token, and that the
        fallback answered."""
        answering = self.record(kwargs.get("litellm_call_id"))
        if answering is not None:
            if answering.cost.bought is not None:
                answering.cost.bought.failed(original_exception)
            error = type(original_exception).__name__
            route = answering.chosen.route
            by = answering.fallback.chosen.route if answering.fallback else "nobody"
            answering.answered_by_fallback(f"{route} failed ({error}): answered by {by}")

    def note_server(self, answering: RequestRecord, kwargs: dict[str, Any]) -> None:
        """Record a fallback from LiteLLM's log call, which may precede the fallback hook."""
        group = called_server(kwargs)
        if answering.fallback is not None and group == answering.fallback.chosen.server_key:
            answering.answered_by_fallback(
                f"{answering.chosen.route} failed: answered by {answering.fallback.chosen.route}"
            )

    async def async_post_call_response_headers_hook(
        self, data: dict[str, Any], *args: Any, **kwargs: Any
    ) -> dict[str, str] | None:
        """Return trace id and sources as headers; a stream sends them before its first token."""
        answering = self.record(data.get("litellm_call_id"))
        return answering.headers() if answering is not None else None

    async def async_post_call_failure_hook(
        self,
        request_data: dict[str, Any],
        original_exception: Exception,
        user_api_key_dict: UserAPIKeyAuth,
        traceback_str: str | None = None,
    ) -> HTTPException | None:
        """Replace LiteLLM's error by what failed and what to do (`early_opening.py`)."""
        answering = self.record(request_data.get("litellm_call_id"))
        if answering is not None and answering.cost.bought is not None:
            by_proxy = isinstance(original_exception, ProxyException | HTTPException)
            if by_proxy or answering.fallback is not None:  # then it may be the fallback's error
                answering.cost.bought.left()
            else:
                answering.cost.bought.failed(original_exception)
        if answering is None:
            return None
        if isinstance(original_exception, ProxyException | HTTPException):
            if getattr(original_exception, "status_code", None) == READER_LEFT:
                answering.end(0)  # otherwise its meter would keep counting the machine as busy
            return None
        answering.end(0)
        refused = answering.failure = failed_call(answering, original_exception)
        sys.stderr.write(f"{type(original_exception).__name__}: {refused}\n")
        return HTTPException(status_code=refused.status, detail=str(refused))

    def _end(self, answering: RequestRecord, response: Any) -> None:
        usage, bought = usage_of(response), answering.cost.bought
        if bought is not None and answering.drawn is None and not answering.cost.is_over:
            text = "".join(
                str(choice.message.content or "")
                for choice in response.choices
                if getattr(choice, "message", None) is not None
            )
            bought.ended(getattr(response, "usage", None), text)
        answering.end(usage.get("total", 0), paid_usd=_paid_for(answering))


def _paid_for(answering: RequestRecord) -> float | None:
    """Return the price of a paid answer in US dollars, or None if a local model answered."""
    if answering.cost.bought is None or answering.chosen.server_key != PAID:
        return None
    return answering.cost.bought.usd


def _counted(answering: RequestRecord, response: Any) -> Any:
    if answering.cost.bought is None:
        return response
    return ReadAhead(response, partial(_count, answering, answering.cost.bought))


def _count(answering: RequestRecord, bought: PaidCall, chunk: Any) -> None:
    """Count one chunk of a paid stream, unless the fallback has taken over."""
    if answering.drawn is not None:
        return
    for choice in chunk.choices:
        if _has_text(choice):
            bought.received(choice.delta.content)
    if getattr(chunk, "usage", None):
        bought.ended(chunk.usage)


def _with_opening(answering: RequestRecord, response: Any) -> Any:
    """Return a copy of the answer with the text before the generated prose, and its citations.

    The trace is written from the model's own response, which the feedback loop judges.
    """
    if not (answering.quotes or answering.prefix):
        return response
    opened = response.model_copy(deep=True)
    message = opened.choices[0].message
    heading = answering.heading if answering.prose.judged is not None else ""
    message.content = f"{answering.prefix}{heading}{message.content or ''}"
    if answering.quotes:
        message.annotations = answering.citations
    return opened


def _add_twin_field(answering: RequestRecord, response: Any) -> Any:
    # LiteLLM serializes a plain chunk by a fast path that drops unknown fields. A fingerprint
    # (in OpenAI's definition, the backend that answered) makes it serialize the whole chunk.
    response.system_fingerprint = answering.chosen.version
    response.twin = answering.twin_field()
    if answering.quotes and getattr(response.choices[0], "delta", None) is not None:
        response.choices[0].delta.annotations = answering.citations
    return response


def _rewrite(data: dict[str, Any], answering: RequestRecord) -> None:
    """Replace the client's fields by the prepared ones; LiteLLM needs `metadata`, so it stays."""
    request = answering.asked
    for name in _REPLACED_KEYS:
        data.pop(name, None)
    data |= dict(answering.exchange.sampling)
    data["model"] = answering.chosen.server_key
    data["messages"] = answering.exchange.messages
    if request.stream:
        data["stream"] = True
        data["stream_options"] = {"include_usage": True}
    if request.response_format is not None:
        data["response_format"] = dict(request.response_format)
    # The traceparent contains the trace id. No other header is forwarded.
    headers = {"traceparent": answering.traceparent}
    data["proxy_server_request"]["headers"] = headers
    data["metadata"]["headers"] = {}


def _add_fallback(data: dict[str, Any], fallback: Fallback, timeout_s: float) -> None:
    """Let the router fall back to the stable version, at once and with its own prompt."""
    # No retry before the fallback, because the reader would wait for it.
    data |= {"num_retries": 0, "timeout": timeout_s}
    data["fallbacks"] = [
        {
            "model": fallback.chosen.server_key,
            "messages": [dict(message) for message in fallback.messages],
            "num_retries": RETRIES,
            "timeout": REQUEST_TIMEOUT_S,
        }
    ]


def _has_content(choice: Any) -> bool:
    return _has_text(choice) or bool(choice.delta is not None and choice.delta.role)


def _has_text(choice: Any) -> bool:
    return bool(choice.delta is not None and choice.delta.content)


def called_server(kwargs: dict[str, Any]) -> str:
    """Return the model group of a call that LiteLLM logs, which is the server key."""
    parameters = kwargs.get("litellm_params") or {}
    return str((parameters.get("metadata") or {}).get("model_group") or "")


def usage_of(response: Any) -> dict[str, int]:
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
