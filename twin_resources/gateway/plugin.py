"""The plugin inside the LiteLLM proxy, and the logger that sends its spans: thin shells over plain
modules.

Belongs here: LiteLLM's hooks, and what must be known about LiteLLM to use them.
Does not belong here: the way from a question to a prompt (`request_path.py`), what an answer says
about itself (`answering.py`), what a span says (`tracing.py`).

Hooks: https://docs.litellm.ai/docs/proxy/call_hooks and litellm/integrations/custom_logger.py
(1.106)
"""
# ruff: noqa: ARG001, ARG002 - LiteLLM calls its hooks with these keywords

from __future__ import annotations

import sys
import traceback
from collections import OrderedDict
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger
from litellm.integrations.langfuse.langfuse_otel import LangfuseOtelLogger
from litellm.integrations.opentelemetry import OpenTelemetryConfig
from litellm.proxy._types import ProxyException, UserAPIKeyAuth
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from twin_resources.gateway import safety
from twin_resources.gateway.answering import Answering
from twin_resources.gateway.automatic_scores import automatic_scores
from twin_resources.gateway.choice import PAID
from twin_resources.gateway.config import SPAN_DELAY_MS
from twin_resources.gateway.keys import Key, Keyring
from twin_resources.gateway.paid_budget import PaidBudget
from twin_resources.gateway.refusals import Refused
from twin_resources.gateway.request_body import ALLOWED_KEYS, read_question
from twin_resources.gateway.request_path import Prepared, RequestPath
from twin_resources.gateway.trace_outbox import OutboxExporter
from twin_resources.gateway.tracing import span_attributes

if TYPE_CHECKING:
    from fastapi import Request

_MOST_REMEMBERED = 2000  # records of failed requests stay until newer ones push them out


class RefusedByPlugin(ProxyException):
    """A refusal inside the proxy, with the body that the door gives its own."""

    def __init__(self, refused: Refused) -> None:
        self._error = refused.body()["error"]
        super().__init__(
            message=str(refused),
            type=str(self._error["type"]),
            param=self._error["param"],
            code=refused.status,
        )

    def to_dict(self) -> dict[str, Any]:
        return dict(self._error)


def user_of(key: Key) -> UserAPIKeyAuth:
    """What LiteLLM's hooks see of a key: its hash, never the key."""
    return UserAPIKeyAuth(
        api_key=key.reader,
        metadata={
            "reader": key.reader,
            "role": key.role,
            "authors": sorted(key.authors),
            "label": key.label,
        },
    )


def key_of(user: UserAPIKeyAuth) -> Key:
    """The key that `user_of` was made from."""
    fields = user.metadata
    return Key(fields["reader"], fields["role"], frozenset(fields["authors"]), fields["label"])


def authenticator(keyring: Keyring) -> Any:
    """The function that LiteLLM's `custom_auth` calls; it replaces LiteLLM's master key too."""

    async def authenticate(request: Request, api_key: str) -> UserAPIKeyAuth:
        try:
            return user_of(keyring.find(request.headers.get("authorization", "")))
        except Refused as error:
            raise RefusedByPlugin(error) from error

    return authenticate


class TwinPlugin(CustomLogger):
    """Runs the request path before a call and adds sources, cost and headers after it."""

    def __init__(self, path: RequestPath, budget: PaidBudget | None) -> None:
        """`budget` is there when a paid route is."""
        super().__init__()
        self.path = path
        self.budget = budget
        self._in_flight: OrderedDict[str, Answering] = OrderedDict()

    def record(self, call_id: object) -> Answering | None:
        """The record of a request by LiteLLM's call id."""
        return self._in_flight.get(str(call_id))

    def forget(self, call_id: object) -> None:
        """Drop a record whose trace was written."""
        self._in_flight.pop(str(call_id), None)

    async def async_pre_call_hook(
        self, user_api_key_dict: UserAPIKeyAuth, cache: Any, data: dict[str, Any], call_type: Any
    ) -> dict[str, Any]:
        """Turn a question into a prompt for one version's server."""
        try:
            asked = read_question({name: data[name] for name in ALLOWED_KEYS if name in data})
            prepared = await self.path.prepare(asked, key_of(user_api_key_dict))
            if self.budget and prepared.answering.chosen.server_key == PAID:
                self.budget.check()
        except Refused as error:
            raise RefusedByPlugin(error) from error
        except Exception as error:
            # LiteLLM would call some of these the client's mistake.
            sys.stderr.write(traceback.format_exc())
            raise RefusedByPlugin(_our_mistake(error)) from error
        self._remember(data["litellm_call_id"], prepared.answering)
        _rewrite(data, prepared)
        return data

    def _remember(self, call_id: str, answering: Answering) -> None:
        while len(self._in_flight) >= _MOST_REMEMBERED:
            _, oldest = self._in_flight.popitem(last=False)
            oldest.end(0)
        self._in_flight[call_id] = answering
        answering.begin()

    async def async_post_call_success_hook(
        self, data: dict[str, Any], user_api_key_dict: UserAPIKeyAuth, response: Any
    ) -> Any:
        """Put the `twin` field on an answer that comes in one piece."""
        answering = self.record(data.get("litellm_call_id"))
        if answering is not None:
            self._end(answering, response)
            _put_twin_field(answering, response)
        return response

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
        try:
            async for chunk in response:
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
        finally:
            answering.end(0)  # nothing was counted when the reader left or the server broke off

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
        """Say what failed and what to do, in place of LiteLLM's wording."""
        answering = self.record(request_data.get("litellm_call_id"))
        if answering is None or isinstance(original_exception, ProxyException | HTTPException):
            return None
        answering.end(0)
        refused = _failed_call(answering, original_exception)
        sys.stderr.write(f"{type(original_exception).__name__}: {refused}\n")
        return HTTPException(status_code=refused.status, detail=str(refused))

    def _end(self, answering: Answering, response: Any) -> None:
        usage = _usage(response)
        paid_usd = None
        if answering.chosen.server_key == PAID and not answering.is_over and self.budget:
            paid_usd = self.budget.price(
                prompt_tokens=usage.get("input", 0), answer_tokens=usage.get("output", 0)
            )
            self.budget.add(paid_usd)
        answering.end(usage.get("total", 0), paid_usd=paid_usd)


class TraceLogger(LangfuseOtelLogger):
    """Queues one generation span an answer, with the attributes of `tracing.span_attributes` and
    no others, and the scores that the gateway gives it."""

    def __init__(self, plugin: TwinPlugin, exporter: OutboxExporter) -> None:
        self._plugin = plugin
        self._exporter = exporter
        config = OpenTelemetryConfig(exporter=exporter)
        super().__init__(config=config, callback_name="langfuse_otel")

    def _get_span_processor(self, *args: Any, **kwargs: Any) -> BatchSpanProcessor:
        # LiteLLM would give an exporter object a processor that writes on the event loop.
        return BatchSpanProcessor(self._exporter, schedule_delay_millis=SPAN_DELAY_MS)

    def flush(self) -> None:
        """Put what waits into the outbox; called before the process ends."""
        self._tracer_provider.force_flush(timeout_millis=3000)

    def set_attributes(self, span: Any, kwargs: dict[str, Any], response_obj: Any) -> None:
        """Write the attributes of the answer that `kwargs` belongs to."""
        call_id = kwargs.get("litellm_call_id")
        answering = self._plugin.record(call_id)
        if answering is None:
            return
        answer = _answer_text(response_obj)
        answering.findings = safety.findings(answer)
        error = kwargs.get("exception")
        span.set_attributes(
            span_attributes(
                answering,
                messages=kwargs.get("messages") or [],
                answer=answer,
                usage=_usage(response_obj),
                model_parameters=_model_parameters(kwargs),
                first_token_at=_first_token_at(kwargs),
                error=type(error).__name__ if error and not answer else "",
            )
        )
        if answer:
            scores = automatic_scores(
                answering,
                answer=answer,
                messages=kwargs.get("messages") or [],
                latency_s=_seconds(kwargs),
            )
            self._exporter.add_scores(scores)
            self._plugin.forget(call_id)

    async def async_log_failure_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        # A refused request has no record: its span would carry a random trace id and say nothing.
        if self._plugin.record(kwargs.get("litellm_call_id")) is not None:
            await super().async_log_failure_event(kwargs, response_obj, start_time, end_time)

    def log_failure_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        if self._plugin.record(kwargs.get("litellm_call_id")) is not None:
            super().log_failure_event(kwargs, response_obj, start_time, end_time)

    def get_tracer_to_use_for_request(self, kwargs: dict[str, Any]) -> Any:
        return self.tracer  # LiteLLM lets a request name another Langfuse; ours does not

    def _maybe_log_raw_request(self, *args: Any, **kwargs: Any) -> None:
        """No second span with the raw request and answer."""

    def _record_exception_on_span(self, *args: Any, **kwargs: Any) -> None:
        """The name of the exception is an attribute; its text holds addresses of model servers."""

    async def async_post_call_success_hook(self, *args: Any, **kwargs: Any) -> Any:
        """No attributes of the HTTP request."""
        return kwargs.get("response")

    async def async_post_call_failure_hook(self, *args: Any, **kwargs: Any) -> None:
        """No span for a request that was refused."""


def _put_twin_field(answering: Answering, response: Any) -> Any:
    # LiteLLM writes a plain chunk by a fast path that knows no other fields; a fingerprint (by
    # OpenAI's definition: which backend answered) makes it write the chunk as it is.
    response.system_fingerprint = answering.chosen.version
    response.twin = answering.twin_field()
    return response


def _rewrite(data: dict[str, Any], prepared: Prepared) -> None:
    """Replace what the client sent by what the path prepared; `metadata` stays, LiteLLM needs
    it."""
    asked = prepared.answering.asked
    for name in ALLOWED_KEYS:
        data.pop(name, None)
    data |= dict(prepared.sampling)
    data["model"] = prepared.answering.chosen.server_key
    data["messages"] = prepared.messages
    if asked.stream:
        data["stream"] = True
        data["stream_options"] = {"include_usage": True}
    if prepared.fixed_answer:
        data["mock_response"] = prepared.fixed_answer
    # The trace id is the traceparent's; no other header of the client goes any further.
    headers = {"traceparent": prepared.answering.traceparent}
    data["proxy_server_request"]["headers"] = headers
    data["metadata"]["headers"] = {}


def _our_mistake(error: Exception) -> Refused:
    return Refused(
        500,
        "gateway_failed",
        tried="prepare the prompt",
        found=f"an error in the gateway ({type(error).__name__})",
        next_step="look into the gateway's log and report what stands there",
    )


def _failed_call(answering: Answering, error: Exception) -> Refused:
    name = answering.chosen.server_key
    if getattr(error, "status_code", None) == 400:
        return Refused(
            400,
            "model_refused",
            tried=f"answer with {answering.asked.model}",
            found=f"that the model server {name!r} refused the prompt ({type(error).__name__})",
            next_step="shorten question and conversation: together they are too long for the model",
        )
    return Refused(
        503,
        "model_server_failed",
        tried=f"answer with {answering.asked.model}",
        found=f"that the model server {name!r} does not answer ({type(error).__name__})",
        next_step="ask again in some seconds; `twin status` and the log `models` say why",
    )


def _has_content(choice: Any) -> bool:
    return bool(choice.delta is not None and (choice.delta.content or choice.delta.role))


def _answer_text(response: Any) -> str:
    choices = getattr(response, "choices", None) or []
    message = getattr(choices[0], "message", None) if choices else None
    return str(getattr(message, "content", None) or "")


def _usage(response: Any) -> dict[str, int]:
    usage = getattr(response, "usage", None)
    if usage is None:
        return {}
    counts = {
        "input": usage.prompt_tokens,
        "output": usage.completion_tokens,
        "total": usage.total_tokens,
    }
    return {name: int(count) for name, count in counts.items() if count is not None}


def _first_token_at(kwargs: dict[str, Any]) -> datetime | None:
    streamed = (kwargs.get("optional_params") or {}).get("stream")
    found = kwargs.get("completion_start_time")
    return found.astimezone(UTC) if streamed and isinstance(found, datetime) else None


def _seconds(kwargs: dict[str, Any]) -> float | None:
    began, ended = kwargs.get("start_time"), kwargs.get("end_time")
    if not isinstance(began, datetime) or not isinstance(ended, datetime):
        return None
    return (ended - began).total_seconds()


def _model_parameters(kwargs: dict[str, Any]) -> dict[str, Any]:
    sent = kwargs.get("optional_params") or {}
    names = ALLOWED_KEYS - {"model", "messages", "stream_options"}
    return {name: sent[name] for name in sorted(names) if name in sent}
