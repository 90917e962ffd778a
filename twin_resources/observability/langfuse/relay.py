"""Send the outbox to the trace store: `python -m twin_resources.observability.langfuse.relay`.

Scope: the sending order, the pauses, and the interpretation of the store's responses.
Out of scope: queueing (`outbox.py`), reading scores back (`ledger/`).
API: `POST /api/public/scores` (one object per call: server 4.16 refuses an array) and
`POST /api/public/otel/v1/traces`; Retry-After follows RFC 9110, section 10.2.3.

The relay is a separate single-threaded program under the supervisor, so waiting an hour for a
server blocks nothing else. A file lock allows one process per outbox; a second process could send
an older vote after a newer one. An item is removed only after a response that confirms that item.
After a missing or invalid response, 429, 5xx or a wrong key, the item is sent again later. After
400, 413, 415 or 422, it is set aside. Langfuse 4 keeps both copies of a trace that is sent twice
and counts its cost twice. If a trace may have arrived, the relay therefore looks for it half a
minute later before it resends it. Pauses use the monotonic clock, so changing the system time does
not stop the relay.
"""
# pyright: strict

from __future__ import annotations

import argparse
import fcntl
import random
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Literal, cast

import httpx

from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.client import parse_retry_after_s
from twin_resources.observability.langfuse.connection import TraceStore, find_trace_store
from twin_resources.observability.langfuse.outbox import (
    Outbox,
    OutboxError,
    QueuedItem,
    outbox_path,
    sending_lock,
)
from twin_resources.observability.langfuse.tombstones import read_spans
from twin_resources.observability.trace_store.json_values import format_timestamp
from twin_resources.settings import load_secrets, load_settings

IDLE_S = 0.25
MIN_PAUSE_S, MAX_PAUSE_S = 0.25, 30.0
# With these codes, the item is at fault; with 401, 403 and 404, the configuration is.
PERMANENT_FAILURES = (400, 413, 415, 422)
TIMEOUT_S = 20.0
TRACE_VISIBILITY_DELAY_S = 30.0  # Langfuse shows an accepted trace only after some seconds


@dataclass(frozen=True)
class SendOutcome:
    """The result of one attempt to send an item.

    Attributes:
        status: `accepted`, `retry` (later) or `refused` (permanently).
        reason: a human-readable reason; empty if the item was accepted.
        wait_s: the seconds to wait before the next attempt, or None for the default pause.
    """

    status: Literal["accepted", "retry", "refused"]
    reason: str = ""
    wait_s: float | None = None


class Sender:
    """Sends items to one trace store.

    A trace that may have arrived is looked for before it is sent again. The embedded store needs
    no such look-up, because it keeps each span id once.
    """

    def __init__(self, store: TraceStore, *, timeout_s: float = TIMEOUT_S) -> None:
        self._checks_before_resend = not store.is_embedded
        self._http = store.open_http_client(timeout_s=timeout_s)

    def send(self, item: QueuedItem) -> SendOutcome:
        """Send an item once. Server and network failures are returned, not raised."""
        checks_trace = item.kind == "trace" and self._checks_before_resend
        # If the trace may have arrived, the next attempt starts by looking for it.
        recheck_wait_s = TRACE_VISIBILITY_DELAY_S if checks_trace else None
        try:
            if checks_trace and item.attempts and self._is_stored(item):
                return SendOutcome("accepted")
            response = self._post(item)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            return SendOutcome("retry", f"no response ({type(error).__name__}: {error})")
        except httpx.HTTPError as error:
            return SendOutcome(
                "retry", f"no response ({type(error).__name__}: {error})", recheck_wait_s
            )
        message = response.text[:300] if not response.is_success else ""
        if response.status_code == 429 or response.status_code >= 500:
            wait_s = parse_retry_after_s(
                response.headers.get("retry-after", ""), now=datetime.now(UTC)
            )
            wait_s = recheck_wait_s if wait_s is None and response.status_code != 429 else wait_s
            return SendOutcome("retry", f"HTTP {response.status_code}: {message}", wait_s)
        if response.status_code in PERMANENT_FAILURES:
            return SendOutcome("refused", f"HTTP {response.status_code}: {message}")
        if not response.is_success:
            return SendOutcome("retry", f"HTTP {response.status_code}: {message}")
        return _check_success_body(item, response)

    def _is_stored(self, item: QueuedItem) -> bool:
        """Return whether the store has every span of an export; False if the query fails."""
        spans = read_spans(item.body)
        start_times_ms = [span.start_ns // 1_000_000 for span in spans]
        stored_ids: set[str] = set()
        for trace_id in {span.trace_id for span in spans}:
            parameters = {
                "traceId": trace_id,
                "fromStartTime": format_timestamp(min(start_times_ms)) or "",
                "toStartTime": format_timestamp(max(start_times_ms) + 1) or "",
                "fields": "core",
                "limit": "1000",
            }
            response = self._http.get("/api/public/v2/observations", params=parameters)
            try:
                stored_ids |= {str(row["id"]) for row in response.raise_for_status().json()["data"]}
            except (httpx.HTTPStatusError, ValueError, LookupError, TypeError):
                return False  # for example, a rate limit, an older server or a captive portal
        return {span.span_id for span in spans} <= stored_ids

    def _post(self, item: QueuedItem) -> httpx.Response:
        if item.kind == "score":
            headers = {"content-type": "application/json"}
            return self._http.post("/api/public/scores", content=item.body, headers=headers)
        headers = {
            "content-type": "application/x-protobuf",
            "content-encoding": "gzip",
            "x-langfuse-ingestion-version": "4",
        }
        path = "/api/public/otel/v1/traces"
        return self._http.post(path, content=item.body, headers=headers)

    def close(self) -> None:
        """Close the connections to the trace store."""
        self._http.close()


def _check_success_body(item: QueuedItem, response: httpx.Response) -> SendOutcome:
    """Return the outcome of a 2xx response. A captive portal returns 200 too, but without JSON.

    The server acknowledges a trace with the job that it queued (`{"name": "otel-ingestion-job",
    "data": {…}}` in 4.16) and an empty export with `{}`. Only OTLP's `partialSuccess` with rejected
    spans says that something was not accepted.
    """
    try:
        body: Any = response.json()
    except ValueError:
        return SendOutcome(
            "retry", f"HTTP {response.status_code} without JSON: {response.text[:120]!r}"
        )
    if not isinstance(body, dict):
        return SendOutcome("retry", f"HTTP {response.status_code} with {response.text[:120]!r}")
    document = cast(dict[str, Any], body)
    if item.kind == "score" and document.get("id") != item.id:
        return SendOutcome("retry", f"HTTP {response.status_code} without the score's id")
    partial_success: Any = document.get("partialSuccess") or {}
    is_object = isinstance(partial_success, dict)
    fields = cast(dict[str, Any], partial_success) if is_object else {}
    if str(fields.get("rejectedSpans") or "0") != "0":
        return SendOutcome("refused", f"spans rejected: {response.text[:300]}")
    return SendOutcome("accepted")


@dataclass
class Relay:
    """Sends the items of one outbox to one trace store."""

    outbox: Outbox
    sender: Sender
    _failures: int = 0
    _last_message: str = ""

    def send_next(self) -> float:
        """Send one item; return the seconds to wait before the next step.

        Raises:
            OutboxError: the outbox cannot be read or written.
        """
        with sending_lock(self.outbox.path):
            item = self.outbox.get_next_item()
            if item is None:
                return IDLE_S
            outcome = self.sender.send(item)
        if outcome.status == "retry":
            self._failures += 1
            self.outbox.record_failure(item, outcome.reason)
            self._report_change(f"trace store: {outcome.reason}")
            return self._pause_s() if outcome.wait_s is None else max(outcome.wait_s, IDLE_S)
        self._failures = 0
        if outcome.status == "refused":
            self.outbox.mark_refused(item, outcome.reason)
            self._report_change(f"{item.kind} {item.id} is permanently refused: {outcome.reason}")
            return 0.0
        self.outbox.mark_sent(item)
        if self._last_message:
            self._report_change("")
        return 0.0

    def _pause_s(self) -> float:
        max_pause_s = min(MIN_PAUSE_S * 2 ** min(self._failures - 1, 20), MAX_PAUSE_S)
        return max_pause_s * (0.5 + random.random() / 2)

    def _report_change(self, message: str) -> None:
        """Print a message that differs from the last one; an empty message means success."""
        if message != self._last_message:
            sys.stderr.write(f"{message or 'the trace store accepts data again'}\n")
            sys.stderr.flush()
        self._last_message = message


@contextmanager
def hold_relay_lock(path: Path) -> Generator[None]:
    """Hold the relay lock of an outbox, which the kernel releases if the holder is killed.

    Raises:
        TwinError: another relay holds the lock.
    """
    with path.with_suffix(".lock").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TwinError(
                f"send the queue in {path}",
                found="another relay is sending it",
                next_step="stop the other relay first, because an outbox has only one",
            ) from error
        yield


def run_relay(relay: Relay, stop: threading.Event) -> None:
    """Send items until `stop` is set; after an outbox error such as a full disk, wait and retry."""
    while not stop.is_set():
        try:
            wait_s = relay.send_next()
        except OutboxError as error:
            sys.stderr.write(f"{error}\n")
            wait_s = MAX_PAUSE_S
        if wait_s:
            stop.wait(wait_s)


def main(arguments: list[str] | None = None) -> int:
    """Run the relay until SIGTERM or SIGINT arrives; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m twin_resources.observability.langfuse.relay")
    parser.add_argument("--home", default=None)
    settings = load_settings(parser.parse_args(arguments).home)
    stop = threading.Event()

    def request_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, request_stop)
    path = outbox_path(settings)
    try:
        outbox = Outbox(path)
        sender = Sender(find_trace_store(settings, load_secrets(settings)))
        with hold_relay_lock(path):
            run_relay(Relay(outbox, sender), stop)
    except TwinError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sender.close()
    outbox.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
