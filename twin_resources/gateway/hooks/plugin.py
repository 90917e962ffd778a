"""The plugin inside the LiteLLM proxy: a thin shell over plain modules.

Scope: LiteLLM's hooks, and what must be known about LiteLLM to use them.
Out of scope: the way from a question to a prompt (`request_path.py`), what an answer says
about itself (`request_record.py`), its trace (`trace_logger.py`), when a canary stops
(`canary_watch.py`), who asks (`authentication.py`).

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

# A paid model's pace, or an older version's, is not what the stable version's window tells.
ROUTED_TIMEOUT_S = 60.0
# About five seconds: the reader has the beginning, and nobody asks again for him.
RETRIES_OF_BROKEN = 6
_READ = ALLOWED_KEYS | {ADMITTED_KEY}
_MAX_REMEMBERED = 2000  # records of failed requests stay until newer ones push them out


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
        """`budget` is there when a paid route is; `find_router` gives LiteLLM's router."""
        super().__init__()
        self.path = path
        self.budget = budget
        self.watch = watch
        self._find_router = find_router
        self._in_flight: OrderedDict[str, RequestRecord] = OrderedDict()

    def record(self, call_id: object) -> RequestRecord | None:
        """The record of a request by LiteLLM's call id."""
        return self._in_flight.get(str(call_id))

    def forget(self, call_id: object) -> None:
        """Drop a record whose trace was written."""
        self._in_flight.pop(str(call_id), None)

    async def async_pre_call_hook(
        self, user_api_key_dict: UserAPIKeyAuth, cache: Any, data: dict[str, Any], call_type: Any
    ) -> dict[str, Any]:
        """Put what was prepared (`preparation.py`) in the place of what the client sent."""
        answering = current.get().answering
        self._remember(data["litellm_call_id"], answering)
        _rewrite(data, answering)
        if answering.cost.bought is not None:
            data["num_retries"] = 0  # a second attempt would be a second purchase
        if answering.fallback is not None:
            timeout_s = ROUTED_TIMEOUT_S
            if answering.chosen.route == "canary":
                timeout_s = self.watch.timeout_s(answering.asked.author)
            elif answering.chosen.is_elsewhere:
                timeout_s = REQUEST_TIMEOUT_S  # a large model may be slow; nobody says how slow
            _add_fallback(data, answering.fallback, timeout_s)
        return data

    async def prepare(self, question: ChatRequest, key: Key) -> RequestRecord:
        """Choose who answers, look up the posts, render the prompt, and set its price aside.

        Raises:
            Refused: see `RequestPath.prepare`; 429 or 503 the paid model was named and cannot be
                paid for.
        """
        return await self._with_money(await self.path.prepare(question, key), key)

    async def _with_money(self, answering: RequestRecord, key: Key) -> RequestRecord:
        """The same with the most that it can cost set aside, where the paid model answers.

        A question that was not sent there by name is prepared again without it where that fails.

        Raises:
            Refused: 429 or 503; the client named the paid model.
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
        while len(self._in_flight) >= _MAX_REMEMBERED:
            _, oldest = self._in_flight.popitem(last=False)
            oldest.end(0)
        self._in_flight[call_id] = answering
        answering.call_id = call_id
        answering.cost.begin()

    async def async_post_call_success_hook(
        self, data: dict[str, Any], user_api_key_dict: UserAPIKeyAuth, response: Any
    ) -> Any:
        """Put the `twin` field on an answer that comes in one piece."""
        answering = self.record(data.get("litellm_call_id"))
        if answering is None:
            return response
        self._end(answering, response)
        self.watch.ended(answering, answered=True)
        end_prose(answering, response)
        await support_answer(answering, response)
        guard_answer(answering, response)
        without_inner_fields(response)
        return _put_twin_field(answering, _opened(answering, response))

    async def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: UserAPIKeyAuth, response: Any, request_data: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Put the `twin` field on the chunk with the finish reason.

        That chunk waits for the usage chunk behind it, because the cost of the answer needs the
        token counts.
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
                    chunk.id = answering.completion_id  # one answer, one id
                if getattr(chunk, "usage", None):
                    self._end(answering, chunk)
                if any(choice.finish_reason for choice in chunk.choices):
                    last = chunk
                elif chunk.choices and any(_has_content(choice) for choice in chunk.choices):
                    yield chunk
                elif getattr(chunk, "usage", None):
                    if last is not None:
                        yield _put_twin_field(answering, last)
                        last = None
                    if answering.asked.include_usage:
                        yield chunk
            if last is not None:
                self._end(answering, last)
                yield _put_twin_field(answering, last)
            if answering.cost.bought is not None and answering.drawn is None:
                answering.cost.bought.empty()  # unless its end has come
        finally:
            await self._close(answering, streams)

    async def _close(
        self, answering: RequestRecord, streams: Sequence[AsyncGenerator[Any]]
    ) -> None:
        """End the work for a stream that is over, or whose reader has left."""
        answered = answering.cost.is_over
        try:
            # Now: LiteLLM closes it too, after it has counted the tokens of what was written.
            with CancelScope(shield=True):
                for stream in streams:
                    await stream.aclose()
        finally:
            if answering.cost.bought is not None:
                answering.cost.bought.left()  # unless its end has come
            # nothing was counted when the reader left or the server broke off
            answering.end(0, paid_usd=_paid_for(answering))
            self.watch.ended(answering, answered=answered)

    async def _unbroken(
        self,
        answering: RequestRecord,
        streams: list[AsyncGenerator[Any]],
        messages: Sequence[Mapping[str, Any]],
    ) -> AsyncGenerator[Any, None]:
        """A stream's chunks; where it breaks off, it is answered again below: a canary's by the
        stable version, another's by the same one, which is back in about a second.

        Once, and not below half of a JSON document: the two would be none.

        Args:
            streams: holds the one that was asked for; the one that is restarted is put there.
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
            if fallback is not None:  # it is the fallback's own stream where that had taken over
                messages = fallback.messages
            if fallback is not None and by_fallback:
                answering.answered_by_fallback(
                    f"{answering.chosen.route} broke off: answered again by {fallback.chosen.route}"
                )
            else:
                answering.begins_anew()
            again = await self._find_router().acompletion(
                model=answering.chosen.server_key,
                num_retries=RETRIES_OF_BROKEN,
                messages=[dict(message) for message in messages],
                stream=True,
                stream_options={"include_usage": True},
                response_format=answering.asked.response_format,
                litellm_call_id=answering.call_id,  # by it and the traceparent its span is found
                proxy_server_request={"headers": {"traceparent": answering.traceparent}},
                **answering.exchange.sampling,
            )
            streams.append(again)
            apart = "\n\n" if begun else ""
            async for chunk in again:
                for choice in chunk.choices:
                    if apart and choice.delta is not None and choice.delta.content:
                        choice.delta.content, apart = apart + choice.delta.content, ""
                yield chunk

    async def log_success_fallback_event(
        self, original_model_group: str, kwargs: dict[str, Any], original_exception: Exception
    ) -> None:
        """A canary or a routed paid model failed before its first token, and the stable version has
        answered."""
        answering = self.record(kwargs.get("litellm_call_id"))
        if answering is not None:
            if answering.cost.bought is not None:
                answering.cost.bought.failed(original_exception)
            error = type(original_exception).__name__
            route = answering.chosen.route
            by = answering.fallback.chosen.route if answering.fallback else "nobody"
            answering.answered_by_fallback(f"{route} failed ({error}): answered by {by}")

    def note_server(self, answering: RequestRecord, kwargs: dict[str, Any]) -> None:
        """Whose answer is logged; LiteLLM may log it before it tells of the fallback."""
        group = called_server(kwargs)
        if answering.fallback is not None and group == answering.fallback.chosen.server_key:
            answering.answered_by_fallback(
                f"{answering.chosen.route} failed: answered by {answering.fallback.chosen.route}"
            )

    async def async_post_call_response_headers_hook(
        self, data: dict[str, Any], *args: Any, **kwargs: Any
    ) -> dict[str, str] | None:
        """Trace id and sources as headers; on a stream they go out before the first token."""
        answering = self.record(data.get("litellm_call_id"))
        return answering.headers() if answering is not None else None

    async def async_post_call_failure_hook(
        self,
        request_data: dict[str, Any],
        original_exception: Exception,
        user_api_key_dict: UserAPIKeyAuth,
        traceback_str: str | None = None,
    ) -> HTTPException | None:
        """Say what failed and what to do, in place of LiteLLM's wording (`early_opening.py`)."""
        answering = self.record(request_data.get("litellm_call_id"))
        if answering is not None and answering.cost.bought is not None:
            is_ours = isinstance(original_exception, ProxyException | HTTPException)
            if is_ours or answering.fallback is not None:  # then it may be the fallback's error
                answering.cost.bought.left()
            else:
                answering.cost.bought.failed(original_exception)
        if answering is None:
            return None
        if isinstance(original_exception, ProxyException | HTTPException):
            if getattr(original_exception, "status_code", None) == READER_LEFT:
                answering.end(0)  # else its meter would go on counting the machine as busy
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
    """What the answer was bought for; None: its own machine has answered."""
    if answering.cost.bought is None or answering.chosen.server_key != PAID:
        return None
    return answering.cost.bought.usd


def _counted(answering: RequestRecord, response: Any) -> Any:
    if answering.cost.bought is None:
        return response
    return ReadAhead(response, partial(_count, answering, answering.cost.bought))


def _count(answering: RequestRecord, bought: PaidCall, chunk: Any) -> None:
    """A piece of a paid stream has come, unless the fallback has taken over."""
    if answering.drawn is not None:
        return
    for choice in chunk.choices:
        if _has_text(choice):
            bought.received(choice.delta.content)
    if getattr(chunk, "usage", None):
        bought.ended(chunk.usage)


def _opened(answering: RequestRecord, response: Any) -> Any:
    """The answer with what stands before the generated prose, and its citations.

    A copy: the trace is written from the response as the model gave it, and the loop judges that.
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


def _put_twin_field(answering: RequestRecord, response: Any) -> Any:
    # LiteLLM writes a plain chunk by a fast path that knows no other fields; a fingerprint (by
    # OpenAI's definition: which backend answered) makes it write the chunk as it is.
    response.system_fingerprint = answering.chosen.version
    response.twin = answering.twin_field()
    if answering.quotes and getattr(response.choices[0], "delta", None) is not None:
        response.choices[0].delta.annotations = answering.citations
    return response


def _rewrite(data: dict[str, Any], answering: RequestRecord) -> None:
    """Replace what the client sent by what the path prepared; `metadata` stays, LiteLLM needs
    it."""
    request = answering.asked
    for name in _READ:
        data.pop(name, None)
    data |= dict(answering.exchange.sampling)
    data["model"] = answering.chosen.server_key
    data["messages"] = answering.exchange.messages
    if request.stream:
        data["stream"] = True
        data["stream_options"] = {"include_usage": True}
    if request.response_format is not None:
        data["response_format"] = dict(request.response_format)
    # The trace id is the traceparent's; no other header of the client goes any further.
    headers = {"traceparent": answering.traceparent}
    data["proxy_server_request"]["headers"] = headers
    data["metadata"]["headers"] = {}


def _add_fallback(data: dict[str, Any], fallback: Fallback, timeout_s: float) -> None:
    """Let the router fall back to the stable version, at once and with its own prompt."""
    # No second attempt: the reader would wait for it.
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
    """Of what server LiteLLM logs a call: its model group."""
    parameters = kwargs.get("litellm_params") or {}
    return str((parameters.get("metadata") or {}).get("model_group") or "")


def usage_of(response: Any) -> dict[str, int]:
    usage = getattr(response, "usage", None)
    if usage is None:
        return {}
    counts = {
        "input": usage.prompt_tokens,
        "output": usage.completion_tokens,
        "total": usage.total_tokens,
    }
    return {name: int(count) for name, count in counts.items() if count is not None}
