"""Queue one span and the gateway's scores for each answer, with the attributes of `tracing.py`."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from twin_resources.gateway.config.proxy_config import SPAN_DELAY_MS
from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.hooks import safety
from twin_resources.gateway.hooks.automatic_scores import automatic_scores
from twin_resources.gateway.hooks.trace_outbox import OutboxExporter
from twin_resources.gateway.hooks.tracing import span_attributes
from twin_resources.observability.metrics import count_answer


class TraceLogger:
    """A logger that queues one generation span per answer, with the gateway's scores."""

    def __init__(self, exporter: OutboxExporter, *, environment: str = "") -> None:
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

    def log(
        self, record: RequestRecord, *, first_token_ns: int | None = None, error: str = ""
    ) -> None:
        """Write the span of an ended answer and its scores, and count it.

        Args:
            first_token_ns: when a stream's first prose was sent, in nanoseconds since 1970.
            error: name of the exception if nothing was answered.
        """
        fallback = record.fallback if record.replaced_decision is not None else None
        messages = fallback.messages if fallback else record.exchange.messages
        answer, response_format = record.shown_text, record.chat_request.response_format
        record.safety_findings = safety.find_sensitive_kinds(answer)
        count_answer(
            author=record.chat_request.author,
            version=record.decision.version,
            route=record.decision.route,
            usage=record.usage,
            usd=record.cost.usd,
            guard_findings=[(item.kind, item.action, item.count) for item in record.guard_records],
            error=error,
        )
        end_ns = time.time_ns()
        start_ns = end_ns - round(record.cost.seconds * 1e9)
        parent = TraceContextTextMapPropagator().extract({"traceparent": record.traceparent})
        span = self._tracer.start_span("answer", context=parent, start_time=start_ns)
        parameters = dict(record.exchange.sampling)
        if response_format is not None:  # only the type: a schema may be longer than the answer
            parameters["response_format"] = response_format["type"]
        span.set_attributes(
            span_attributes(
                record,
                messages=messages,
                answer=answer,
                usage=record.usage,
                model_parameters=parameters,
                first_token_at=datetime.fromtimestamp(first_token_ns / 1e9, UTC)
                if first_token_ns
                else None,
                error=error,
                environment=self._environment,
            )
        )
        span.end(end_ns)
        if answer and (record.is_fixed or record.has_prose):
            self._exporter.add_scores(
                automatic_scores(
                    record, answer=answer, messages=messages, latency_s=record.cost.seconds
                )
            )
