"""Build answers and votes in the formats in which the gateway sends and queues them.

Scope: building them. Out of scope: a home that contains them (`conftest.py`).
"""

from __future__ import annotations

import base64
import gzip
import json
from datetime import datetime
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.answer_spans import answer_span
from twin_resources.observability.langfuse.outbox import QueuedScore, score_id

AUTHOR = "ada"


def make_span(
    number: int, *, reader: str, question: str, passage: str, chunk: str, at: datetime
) -> Any:
    """Build the generation span of one answer, in OTLP's JSON format."""
    prompt = f"From my posts:\n\n[1] A post (undated)\n{passage}\n\nQuestion: {question}"
    attributes = {
        "langfuse.trace.name": f"twin/{AUTHOR}",
        "user.id": reader,
        "langfuse.observation.input": json.dumps([{"role": "user", "content": prompt}]),
        "langfuse.observation.output": json.dumps({"role": "assistant", "content": "One of both."}),
    }
    return answer_span(
        number, at, attributes=attributes, author=AUTHOR, propensity="1", chunks=chunk,
        reader=reader,
    )  # fmt: skip


def make_vote(number: int, reader: str, value: float | str) -> QueuedScore:
    name = "output" if isinstance(value, str) else "thumbs"
    trace = f"{number:032x}"
    return QueuedScore(
        score_id(name, reader, trace),
        trace,
        name,
        value,
        "CORRECTION" if isinstance(value, str) else "NUMERIC",
        metadata={"twin.reader": reader, "twin.role": "reader", "twin.authors": "*"},
    )


def encode_spans(*spans: Any) -> bytes:
    """Encode spans as the gateway's exporter queues them: gzipped protobuf."""
    # Protobuf's JSON has bytes in base64; OTLP's JSON has hex.
    encoded = [
        span
        | {
            name: base64.b64encode(bytes.fromhex(span[name])).decode()
            for name in ("traceId", "spanId")
        }
        for span in spans
    ]
    body = {"resourceSpans": [{"scopeSpans": [{"spans": encoded}]}]}
    message = json_format.ParseDict(body, ExportTraceServiceRequest())
    return gzip.compress(message.SerializeToString(), mtime=0)
