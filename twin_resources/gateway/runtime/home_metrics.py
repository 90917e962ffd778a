"""Report the state of a home to Prometheus: model servers, outbox, scores, evidence, spending.

Scope: reading the numbers when Prometheus scrapes a gateway.
Out of scope: counting requests and answers (`observability/metrics.py`), alert rules
(`deploy/monitoring/alerts.yaml`).

Every gateway of a home returns the same numbers, so an alert rule takes the maximum over
gateways. A part that cannot be read is left out, and `twin_home_readable` names it; the other parts
are still reported.
"""
# pyright: strict

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import sqlalchemy as sa
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from twin_resources.access.account import NANO_PER_DOLLAR, open_account
from twin_resources.errors import TwinError
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.observability.langfuse.outbox import Outbox
from twin_resources.quality.ledger.ledger_tables import read_feed, scores
from twin_resources.quality.ledger.ledger_writer import SCORES
from twin_resources.quality.retraining import score_watch
from twin_resources.quality.retraining.alarm_records import oldest_open_alarms
from twin_resources.quality.retraining.retraining_rules import rules_from_settings
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state

Metrics = Iterator[GaugeMetricFamily | CounterMetricFamily]


@dataclass(eq=False)  # a registry keeps its collectors in a dictionary
class HomeMetrics(Collector):
    """A collector of the numbers of one home."""

    settings: Settings
    live_config: LiveConfig
    outbox: Outbox

    def collect(self) -> Metrics:
        """Yield the metrics that can be read now."""
        parts: dict[str, Callable[[], Metrics]] = {
            "servers": self._read_servers,
            "outbox": self._read_outbox,
            "quality": self._read_quality,
            "spending": self._read_spending,
        }
        readable_samples: list[tuple[tuple[str, ...], float]] = []
        for name, read in parts.items():
            try:
                metrics = list(read())
            except (TwinError, SQLAlchemyError):
                readable_samples.append(((name,), 0))
                continue
            readable_samples.append(((name,), 1))
            yield from metrics
        yield _gauge(
            "twin_home_readable",
            "1 if this part of the home could be read.",
            ("part",),
            readable_samples,
        )

    def _read_servers(self) -> Metrics:
        servers = self.live_config.current.servers
        yield _gauge(
            "twin_model_server_ready",
            "1 if the model server accepts requests.",
            ("server",),
            [((name,), float(server.ready)) for name, server in servers.items()],
        )

    def _read_outbox(self) -> Metrics:
        counts = self.outbox.counts()
        age_s = time.time() - counts.oldest_at if counts.oldest_at is not None else 0.0
        yield GaugeMetricFamily(
            "twin_outbox_oldest_age_seconds", "Age of the oldest waiting item.", max(0.0, age_s)
        )
        yield CounterMetricFamily(
            "twin_outbox_dropped_traces", "Traces dropped to free space.", counts.dropped_traces
        )

    def _read_quality(self) -> Metrics:
        with (
            closing(open_home_state(self.settings)) as state,
            state.read_transaction() as connection,
        ):
            if not sa.inspect(connection).has_table(scores.name):
                return  # no score has been read yet
            feed = read_feed(connection, SCORES)
            author_streams = score_watch.current_evidence(connection)
            armed_count = score_watch.count_armed_streams(connection)
            alarms = oldest_open_alarms(connection)
        if feed is not None:
            yield GaugeMetricFamily(
                "twin_scores_read_timestamp_seconds",
                "Time up to which the scores of the trace store were read.",
                feed.frontier_ms / 1000,
            )
        yield _gauge(
            "twin_quality_evidence",
            "Evidence (e-value) that the scores have dropped.",
            ("author", "stream", "version"),
            [
                ((author, stream.stream, stream.version), stream.likelihood_ratio)
                for author, evidence in author_streams.items()
                for stream in evidence
            ],
        )
        yield GaugeMetricFamily(
            "twin_quality_alarm_threshold",
            "The evidence that raises an alarm.",
            rules_from_settings(self.settings).threshold(armed_count),
        )
        yield _gauge(
            "twin_quality_alarm_raised_timestamp_seconds",
            "Time at which the oldest undecided alarm was raised.",
            ("author",),
            [((author,), alarm.raised_at) for author, alarm in alarms.items()],
        )

    def _read_spending(self) -> Metrics:
        with closing(open_home_state(self.settings)) as state:
            rows = open_account(self.settings, state).list_spending(period="day")
        nano_dollars: Counter[tuple[str, str]] = Counter()
        for row in rows:
            nano_dollars[str(row["purpose"]), str(row["author"])] += int(row["nano"])
        yield _gauge(
            "twin_spent_today_dollars",
            "Cost of paid models in US dollars since midnight UTC.",
            ("purpose", "author"),
            [(key, nano / NANO_PER_DOLLAR) for key, nano in nano_dollars.items()],
        )
        if self.settings.budget_per_day is not None:
            yield GaugeMetricFamily(
                "twin_budget_per_day_dollars",
                "The home's limit in US dollars per day.",
                self.settings.budget_per_day,
            )


def _gauge(
    name: str,
    description: str,
    labels: tuple[str, ...],
    samples: Iterable[tuple[tuple[str, ...], float]],
) -> GaugeMetricFamily:
    """Return a gauge with one value for each tuple of label values."""
    family = GaugeMetricFamily(name, description, labels=labels)
    for label_values, value in samples:
        family.add_metric(label_values, value)
    return family
