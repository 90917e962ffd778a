"""Test the cost formulas and the throughput meter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_resources.gateway.costs.cost import (
    Throughput,
    ThroughputMeter,
    answer_usd,
    break_even_utilization,
    read_throughputs,
    self_hosted_usd_per_million_tokens,
)


def test_the_price_of_a_million_tokens_follows_from_the_throughput() -> None:
    # 2 $/h at 1,000 tokens/s: 3,600,000 tokens an hour.
    full_load_usd = self_hosted_usd_per_million_tokens(2.0, tokens_per_second=1000)
    assert full_load_usd == pytest.approx(2.0 / 3.6)
    assert break_even_utilization(full_load_usd, paid_usd=1.5) == pytest.approx(2.0 / 5.4)


@pytest.mark.parametrize(("usd_per_hour", "tokens_per_second"), [(1.0, 0.0), (-1.0, 1.0)])
def test_values_outside_their_range_are_refused(
    usd_per_hour: float, tokens_per_second: float
) -> None:
    with pytest.raises(ValueError, match="positive"):
        self_hosted_usd_per_million_tokens(usd_per_hour, tokens_per_second=tokens_per_second)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_overlapping_answers_share_the_busy_time() -> None:
    clock = Clock()
    meter = ThroughputMeter(clock=clock)
    meter.begin()
    clock.now += 1
    meter.begin()
    clock.now += 1
    meter.end(100)
    clock.now += 1
    meter.end(200)
    clock.now += 50  # nothing in flight
    meter.begin()
    clock.now += 1
    throughput = meter.end(0)  # a failed request: only its time counts
    assert throughput == Throughput(300, 2, 4.0)
    assert throughput.tokens_per_second == 75.0


@given(st.lists(st.tuples(st.integers(1, 5000), st.floats(0.01, 60)), min_size=1, max_size=20))
def test_the_costs_of_all_answers_sum_to_the_price_of_the_busy_time(
    answers: list[tuple[int, float]],
) -> None:
    clock = Clock()
    meter = ThroughputMeter(clock=clock)
    for tokens, seconds in answers:
        meter.begin()
        clock.now += seconds
        meter.end(tokens)
    measured = read_throughputs(meter.counts)[""]
    total_usd = answer_usd(
        3.6, tokens=measured.tokens, tokens_per_second=measured.tokens_per_second
    )
    assert total_usd == pytest.approx(3.6 / 3600 * measured.busy_seconds)


def test_throughput_is_zero_before_the_first_measurement() -> None:
    assert Throughput().tokens_per_second == 0.0
