"""What an answer costs on a machine of one's own, and when a paid model would be cheaper.

Scope: the formulas, and the meter that measures tokens per busy second.
Out of scope: prices (`Settings`), budgets (`paid_budget.py`), the decision (`routing/`).

Route on marginal cost (utilisation 1: the machine is paid for anyway), decide capacity on average
cost.
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from twin_resources.gateway.costs.home_counts import HomeCounts


def self_hosted_usd_per_million_tokens(
    usd_per_hour: float,
    *,
    tokens_per_second: float,
    machines: int = 1,
    overhead: float = 0.0,
    utilisation: float = 1.0,
) -> float:
    """c_self = price · n · (1 + overhead) / (3600 · tokens/s · utilisation) · 10⁶.

    Args:
        usd_per_hour: price of one machine, US dollars.
        tokens_per_second: prompt and answer tokens together that all n machines handle in a busy
            second.
        machines: n.
        overhead: share on top (storage, network, people), 0.2 for 20 %.
        utilisation: busy share of the paid time, in (0, 1]; 1 gives the marginal cost.

    Raises:
        ValueError: a value outside its range.
    """
    if tokens_per_second <= 0 or machines < 1 or overhead < 0 or usd_per_hour < 0:
        raise ValueError(
            "tokens per second and machines are positive, price and overhead not negative"
        )
    if not 0 < utilisation <= 1:
        raise ValueError(f"utilisation is in (0, 1], not {utilisation}")
    paid = usd_per_hour * machines * (1 + overhead)
    return paid / (3600 * tokens_per_second * utilisation) * 1e6


def break_even_utilisation(self_hosted_at_full: float, *, paid_blended: float) -> float:
    """Above this utilisation one's own machine is cheaper than the paid model; above 1: never.

    Args:
        self_hosted_at_full: c_self at utilisation 1, US dollars a million tokens.
        paid_blended: the paid model's price for the same mix of prompt and answer tokens, same
            unit.

    Raises:
        ValueError: the paid price is not positive.
    """
    if paid_blended <= 0:
        raise ValueError("the paid model's price must be positive")
    return self_hosted_at_full / paid_blended


def answer_usd(usd_per_hour: float, *, tokens: int, tokens_per_second: float) -> float:
    """Marginal cost of one answer: its prompt and answer tokens at c_self (utilisation 1).

    Summed over answers this is the machine's price times its busy time: nothing is counted twice.
    """
    per_million = self_hosted_usd_per_million_tokens(
        usd_per_hour, tokens_per_second=tokens_per_second
    )
    return tokens * per_million / 1e6


_METER = "meter "
_MEASURED = ("tokens", "requests", "busy_seconds", "_in_flight", "_busy_since")


def measured_servers(counts: HomeCounts) -> list[str]:
    """Keys of the servers that any process of the gateway has measured."""
    with counts.changing() as table:
        return [name.removeprefix(_METER) for name in table if name.startswith(_METER)]


@dataclass
class Throughput:
    """Tokens per busy second of one model server, measured on the traffic itself.

    A busy second is one in which at least one request is in flight, so that answers that overlap
    share it.

    Attributes:
        tokens: prompt and answer tokens of the finished requests.
        requests: finished requests.
        busy_seconds: length of the union of their times in flight.
        clock: seconds, the same in all processes.
        name, counts: where the gateway's other processes count for the same server.
    """

    tokens: int = 0
    requests: int = 0
    busy_seconds: float = 0.0
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    name: str = ""
    counts: HomeCounts = field(default_factory=HomeCounts, repr=False, compare=False)
    _in_flight: int = 0
    _busy_since: float = 0.0

    def begin(self, *, since: float | None = None) -> None:
        """A request goes to the server.

        Args:
            since: when it did, by the clock, where that is told late; no time is counted twice.
        """
        with self._of_all_processes():
            if self._in_flight == 0:
                now = self.clock()
                self._busy_since = now if since is None else min(now, max(since, self._busy_since))
            self._in_flight += 1

    def end(self, tokens: int) -> None:
        """A request that had begun is over; `tokens` is 0 when it failed."""
        with self._of_all_processes():
            now = self.clock()
            self.busy_seconds += now - self._busy_since
            self._busy_since = now
            self._in_flight = max(0, self._in_flight - 1)
            self.tokens += tokens
            if tokens:
                self.requests += 1

    def read(self) -> None:
        """Take over what other processes have measured since."""
        with self._of_all_processes():
            pass

    @contextmanager
    def _of_all_processes(self) -> Generator[None]:
        if not self.counts.is_shared:
            yield
            return
        with self.counts.changing() as table:
            for field_name, value in table.get(f"{_METER}{self.name}", {}).items():
                setattr(self, field_name, value)
            yield
            table[f"{_METER}{self.name}"] = {one: getattr(self, one) for one in _MEASURED}

    @property
    def tokens_per_second(self) -> float:
        """0 until something was measured."""
        return self.tokens / self.busy_seconds if self.busy_seconds > 0 else 0.0


@dataclass(frozen=True)
class TokenPrices:
    """What a million tokens cost, by who answers, as `/v1/models` tells it.

    Attributes:
        meters: of the model servers, by server key.
        usd_per_hour: price of the machine.
        paid: of the paid model's prompt and answer tokens, US dollars a million; None: there is
            none.
    """

    meters: Mapping[str, Throughput]
    usd_per_hour: float
    paid: tuple[float, float] | None = None

    def of(self, server_key: str, *, is_paid: bool) -> dict[str, float | None]:
        """`usd_per_million_prompt_tokens`, `usd_per_million_answer_tokens`; None: not measured yet.

        A machine of one's own is priced at the marginal cost of the tokens that it was measured at,
        the same for both kinds: it is what the answers themselves are told to cost.
        """
        prompt = answer = None
        if is_paid and self.paid is not None:
            prompt, answer = self.paid
        meter = self.meters.get(server_key)
        if not is_paid and meter is not None and meter.tokens_per_second > 0:
            prompt = answer = self_hosted_usd_per_million_tokens(
                self.usd_per_hour, tokens_per_second=meter.tokens_per_second
            )
        return {
            "usd_per_million_prompt_tokens": prompt,
            "usd_per_million_answer_tokens": answer,
        }
