"""Write spans and scores to the outbox in a separate thread.

Scope: the span exporter, and reporting whether answers are traced.
Out of scope: the attributes of a span (`trace_logger.py`), sending it (`langfuse/relay.py`).

OpenTelemetry's batch processor calls `export` in its own thread every half second and once at the
end of the process, so an answer never waits for the disk. Interface:
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
    """Exports spans to the outbox, with the scores added since the last export.

    Attributes:
        problem: the reason that answers are not traced now, as a short clause, or empty.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self._scores: queue.SimpleQueue[QueuedScore] = queue.SimpleQueue()
        self.problem = ""

    def add_scores(self, scores: Sequence[QueuedScore]) -> None:
        """Add scores to the next export without waiting for it."""
        for score in scores:
            self._scores.put(score)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write one batch; a failure is logged and reported by `problem` until the next success."""
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

        scores = [self._scores.get_nowait() for _ in range(self._scores.qsize())]
        try:
            self.outbox.put_trace(
                gzip.compress(encode_spans(spans).SerializeToString(), compresslevel=5, mtime=0)
            )
            if scores:
                self.outbox.put_scores(scores, automatic=True)
        except TwinError as error:
            sys.stderr.write(f"{len(spans)} spans and {len(scores)} scores were lost: {error}\n")
            self.problem = f"the outbox failed, so this answer may not be traced: {error.found}"
            return SpanExportResult.FAILURE
        self.problem = ""
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Do nothing; the batch processor has exported the waiting spans."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002
        """Return True; the exporter buffers no spans."""
        return True
