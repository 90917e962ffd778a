"""The cost formulas and the meter they rest on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_resources.gateway.costs.cost import (
    Throughput,
    answer_usd,
    break_even_utilisation,
    self_hosted_usd_per_million_tokens,
)


def test_a_worked_example() -> None:
    # 2 $/h, 1,000 tokens/s, busy a quarter of the time: 900,000 tokens an hour.
    cost = self_hosted_usd_per_million_tokens(2.0, tokens_per_second=1000, utilisation=0.25)
    assert cost == pytest.approx(2.0 / 0.9)
    two_machines = self_hosted_usd_per_million_tokens(
        2.0, tokens_per_second=1000, machines=2, overhead=0.5, utilisation=0.25
    )
    assert two_machines == pytest.approx(3 * cost)


def test_break_even_is_where_both_cost_the_same() -> None:
    full = self_hosted_usd_per_million_tokens(2.0, tokens_per_second=1000)
    needed = break_even_utilisation(full, paid_blended=1.5)
    here = self_hosted_usd_per_million_tokens(2.0, tokens_per_second=1000, utilisation=needed)
    assert here == pytest.approx(1.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tokens_per_second": 0},
        {"tokens_per_second": 1, "utilisation": 0},
        {"tokens_per_second": 1, "utilisation": 1.1},
        {"tokens_per_second": 1, "machines": 0},
        {"tokens_per_second": 1, "overhead": -1},
    ],
)
def test_values_outside_their_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"positive|utilisation"):
        self_hosted_usd_per_million_tokens(1.0, **wrong)  # pyright: ignore[reportArgumentType]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_answers_that_overlap_share_the_busy_time() -> None:
    clock = Clock()
    meter = Throughput(clock=clock)
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
    meter.end(0)  # failed: its time counts, an answer it is not
    assert (meter.busy_seconds, meter.tokens, meter.requests) == (4.0, 300, 2)
    assert meter.tokens_per_second == 75.0


@given(st.lists(st.tuples(st.integers(1, 5000), st.floats(0.01, 60)), min_size=1, max_size=20))
def test_the_last_price_times_all_tokens_is_the_price_of_the_busy_time(
    answers: list[tuple[int, float]],
) -> None:
    clock = Clock()
    meter = Throughput(clock=clock)
    for tokens, seconds in answers:
        meter.begin()
        clock.now += seconds
        meter.end(tokens)
    paid = answer_usd(3.6, tokens=meter.tokens, tokens_per_second=meter.tokens_per_second)
    assert paid == pytest.approx(3.6 / 3600 * meter.busy_seconds)


def test_nothing_measured_is_zero_tokens_per_second() -> None:
    assert Throughput().tokens_per_second == 0.0
