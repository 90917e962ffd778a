"""The gateway's end of the outbox: spans and scores go into it, in a thread of their own.

Scope: the span exporter, and saying whether an answer would leave a trace.
Out of scope: what a span says (`tracing.py`), sending it on (`langfuse/relay.py`).

OpenTelemetry's batch processor calls `export` in its own thread every half second and once at the
end of the process, so no answer waits for the disk. Interface:
https://opentelemetry-python.readthedocs.io/en/latest/sdk/trace.export.html
"""

from __future__ import annotations

import gzip
import queue
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.outbox import Outbox, QueuedScore

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan


class OutboxExporter(SpanExporter):
    """Writes exports, and the scores that were handed over since the last one, into the outbox."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self._scores: queue.SimpleQueue[QueuedScore] = queue.SimpleQueue()
        self._problem = ""

    @property
    def problem(self) -> str:
        """Why answers leave no trace now, as a short clause; empty when they do."""
        return self._problem

    def add_scores(self, scores: Sequence[QueuedScore]) -> None:
        """Hand over scores for the next export; returns at once."""
        for score in scores:
            self._scores.put(score)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Queue one batch; a failure is told, and by `problem` on every answer after it."""
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

        scores = [self._scores.get_nowait() for _ in range(self._scores.qsize())]
        try:
            self.outbox.put_trace(
                gzip.compress(encode_spans(spans).SerializeToString(), compresslevel=5, mtime=0)
            )
            if scores:
                self.outbox.put_scores(scores, automatic=True)
        except TwinError as error:
            sys.stderr.write(f"{len(spans)} spans, {len(scores)} scores not stored: {error}\n")
            self._problem = f"outbox: {error.found}: this answer may leave no trace"
            return SpanExportResult.FAILURE
        self._problem = ""
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """The batch processor has exported what waited."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002
        """Nothing is held back here."""
        return True
