"""Compute the cost of a self-hosted answer, and compare it with a paid model.

Scope: the formulas, and the meter that measures tokens per busy second.
Out of scope: prices (`Settings`), budgets (`paid_budget.py`), the decision (`routing/`).

Costs are marginal (utilization 1), because the machine costs the same when idle.
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from twin_resources.gateway.costs.home_counts import CounterValues, HomeCounts


def self_hosted_usd_per_million_tokens(usd_per_hour: float, *, tokens_per_second: float) -> float:
    """Return the marginal cost c_self = price / (3600 · tokens/s) · 10⁶.

    Args:
        usd_per_hour: price of the machine, in US dollars.
        tokens_per_second: prompt and answer tokens together that it handles in a busy second.

    Raises:
        ValueError: a value is outside its range.
    """
    if tokens_per_second <= 0 or usd_per_hour < 0:
        raise ValueError("tokens per second must be positive, and the price at least 0")
    return usd_per_hour / (3600 * tokens_per_second) * 1e6


def break_even_utilization(self_hosted_usd: float, *, paid_usd: float) -> float:
    """Return the utilization above which the self-hosted machine is cheaper than the paid model.

    A result above 1 means that it is never cheaper.

    Args:
        self_hosted_usd: c_self at utilization 1, US dollars per million tokens.
        paid_usd: the paid model's price for the same mix of prompt and answer tokens, in the
            same unit.

    Raises:
        ValueError: the paid price is not positive.
    """
    if paid_usd <= 0:
        raise ValueError("the paid model's price must be positive")
    return self_hosted_usd / paid_usd


def answer_usd(usd_per_hour: float, *, tokens: int, tokens_per_second: float) -> float:
    """Return the marginal cost of one answer: its tokens at c_self with utilization 1.

    The sum over all answers is the machine's price times its busy time, so no cost is counted
    twice.
    """
    usd_per_million = self_hosted_usd_per_million_tokens(
        usd_per_hour, tokens_per_second=tokens_per_second
    )
    return tokens * usd_per_million / 1e6


@dataclass(frozen=True)
class Throughput:
    """Tokens per busy second of one model server.

    Attributes:
        tokens: prompt and answer tokens of the finished requests.
        requests: number of finished requests.
        busy_seconds: time with at least one request in flight.
    """

    tokens: int = 0
    requests: int = 0
    busy_seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        """Throughput, or 0 before the first measurement."""
        return self.tokens / self.busy_seconds if self.busy_seconds > 0 else 0.0


_METER_PREFIX = "meter "


@dataclass(frozen=True)
class ThroughputMeter:
    """Measures the throughput of one model server on live traffic, for all gateway processes.

    A busy second has at least one request in flight, so overlapping answers share it.

    Attributes:
        name, counts: name of the server, and the counters shared with the gateway's other
            processes.
        clock: returns seconds that are comparable between processes.
    """

    name: str = ""
    counts: HomeCounts = field(default_factory=HomeCounts, repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    def begin(self) -> None:
        """Count a request that is sent to the server."""
        with self._lock_row() as row:
            if not row.get("in_flight"):
                row["busy_since"] = self.clock()
            row["in_flight"] = row.get("in_flight", 0) + 1

    def end(self, tokens: int) -> Throughput:
        """Count the end of a request, and return the throughput; `tokens` is 0 if it failed."""
        with self._lock_row() as row:
            now = self.clock()
            row["busy_seconds"] = row.get("busy_seconds", 0.0) + now - row.get("busy_since", now)
            row["busy_since"] = now
            row["in_flight"] = max(0, row.get("in_flight", 0) - 1)
            row["tokens"] = row.get("tokens", 0) + tokens
            row["requests"] = row.get("requests", 0) + bool(tokens)
            return _read_row(row)

    @contextmanager
    def _lock_row(self) -> Generator[CounterValues]:
        with self.counts.lock_table() as table:
            yield table.setdefault(f"{_METER_PREFIX}{self.name}", {})


def read_throughputs(counts: HomeCounts) -> dict[str, Throughput]:
    """Return the throughput of each server that any process of the gateway has measured."""
    with counts.lock_table() as table:
        return {
            name.removeprefix(_METER_PREFIX): _read_row(row)
            for name, row in table.items()
            if name.startswith(_METER_PREFIX)
        }


def _read_row(row: CounterValues) -> Throughput:
    tokens, requests = int(row.get("tokens", 0)), int(row.get("requests", 0))
    return Throughput(tokens, requests, row.get("busy_seconds", 0.0))
