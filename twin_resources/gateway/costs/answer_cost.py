"""Measure one answer in seconds, tokens per second and US dollars.

Scope: timing and price of an answer, from its start to its end. Out of scope: the formulas and the
meters (`cost.py`), the paid account (`access/paid_budget.py`).
"""
# pyright: strict

from __future__ import annotations

import time
from dataclasses import dataclass

from twin_resources.access.paid_budget import PaidCall
from twin_resources.gateway.costs.cost import ThroughputMeter, answer_usd
from twin_resources.gateway.routing.decision import RoutingNote


@dataclass
class AnswerCost:
    """Timing and price of an answer.

    Attributes:
        usd_per_hour: price of the machine that answers.
        meter: measures that machine's tokens per second; None if a remote machine answers.
        paid_call: the paid call for the answer; None if no paid model is called.
        usd, other_usd, tokens_per_second: set at the end; `other_usd` is the estimated cost of the
            model that was not chosen.
        seconds: duration of the answer.
    """

    usd_per_hour: float
    meter: ThroughputMeter | None
    paid_call: PaidCall | None = None
    usd: float | None = None
    other_usd: float | None = None
    tokens_per_second: float = 0.0
    seconds: float = 0.0
    is_ended: bool = False
    _started_at: float = 0.0

    def begin(self, *, started_at: float | None = None) -> None:
        """Start the clock when the request is sent to its server.

        Args:
            started_at: arrival of the request (`time.monotonic`, seconds), if no model is called.
        """
        self._started_at = time.monotonic() if started_at is None else started_at
        if self.meter is not None:
            self.meter.begin()

    def switch_meter(self, meter: ThroughputMeter) -> None:
        """Continue on another machine after the first one failed."""
        if not self.is_ended:
            if self.meter is not None:  # a remote server has no meter
                self.meter.end(0)
            meter.begin()
        self.meter = meter

    def end(
        self,
        tokens: int,
        *,
        paid_usd: float | None,
        is_fixed: bool,
        is_paid: bool,
        routing_note: RoutingNote | None,
    ) -> None:
        """Compute the cost of the answer; a failed answer has 0 tokens.

        Later calls have no effect.

        Args:
            tokens: prompt and answer tokens together.
            paid_usd: price of a paid model's answer, or None if no paid model answered.
            is_fixed: whether no model was called.
            is_paid: whether the paid model answered.
            routing_note: why this model answered, if a fitted policy decided.
        """
        if self.is_ended:
            return
        self.is_ended = True
        self.seconds = time.monotonic() - self._started_at
        if self.meter is not None:
            self.meter.end(tokens)
            self.tokens_per_second = self.meter.tokens_per_second
        if tokens and routing_note is not None and routing_note.other_model:
            self.other_usd = routing_note.other_usd(tokens)
        if paid_usd is not None:
            self.usd = paid_usd
        elif is_fixed:
            self.usd = 0.0
        elif tokens and self.tokens_per_second > 0:
            self.usd = answer_usd(
                self.usd_per_hour, tokens=tokens, tokens_per_second=self.tokens_per_second
            )
        if not is_paid and self.paid_call is not None and self.paid_call.usd:
            # A paid call that failed during its answer is charged as well.
            self.usd = (self.usd or 0.0) + self.paid_call.usd
