"""Queue one span per answer, with only the attributes that `tracing.py` defines.

Scope: LiteLLM's logging hooks and the details of LiteLLM on which they depend. LiteLLM's own logger
for OpenTelemetry is not used: it would write attributes, metrics and spans that are never read.
Out of scope: the attributes of a span (`tracing.py`), sending it (`trace_outbox.py`).

Hooks: litellm/integrations/custom_logger.py (1.106)
"""
# ruff: noqa: ARG002 - LiteLLM calls its hooks with these keywords

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy._types import ProxyException
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from twin_resources.gateway.config.proxy_config import SPAN_DELAY_MS
from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.hooks import safety
from twin_resources.gateway.hooks.automatic_scores import automatic_scores
from twin_resources.gateway.hooks.plugin import TwinPlugin, token_counts
from twin_resources.gateway.hooks.trace_outbox import OutboxExporter
from twin_resources.gateway.hooks.tracing import span_attributes
from twin_resources.gateway.request.request_body import ALLOWED_KEYS
from twin_resources.observability.metrics import count_answer


class TraceLogger(CustomLogger):
    """A logger that queues one generation span per answer, with the gateway's scores."""

    def __init__(
        self, plugin: TwinPlugin, exporter: OutboxExporter, *, environment: str = ""
    ) -> None:
        super().__init__()
        self._plugin = plugin
        self._exporter = exporter
        self._environment = environment
        # Langfuse copies what it does not know into the metadata of every span: OpenTelemetry's
        # description of itself, and all attributes of a scope not named `langfuse-sdk…`.
        self._provider = TracerProvider(resource=Resource({"service.name": "llm-twin"}))
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, schedule_delay_millis=SPAN_DELAY_MS)
        )
        self._tracer = self._provider.get_tracer("langfuse-sdk.llm-twin")

    def flush(self) -> None:
        """Write waiting spans to the outbox; called before the process ends."""
        self._provider.force_flush(timeout_millis=3000)

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """Write the span of an answer, unless `log_opening` has written it for a disconnect."""
        record = self._plugin.find_record(kwargs.get("litellm_call_id"))
        if record is not None and not record.is_traced:
            self._log_call(record, kwargs, response_obj, (start_time, end_time))

    async def async_log_failure_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        self.log_failure_event(kwargs, response_obj, start_time, end_time)

    def log_failure_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """Write the span of a request whose reader has disconnected."""
        record = self._plugin.find_record(kwargs.get("litellm_call_id"))
        if record is not None and _needs_failure_span(record, kwargs.get("exception")):
            self._log_call(record, kwargs, response_obj, (start_time, end_time))

    def _log_call(
        self,
        record: RequestRecord,
        kwargs: dict[str, Any],
        response: Any,
        times: tuple[datetime, datetime],
    ) -> None:
        """Write the span of a call to a model, and the scores of its answer."""
        messages = kwargs.get("messages") or []
        # After an early opening, the reader has the opening even if the model wrote nothing.
        opening_text = record.opening.text if record.is_opened else ""
        answer = record.shown_text or _answer_text(response) or opening_text
        self._plugin.record_called_server(record, kwargs)
        record.safety_findings = safety.find_sensitive_kinds(answer)
        exception = kwargs.get("exception")
        self._write_span(
            record,
            messages,
            answer=answer,
            times_ns=(_to_ns(times[0]), _to_ns(times[1])),
            usage=token_counts(response),
            model_parameters=_model_parameters(kwargs),
            first_token_at=_first_token_time(kwargs),
            error=type(exception).__name__ if exception and not answer else "",
        )
        if answer:
            self._add_scores(record, answer, messages, latency_s=_call_seconds(kwargs))
            self._plugin.remove_record(kwargs.get("litellm_call_id"))

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
        self._write_span(record, messages, answer=record.shown_text)
        self._add_scores(record, record.shown_text, messages, latency_s=record.cost.seconds)

    def log_opening(self, record: RequestRecord) -> None:
        """Write the span of an answer that ended after its opening.

        The reader disconnected, or the model returned no prose.
        """
        if not record.is_traced:  # the record is kept, because LiteLLM may log it later
            self._write_span(record, record.exchange.messages, answer=record.shown_text)

    def _add_scores(
        self,
        record: RequestRecord,
        answer: str,
        messages: Sequence[Mapping[str, Any]],
        *,
        latency_s: float | None,
    ) -> None:
        scores = automatic_scores(record, answer=answer, messages=messages, latency_s=latency_s)
        self._exporter.add_scores(scores)

    def _write_span(
        self,
        record: RequestRecord,
        messages: Sequence[Mapping[str, Any]],
        *,
        answer: str = "",
        times_ns: tuple[int, int] | None = None,
        usage: Mapping[str, int] = MappingProxyType({}),
        model_parameters: Mapping[str, Any] | None = None,
        first_token_at: datetime | None = None,
        error: str = "",
    ) -> None:
        """Write the span of an answer and count the answer.

        Args:
            times_ns: start and end in nanoseconds since 1970; by default the time of the answer,
                which ends now.
            model_parameters: sampling parameters as LiteLLM sent them; None for the prepared ones.
        """
        record.is_traced = True
        count_answer(
            author=record.chat_request.author,
            version=record.decision.version,
            route=record.decision.route,
            usage=usage,
            usd=record.cost.usd,
            guard_findings=[(item.kind, item.action, item.count) for item in record.guard_records],
            error=error,
        )
        now_ns = time.time_ns()
        start_ns, end_ns = times_ns or (now_ns - round(record.cost.seconds * 1e9), now_ns)
        parent = TraceContextTextMapPropagator().extract({"traceparent": record.traceparent})
        span = self._tracer.start_span("answer", context=parent, start_time=start_ns)
        span.set_attributes(
            span_attributes(
                record,
                messages=messages,
                answer=answer,
                usage=usage,
                model_parameters=(
                    record.exchange.sampling if model_parameters is None else model_parameters
                ),
                first_token_at=first_token_at,
                error=error,
                environment=self._environment,
            )
        )
        span.end(end_ns)


def _needs_failure_span(record: RequestRecord, error: object) -> bool:
    """Return whether a failure needs a span here, which is true only for a disconnected reader.

    After a failed attempt, LiteLLM retries or the fallback answers, and the trace must contain only
    that answer; 17 of 600 traces also contained a failed attempt. Final failures are logged by
    `async_post_call_failure_hook`. The proxy itself raises the error of a disconnect.
    """
    is_proxy_error = isinstance(error, ProxyException | HTTPException)
    # `log_opening` logs an answer whose opening was sent.
    is_opening = record.is_opened and not record.has_prose
    return (record.cost.is_ended or is_proxy_error) and not record.is_traced and not is_opening


def _to_ns(moment: datetime) -> int:
    return round(moment.timestamp() * 1e9)


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
