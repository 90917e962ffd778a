"""Queue one span and the gateway's own scores for each answer.

A span has no attributes but these: LiteLLM's would contain the client's address, headers, user
agent and key hash. Attribute names: https://langfuse.com/integrations/native/opentelemetry

The scores are the share of judged sentences that the posts support, seconds, US dollars,
the best quotation's score and threshold, and the findings of the guards.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from types import MappingProxyType
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from twin_resources.gateway.config.proxy_config import SPAN_DELAY_MS
from twin_resources.gateway.exchange.exchange import RequestRecord
from twin_resources.gateway.guards.guard_record import guard_scores
from twin_resources.gateway.hooks.trace_outbox import OutboxExporter
from twin_resources.observability.langfuse.outbox import QueuedScore, score_id
from twin_resources.observability.langfuse.score_names import (
    QUOTATIONS,
    QUOTE_SCORE,
    QUOTE_THRESHOLD,
)
from twin_resources.observability.metrics import count_answer
from twin_resources.privacy import Kind, find_personal_data, redact

SUPPORT, LATENCY, COST = "support", "latency_s", "cost_usd"
# A separate environment, so that queries for scores of readers and judges exclude these.
ENVIRONMENT = "measured"
# Names and places are excluded, because answers contain many and no pattern finds them. Kinds that
# are detected only in questions (`privacy/stated_data.py`) are excluded as well.
FINDING_NAMES: Mapping[Kind, str] = MappingProxyType(
    {
        "private key": "private_key",
        "key": "api_key",
        "web token": "json_web_token",
        "secret": "secret",
        "e-mail": "email",
        "iban": "iban",
        "card": "card",
        "ssn": "ssn",
        "national id": "national_id",
        "ip address": "ip_address",
        "phone": "phone",
    }
)
"""Kind of `privacy` → its name in a trace. Names are compared over months, so keep them stable."""


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
        count_answer(
            author=record.chat_request.author,
            version=record.decision.version,
            route=record.decision.route,
            usage=record.usage,
            usd=record.usd,
            guard_findings=[(item.kind, item.action, item.count) for item in record.guard_records],
            error=error,
        )
        end_ns = time.time_ns()
        traceparent = f"00-{record.trace_id}-{record.span_id}-01"
        span = self._tracer.start_span(
            "answer",
            context=TraceContextTextMapPropagator().extract({"traceparent": traceparent}),
            start_time=end_ns - round(record.seconds * 1e9),
        )
        attributes = span_attributes(
            record, first_token_ns=first_token_ns, error=error, environment=self._environment
        )
        span.set_attributes(attributes)
        span.end(end_ns)
        if record.shown_text and (record.is_fixed or record.has_prose):
            self._exporter.add_scores(automatic_scores(record))


def span_attributes(
    record: RequestRecord,
    *,
    first_token_ns: int | None = None,
    error: str = "",
    environment: str = "",
) -> dict[str, str | bool | list[str]]:
    """Return every attribute of the generation span of one answer.

    Personal data and secrets are removed from the prompt and the answer, as in the ledger's copy.

    Args:
        first_token_ns: when a stream's first prose was sent, in nanoseconds since 1970.
        error: name of the exception if the call failed.
        environment: the Langfuse environment; empty means `default`.
    """

    def redact_text(text: str) -> str:
        return redact(text, region=record.author.language).text

    def redact_content(message: Mapping[str, Any]) -> dict[str, Any]:
        return {**message, "content": redact_text(str(message.get("content") or ""))}

    chat_request, answer, key = record.chat_request, record.shown_text, record.exchange.key
    parameters = dict(record.exchange.sampling)
    if chat_request.response_format is not None:  # only the type: a schema may be long
        parameters["response_format"] = chat_request.response_format["type"]
    tags = [
        chat_request.author,
        f"question: {chat_request.prompt_class}",
        f"answer: {record.answer_form}",
        *["batch"] * chat_request.is_batch,
        *["degraded"] * bool(record.degraded),
    ]
    # The API has no conversations: a client sends all turns each time. The reader, the day and the
    # first question therefore tell conversations apart.
    first_question = next(
        (turn["content"] for turn in chat_request.history if turn["role"] == "user"),
        chat_request.question,
    )
    today = datetime.now(UTC).date().isoformat()
    conversation = "\x1f".join((chat_request.author, key.reader, today, first_question))
    session = hashlib.sha256(conversation.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    attributes: dict[str, str | bool | list[str]] = {
        "langfuse.observation.type": "generation",
        # The parent span exists only to set the trace id.
        "langfuse.internal.as_root": True,
        "langfuse.observation.model.name": record.decision.server_key,
        "langfuse.observation.input": _to_json(
            [redact_content(turn) for turn in record.exchange.messages]
        ),
        "langfuse.observation.model.parameters": _to_json(parameters),
        "langfuse.trace.name": f"twin/{chat_request.author}",
        "langfuse.trace.tags": tags,
        "langfuse.version": record.decision.version,
        "langfuse.release": f"llm-twin {installed_version('llm-twin')}",
        "user.id": key.reader,
        "session.id": session,
    }
    if environment:
        attributes["langfuse.environment"] = environment
    if answer:
        answer_message = redact_content({"role": "assistant", "content": answer})
        attributes["langfuse.observation.output"] = _to_json(answer_message)
    if record.usage:
        attributes["langfuse.observation.usage_details"] = _to_json(record.usage)
    if record.usd is not None:
        attributes["langfuse.observation.cost_details"] = _to_json({"total": record.usd})
    if first_token_ns is not None:
        first_token_time = datetime.fromtimestamp(first_token_ns / 1e9, UTC).isoformat()
        attributes["langfuse.observation.completion_start_time"] = _to_json(first_token_time)
    if error:
        attributes["langfuse.observation.level"] = "ERROR"
        attributes["langfuse.observation.status_message"] = error
    # Langfuse shows the metadata of the outermost observation as the trace's.
    metadata = {
        **record.trace_metadata(),
        "twin.safety": ",".join(find_sensitive_kinds(answer)),
        # The trace's answer is the prose alone, because that is what judges rate.
        "twin.above_prose": redact_text(record.prefix) if record.prose_label else "",
    }
    return attributes | {
        f"langfuse.observation.metadata.{name}": value for name, value in metadata.items() if value
    }


def _to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def find_sensitive_kinds(answer: str) -> tuple[str, ...]:
    """Return the names of the findings in an answer, each once, in the order of `FINDING_NAMES`.

    An answer with a finding is recorded and still sent.
    """
    kinds = {span.kind for span in find_personal_data(answer)}
    return tuple(name for kind, name in FINDING_NAMES.items() if kind in kinds)


def automatic_scores(record: RequestRecord) -> list[QueuedScore]:
    """Return the scores of an ended answer; values that could not be measured are omitted."""
    sentences, quote_result = record.prose_note.supported_sentences, record.exchange.quote_result
    values = {
        SUPPORT: sentences.kept_count / sentences.claim_count
        if sentences and sentences.claim_count
        else None,
        LATENCY: record.seconds,
        COST: record.usd,
        QUOTE_SCORE: quote_result.best_score if quote_result else None,
        QUOTE_THRESHOLD: quote_result.threshold if quote_result else None,
        QUOTATIONS: float(len(record.exchange.quotes)) if quote_result else None,
        **guard_scores(record.guard_records),
    }
    return [
        QueuedScore(
            id=score_id(name, record.trace_id),
            trace_id=record.trace_id,
            name=name,
            value=round(value, 9),
            metadata={"twin.by": "gateway", "twin.author": record.chat_request.author},
            environment=ENVIRONMENT,
        )
        for name, value in values.items()
        if value is not None
    ]
