"""Count the gateway's requests and answers for Prometheus.

Scope: the metrics of this process, and their text for `GET /metrics`.
Out of scope: the route and its key (`gateway/api/routes.py`), the state of the home
(`gateway/runtime/home_metrics.py`).

Several processes of one gateway share a folder of counters, so that a scrape of any of them returns
the sums. Names and units: https://prometheus.io/docs/practices/naming; several processes:
https://prometheus.github.io/client_python/multiprocess
"""
# pyright: strict

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # the library reads it when it is imported
# A quotation takes .1 s; a page of prose on two cores takes a minute.
_DURATION_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)

disable_created_metrics()  # otherwise, a third of the series would be creation times
_process_registry = CollectorRegistry()
_requests = Counter(
    "twin_http_requests",
    "Requests answered, by route and status.",
    ("route", "status"),
    registry=_process_registry,
)
_request_seconds = Histogram(
    "twin_http_request_duration_seconds",
    "Time from a request's first byte to its answer's last byte.",
    ("route",),
    buckets=_DURATION_BUCKETS_S,
    registry=_process_registry,
)
_in_progress = Gauge(
    "twin_http_requests_in_progress",
    "Requests in progress.",
    registry=_process_registry,
    multiprocess_mode="livesum",
)
_answers = Counter(
    "twin_answers",
    "Answers with a trace; outcome is ok or the name of the error.",
    ("author", "version", "route", "outcome"),
    registry=_process_registry,
)
_answer_usd = Counter(
    "twin_answer_cost_dollars",
    "Cost of the answers in US dollars, as recorded in their traces.",
    ("author", "version", "route"),
    registry=_process_registry,
)
_answer_tokens = Counter(
    "twin_answer_tokens",
    "Tokens of the models' prompts (input) and answers (output).",
    ("author", "version", "direction"),
    registry=_process_registry,
)
_guard_findings = Counter(
    "twin_guard_findings",
    "Findings of the guards, by kind and action.",
    ("author", "kind", "action"),
    registry=_process_registry,
)


@dataclass
class RequestOutcome:
    """The outcome of one HTTP request; `status` is 0 if no response started."""

    status: int = 0


@contextmanager
def measure_request(route: str) -> Generator[RequestOutcome]:
    """Count a request and its duration.

    Args:
        route: a known path, or `other`, because every arbitrary path would add a time series.
    """
    outcome, started_at = RequestOutcome(), time.perf_counter()
    _in_progress.inc()
    try:
        yield outcome
    finally:
        _in_progress.dec()
        _requests.labels(route, str(outcome.status)).inc()
        _request_seconds.labels(route).observe(time.perf_counter() - started_at)


def count_answer(
    *,
    author: str,
    version: str,
    route: str,
    usage: Mapping[str, int],
    usd: float | None,
    guard_findings: Iterable[tuple[str, str, int]] = (),
    error: str = "",
) -> None:
    """Count one answer.

    Args:
        usage: the numbers of `input` and `output` tokens; empty if no model was called.
        usd: the cost in US dollars, or None if unknown.
        guard_findings: the kind, action and number of the findings.
        error: the name of the error if the answer failed.
    """
    _answers.labels(author, version, route, error or "ok").inc()
    if usd:
        _answer_usd.labels(author, version, route).inc(usd)
    for direction in ("input", "output"):
        if count := usage.get(direction, 0):
            _answer_tokens.labels(author, version, direction).inc(count)
    for kind, action, count in guard_findings:
        _guard_findings.labels(author, kind, action).inc(count)


def render_metrics(home_collector: Collector) -> bytes:
    """Return the metrics of the gateway's processes and the home in Prometheus's text format."""
    home_registry = CollectorRegistry(auto_describe=False)
    home_registry.register(home_collector)
    process_registry = _process_registry
    if FOLDER_VARIABLE in os.environ:
        process_registry = CollectorRegistry()
        MultiProcessCollector(process_registry)
    return generate_latest(process_registry) + generate_latest(home_registry)
