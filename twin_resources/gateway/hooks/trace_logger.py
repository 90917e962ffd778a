"""Queue one span per answer, with only the attributes that `tracing.py` defines.

Scope: LiteLLM's hooks for traces and the details of LiteLLM on which they depend.
Out of scope: the attributes of a span (`tracing.py`), sending it (`trace_outbox.py`).

Hooks: litellm/integrations/opentelemetry.py (1.106)
"""
# ruff: noqa: ARG002 - LiteLLM calls its hooks with these keywords

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fastapi import HTTPException
from litellm.integrations.langfuse.langfuse_otel import LangfuseOtelLogger
from litellm.integrations.opentelemetry import OpenTelemetryConfig
from litellm.proxy._types import ProxyException
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from twin_resources.gateway.config.proxy_config import SPAN_DELAY_MS
from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.hooks import safety
from twin_resources.gateway.hooks.automatic_scores import automatic_scores
from twin_resources.gateway.hooks.plugin import TwinPlugin, token_counts
from twin_resources.gateway.hooks.trace_outbox import OutboxExporter
from twin_resources.gateway.hooks.tracing import span_attributes
from twin_resources.gateway.request.request_body import ALLOWED_KEYS
from twin_resources.observability.metrics import count_answer


class TraceLogger(LangfuseOtelLogger):
    """A logger that queues one generation span per answer, with the gateway's scores."""

    def __init__(self, plugin: TwinPlugin, exporter: OutboxExporter) -> None:
        self._plugin = plugin
        self._exporter = exporter
        config = OpenTelemetryConfig(exporter=exporter)
        super().__init__(config=config, callback_name="langfuse_otel")

    def _get_span_processor(self, *args: Any, **kwargs: Any) -> BatchSpanProcessor:
        # LiteLLM would give an exporter object a processor that writes on the event loop.
        return BatchSpanProcessor(self._exporter, schedule_delay_millis=SPAN_DELAY_MS)

    def flush(self) -> None:
        """Write waiting spans to the outbox; called before the process ends."""
        self._tracer_provider.force_flush(timeout_millis=3000)

    def set_attributes(self, span: Any, kwargs: dict[str, Any], response_obj: Any) -> None:
        """Set the attributes of the answer to which `kwargs` belongs."""
        call_id = kwargs.get("litellm_call_id")
        record = self._plugin.find_record(call_id)
        if record is None:
            return
        record.is_traced = True
        answer = record.shown_text or _answer_text(response_obj)
        self._plugin.record_called_server(record, kwargs)
        record.safety_findings = safety.find_sensitive_kinds(answer)
        exception, usage = kwargs.get("exception"), token_counts(response_obj)
        error = type(exception).__name__ if exception and not answer else ""
        _count_answer(record, usage, error)
        span.set_attributes(
            span_attributes(
                record,
                messages=kwargs.get("messages") or [],
                answer=answer,
                usage=usage,
                model_parameters=_model_parameters(kwargs),
                first_token_at=_first_token_time(kwargs),
                error=error,
            )
        )
        if answer:
            scores = automatic_scores(
                record,
                answer=answer,
                messages=kwargs.get("messages") or [],
                latency_s=_call_seconds(kwargs),
            )
            self._exporter.add_scores(scores)
            self._plugin.watch.count_findings(record)
            self._plugin.remove_record(call_id)

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        record = self._plugin.find_record(kwargs.get("litellm_call_id"))
        if record is not None and record.is_opened and record.is_traced:
            return  # the reader disconnected, and `log_opening` has logged the answer
        await super().async_log_success_event(kwargs, response_obj, start_time, end_time)

    async def async_log_failure_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        if self._needs_failure_span(kwargs):
            await super().async_log_failure_event(kwargs, response_obj, start_time, end_time)

    def log_failure_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        if self._needs_failure_span(kwargs):
            super().log_failure_event(kwargs, response_obj, start_time, end_time)

    def _needs_failure_span(self, kwargs: dict[str, Any]) -> bool:
        """Return whether a failure needs a span here, which is true only for a disconnected reader.

        A refused request has no record, and its span would have a random trace id and no content.
        After a failed attempt, LiteLLM retries or the fallback answers, and the trace must contain
        only that answer; 17 of 600 traces also contained a failed attempt. Final failures are
        logged by `async_post_call_failure_hook`. The proxy itself raises the error of a disconnect.
        """
        record = self._plugin.find_record(kwargs.get("litellm_call_id"))
        if record is None:
            return False
        is_proxy_error = isinstance(kwargs.get("exception"), ProxyException | HTTPException)
        # `log_opening` logs an answer whose opening was sent.
        is_opening = record.is_opened and not record.has_prose
        return (record.cost.is_ended or is_proxy_error) and not record.is_traced and not is_opening

    def get_tracer_to_use_for_request(self, kwargs: dict[str, Any]) -> Any:
        return self.tracer  # LiteLLM would let a request choose another Langfuse server

    def _maybe_log_raw_request(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the raw request and answer get no second span."""

    def _record_exception_on_span(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: an attribute names the exception, and its text contains server addresses."""

    async def async_post_call_success_hook(self, *args: Any, **kwargs: Any) -> Any:
        """Return the response without adding attributes of the HTTP request."""
        return kwargs.get("response")

    async def async_post_call_failure_hook(
        self, request_data: dict[str, Any], original_exception: Exception, *args: Any, **kwargs: Any
    ) -> None:
        """Write the span of a request that no model could answer, but not of a refused one."""
        record = self._plugin.find_record(request_data.get("litellm_call_id"))
        is_refusal = isinstance(original_exception, ProxyException | HTTPException)
        if record is None or is_refusal or record.is_traced or record.is_opened:
            return
        record.end(0)
        messages = request_data.get("messages") or []
        if record.fallback is not None:
            fallback_route = record.fallback.decision.route
            record.record_fallback(f"{record.decision.route} failed, and so did {fallback_route}")
            messages = record.fallback.messages
        self._write_span(record, messages, error=type(original_exception).__name__)

    def log_fixed_answer(self, record: RequestRecord) -> None:
        """Write the span and the scores of an answer that no model wrote."""
        record.safety_findings = safety.find_sensitive_kinds(record.shown_text)
        messages = record.exchange.messages
        self._write_span(record, messages)
        scores = automatic_scores(
            record, answer=record.shown_text, messages=messages, latency_s=record.cost.seconds
        )
        self._exporter.add_scores(scores)
        self._plugin.watch.count_findings(record)

    def log_opening(self, record: RequestRecord) -> None:
        """Write the span of an answer that ended after its opening.

        The reader disconnected, or the model returned no prose.
        """
        if not record.is_traced:  # the record is kept, because LiteLLM may log it later
            self._write_span(record, record.exchange.messages)

    def _write_span(
        self,
        record: RequestRecord,
        messages: Sequence[Mapping[str, Any]],
        *,
        error: str = "",
    ) -> None:
        record.is_traced = True
        _count_answer(record, {}, error)
        end_ns = time.time_ns()
        span = self.tracer.start_span(
            "answer",
            context=self.get_traceparent_from_header({"traceparent": record.traceparent}),
            start_time=end_ns - round(record.cost.seconds * 1e9),
        )
        span.set_attributes(
            span_attributes(
                record,
                messages=messages,
                answer="" if error else record.shown_text,
                usage={},
                model_parameters=record.exchange.sampling,
                error=error,
            )
        )
        span.end(end_ns)


def _count_answer(record: RequestRecord, usage: Mapping[str, int], error: str) -> None:
    count_answer(
        author=record.chat_request.author,
        version=record.decision.version,
        route=record.decision.route,
        usage=usage,
        usd=record.cost.usd,
        guard_findings=[(item.kind, item.action, item.count) for item in record.guard_records],
        error=error,
    )


def _answer_text(response: Any) -> str:
    choices = getattr(response, "choices", None) or []
    message = getattr(choices[0], "message", None) if choices else None
    return str(getattr(message, "content", None) or "")


def _first_token_time(kwargs: dict[str, Any]) -> datetime | None:
    is_stream = (kwargs.get("optional_params") or {}).get("stream")
    token_time = kwargs.get("completion_start_time")
    return token_time.astimezone(UTC) if is_stream and isinstance(token_time, datetime) else None


def _call_seconds(kwargs: dict[str, Any]) -> float | None:
    start_time, end_time = kwargs.get("start_time"), kwargs.get("end_time")
    if not isinstance(start_time, datetime) or not isinstance(end_time, datetime):
        return None
    return (end_time - start_time).total_seconds()


def _model_parameters(kwargs: dict[str, Any]) -> dict[str, Any]:
    options = kwargs.get("optional_params") or {}
    names = ALLOWED_KEYS - {"model", "messages", "stream_options", "response_format"}
    parameters = {name: options[name] for name in sorted(names) if name in options}
    # Only the type, because a schema may be longer than the answer.
    response_format = options.get("response_format")
    return parameters | (
        {"response_format": response_format["type"]} if isinstance(response_format, dict) else {}
    )
