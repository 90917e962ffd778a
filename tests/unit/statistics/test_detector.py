"""The e-detector's fold: by hand, and what no input may break."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.statistics.settled_values import stream_of, unit_interval
from twin_resources.statistics.bets import BETS, FRACTIONS
from twin_resources.statistics.blocks import DayBlock, blocks_of
from twin_resources.statistics.detector import Alarm, Detector, fold, mean_wealth, stakes, threshold
from twin_resources.statistics.values import ImpossibleValue, SettledValue

C = threshold(armed_streams=1)
lists = st.lists(unit_interval, max_size=60)
baselines = st.floats(0.01, 0.99)


def after(
    state: Detector, value: SettledValue, baseline: float | None, *, limit: float = C
) -> tuple[Detector, Alarm | None]:
    """One more value, as a block of its own."""
    [block] = blocks_of([value], most=None)
    bounds = {} if baseline is None else {value.prompt_class: baseline}
    return fold(state, block, bounds, threshold=limit)


def folded(values: list[SettledValue], baseline: float, *, limit: float = C) -> Detector:
    state = Detector()
    for value in values:
        state, _ = after(state, value, baseline, limit=limit)
    return state


def test_fractions_are_geometric_from_a_64th_to_one() -> None:
    assert len(FRACTIONS) == BETS == 8
    assert (FRACTIONS[0], FRACTIONS[-1]) == (1 / 64, 1.0)
    ratios = [after / before for before, after in pairwise(FRACTIONS)]
    assert ratios == pytest.approx([64 ** (1 / 7)] * 7)


def test_threshold_is_horizon_times_streams_by_alpha() -> None:
    assert threshold(armed_streams=1) == pytest.approx(100_000)
    assert threshold(armed_streams=400) == pytest.approx(40_000_000)
    assert threshold(armed_streams=1, horizon=1_000, alpha=0.1) == pytest.approx(10_000)


@pytest.mark.parametrize(("streams", "horizon", "alpha"), [(0, 1, 0.1), (1, 0, 0.1), (1, 1, 0.0)])
def test_impossible_thresholds(streams: int, horizon: int, alpha: float) -> None:
    with pytest.raises(ImpossibleValue, match="threshold"):
        threshold(armed_streams=streams, horizon=horizon, alpha=alpha)


def test_two_values_by_hand() -> None:
    # m = .8: λ of the largest bet is .9/.2 = 4.5. A zero: L = 1 + 4.5·.8 = 4.6, M = 4.6·(0 + 1).
    # A one: L = 1 + 4.5·(−.2) = .1, M = .1·(4.6 + 1) = .56. For r = 1/64: λ = .0703125,
    # L = 1.05625, M = 1.05625; then L = .9859375, M = .9859375·2.05625 = 2.0273…
    values = stream_of([0.0, 1.0])
    first = folded(values[:1], 0.8)
    assert first.wealth[-1] == pytest.approx(4.6)
    assert first.wealth[0] == pytest.approx(1.05625)
    second = folded(values, 0.8)
    assert second.wealth[-1] == pytest.approx(0.56)
    assert second.wealth[0] == pytest.approx(0.9859375 * 2.05625)
    assert (second.bets, second.since, second.last_sequence) == (2, 1, 2)


def test_a_broken_model_alarms_and_the_detector_restarts() -> None:
    # Only zeros at m = .8: the largest bet grows as M ← 4.6·(M + 1), M_n = (4.6^(n+1) − 4.6)/3.6:
    # mean_k M_k passes 100,000 at the ninth.
    state, alarms = Detector(), []
    for value in stream_of([0.0] * 12, begin=7):
        state, alarm = after(state, value, 0.8)
        alarms += [alarm] if alarm else []
    assert [(alarm.number, alarm.sequence, alarm.bets, alarm.since) for alarm in alarms] == [
        (1, 15, 9, 7)
    ]
    assert alarms[0].e_value >= alarms[0].threshold == C
    assert (state.alarms, state.bets, state.since) == (1, 3, 16)


def test_a_class_without_a_baseline_is_consumed_and_not_bet_on() -> None:
    before = folded(stream_of([0.0, 1.0]), 0.8)
    then, alarm = after(before, stream_of([0.0], begin=3)[0], None)
    assert alarm is None
    assert (then.wealth, then.classes) == (before.wealth, before.classes)
    assert (then.last_sequence, then.bets) == (3, 2)


@given(lists, baselines)
@settings(max_examples=60, deadline=None)
def test_wealth_is_never_negative(values: list[float], baseline: float) -> None:
    state = Detector()
    for value in stream_of(values):
        state, _ = after(state, value, baseline)
        assert all(item >= 0.0 for item in state.wealth)
        assert 0.0 <= state.e_value < C


@given(lists, baselines, st.data())
@settings(max_examples=60, deadline=None)
def test_replays_and_duplicates_change_nothing(
    values: list[float], baseline: float, data: st.DataObject
) -> None:
    ledger = stream_of(values)
    once = folded(ledger, baseline)
    stutter: list[SettledValue] = []
    for index, value in enumerate(ledger):
        back = data.draw(st.integers(0, index))
        stutter += [value, *ledger[back : index + 1]]
    assert folded(stutter, baseline) == once
    assert all(after(once, value, baseline) == (once, None) for value in ledger)


@given(lists, baselines)
@settings(max_examples=60, deadline=None)
def test_states_come_back_bit_for_bit(values: list[float], baseline: float) -> None:
    plain, stored = Detector(), Detector()
    for value in stream_of(values):
        plain, _ = after(plain, value, baseline)
        stored, _ = after(Detector.from_json(stored.to_json()), value, baseline)
    assert [item.hex() for item in stored.wealth] == [item.hex() for item in plain.wealth]
    assert stored == plain


@given(lists.filter(bool), baselines, st.data())
@settings(max_examples=60, deadline=None)
def test_a_worse_value_never_lowers_the_evidence(
    values: list[float], baseline: float, data: st.DataObject
) -> None:
    where = data.draw(st.integers(0, len(values) - 1))
    worse = [*values[:where], values[where] * data.draw(unit_interval), *values[where + 1 :]]
    limit = 1e300  # no restart in between
    assert (
        folded(stream_of(worse), baseline, limit=limit).e_value
        >= folded(stream_of(values), baseline, limit=limit).e_value
    )


@given(lists, st.floats(0.01, 0.9))
@settings(max_examples=40, deadline=None)
def test_bets_on_values_at_or_above_the_baseline_only_lose(
    values: list[float], baseline: float
) -> None:
    good = [max(value, baseline) for value in values]
    state = folded(stream_of(good), baseline)
    assert all(item <= len(good) for item in state.wealth)


def test_the_expected_factor_is_one_at_the_baseline() -> None:
    # A binary value of mean m: m·L(1) + (1 − m)·L(0) = 1 for every bet.
    for baseline in (0.2, 0.8, 0.99):
        for stake in stakes(baseline):
            mean = baseline * (1 + stake * (baseline - 1)) + (1 - baseline) * (1 + stake * baseline)
            assert mean == pytest.approx(1.0)


@pytest.mark.parametrize(
    "change",
    [
        {"wealth": [0.0] * 7},
        {"wealth": [-1.0] + [0.0] * 7},
        {"wealth": ["a"] * 8},
        {"wealth": None},
        {"bets": "3"},
        {"classes": {"how_to": [0.0] * 9}},
    ],
)
def test_a_damaged_state_is_refused(change: dict[str, object]) -> None:
    stored = {**json.loads(Detector().to_json()), **change}
    with pytest.raises(ImpossibleValue, match="delete the row"):
        Detector.from_json(json.dumps(stored))


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), float("inf")])
def test_values_outside_the_unit_interval_are_refused(value: float) -> None:
    with pytest.raises(ImpossibleValue, match="use score 5 of mara"):
        SettledValue(5, "mara", "thumbs", "v1", "how_to", value)


def test_an_alarm_names_its_stream() -> None:
    state = Detector(wealth=(1e6,) * BETS, last_sequence=4, bets=3, since=2, alarms=1)
    _, alarm = after(state, stream_of([0.0], begin=5)[0], 0.5)
    assert isinstance(alarm, Alarm)
    assert (alarm.author, alarm.stream, alarm.version, alarm.number) == ("mara", "thumbs", "v1", 2)


def test_a_class_has_a_detector_of_its_own_beside_that_of_all() -> None:
    """One class has fallen, three have not: with them alone the evidence would be lost."""
    names = ["a", "b", "c", "d"]
    bounds = dict.fromkeys(names, 0.8)
    state = Detector()
    for value in stream_of([0.0, 1.0, 1.0, 1.0] * 8, classes=names * 8):
        [block] = blocks_of([value], most=None)
        state, _ = fold(state, block, bounds, threshold=1e300)
    alone = folded(stream_of([0.0] * 8, classes=["a"] * 8), 0.8, limit=1e300)
    assert state.classes["a"] == alone.wealth
    assert state.of_classes == 4
    of_a = mean_wealth(alone.wealth)
    others = sum(mean_wealth(state.classes[name]) for name in "bcd")
    assert state.e_value == pytest.approx(0.5 * mean_wealth(state.wealth) + (of_a + others) / 8)
    assert state.e_value > 100 * mean_wealth(state.wealth)


def test_a_release_that_knew_no_classes_is_read() -> None:
    stored = json.loads(folded(stream_of([0.0, 1.0]), 0.8).to_json())
    del stored["classes"], stored["of_classes"]
    assert Detector.from_json(json.dumps(stored)).classes == {}


def test_evidence_grows_by_one_a_block_at_most_where_nothing_has_fallen() -> None:
    """E[E_t] ≤ t at m itself, two classes, blocks of mixed sizes: within four standard errors of
    the mean over 4,000 paths (seed 7)."""
    rng = np.random.default_rng(7)
    paths, blocks = 4_000, 12
    ends = np.empty(paths)
    for path in range(paths):
        state = Detector()
        for number in range(1, blocks + 1):
            size = int(rng.integers(1, 5))
            name, bound = [("a", 0.8), ("b", 0.4)][int(rng.integers(2))]
            mean = float(rng.binomial(size, bound)) / size
            last = SettledValue(number, "mara", "thumbs", "v1", name, mean)
            block = DayBlock(number, last, mean, size)
            state, _ = fold(state, block, {"a": 0.8, "b": 0.4}, threshold=1e300)
        ends[path] = state.e_value
    error = ends.std() / paths**0.5
    assert ends.mean() <= blocks + 4 * error
    assert error < 1.0
