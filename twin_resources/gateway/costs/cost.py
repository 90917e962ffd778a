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

from twin_resources.gateway.costs.home_counts import HomeCounts


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


_METER_PREFIX = "meter "
_SHARED_FIELDS = ("tokens", "requests", "busy_seconds", "_in_flight", "_busy_since")


def list_measured_servers(counts: HomeCounts) -> list[str]:
    """Return the keys of the servers that any process of the gateway has measured."""
    with counts.lock_table() as table:
        return [
            name.removeprefix(_METER_PREFIX) for name in table if name.startswith(_METER_PREFIX)
        ]


@dataclass
class ThroughputMeter:
    """Tokens per busy second of one model server, measured on live traffic.

    A busy second has at least one request in flight, so overlapping answers share it.

    Attributes:
        tokens: prompt and answer tokens of the finished requests.
        requests: number of finished requests.
        busy_seconds: time with at least one request in flight.
        clock: returns seconds that are comparable between processes.
        name, counts: name of the server, and the counters shared with the gateway's other
            processes.
    """

    tokens: int = 0
    requests: int = 0
    busy_seconds: float = 0.0
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    name: str = ""
    counts: HomeCounts = field(default_factory=HomeCounts, repr=False, compare=False)
    _in_flight: int = 0
    _busy_since: float = 0.0

    def begin(self) -> None:
        """Count a request that is sent to the server."""
        with self._lock_counts():
            if self._in_flight == 0:
                self._busy_since = self.clock()
            self._in_flight += 1

    def end(self, tokens: int) -> None:
        """Count the end of a request; `tokens` is 0 if it failed."""
        with self._lock_counts():
            now = self.clock()
            self.busy_seconds += now - self._busy_since
            self._busy_since = now
            self._in_flight = max(0, self._in_flight - 1)
            self.tokens += tokens
            if tokens:
                self.requests += 1

    def refresh(self) -> None:
        """Read the measurements of the other processes."""
        with self._lock_counts():
            pass

    @contextmanager
    def _lock_counts(self) -> Generator[None]:
        if self.counts.path is None:
            yield
            return
        with self.counts.lock_table() as table:
            for field_name, value in table.get(f"{_METER_PREFIX}{self.name}", {}).items():
                setattr(self, field_name, value)
            yield
            table[f"{_METER_PREFIX}{self.name}"] = {
                name: getattr(self, name) for name in _SHARED_FIELDS
            }

    @property
    def tokens_per_second(self) -> float:
        """Throughput, or 0 before the first measurement."""
        return self.tokens / self.busy_seconds if self.busy_seconds > 0 else 0.0
