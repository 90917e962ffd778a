"""Test which series of scores raise an alarm, and what the detector compares them with."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.retraining.worlds import WORLDS, World, simulate_year
from twin_resources.statistics.detector import (
    DaySum,
    StreamEvidence,
    compute_evidence,
    compute_threshold,
)

THRESHOLD = compute_threshold(armed_streams=1)


def make_days(
    *periods: tuple[int, float],
    per_day: int = 30,
    version: str = "v1",
    name: str = "short",
    first_day: int = 0,
) -> list[DaySum]:
    """Return days with exactly these means, from consecutive periods of (days, mean)."""
    sums: list[DaySum] = []
    for count, mean in periods:
        for _ in range(count):
            day, good = first_day + len(sums), mean * per_day
            first = day * 1_000 + 1
            sums.append(DaySum(day, version, name, per_day, good, good, first, first + per_day - 1))
    return sums


def detect(sums: list[DaySum], *, version: str = "v1", **options: float) -> StreamEvidence:
    return compute_evidence(sums, author="mara", stream="thumbs", version=version, **options)  # type: ignore[arg-type]


def test_a_fall_raises_an_alarm_with_its_start() -> None:
    evidence = detect(make_days((40, 0.8), (5, 0.5)))
    assert evidence.likelihood_ratio > THRESHOLD
    assert (evidence.start_day, evidence.since, evidence.recent_count) == (40, 40_001, 150)
    assert [(fall.prompt_class, fall.mean, fall.recent_count) for fall in evidence.falls] == [
        ("short", 0.5, 150)
    ]
    assert evidence.falls[0].floor == pytest.approx(0.77)
    assert evidence.baseline_count == 1_200
    assert detect(make_days((45, 0.8))).likelihood_ratio == 1.0
    assert detect(make_days((40, 0.5), (5, 0.8))).likelihood_ratio == 1.0, "a rise raised an alarm"


def test_an_alarm_needs_two_weeks_before_and_two_days_since() -> None:
    short_stream = detect(make_days((15, 0.8)))
    assert not short_stream.is_armed, "15 days are too few: 14 before a fall and two since"
    assert short_stream == StreamEvidence(
        "mara", "thumbs", "v1", value_count=450, days=15, last=14_030
    )
    assert detect(make_days((16, 0.8))).is_armed
    assert detect(make_days((40, 0.8), (1, 0.0), per_day=3_000)).likelihood_ratio < THRESHOLD
    assert detect(make_days((60, 0.8), per_day=2)).is_armed, (
        "100 values before a fall and 20 since are enough"
    )
    assert not detect(make_days((59, 0.8), per_day=2)).is_armed
    one_bad_day = make_days((41, 0.5), (1, 0.0))
    assert detect(one_bad_day, tolerance=0.0).likelihood_ratio == 1.0, "one bad day raised an alarm"


def test_a_difference_below_the_tolerance_is_no_fall() -> None:
    sums = make_days((60, 0.8), (40, 0.7), per_day=100)
    assert detect(sums).likelihood_ratio > THRESHOLD
    assert detect(sums, tolerance=0.12).likelihood_ratio == 1.0


def test_a_fall_reaches_back_45_days_or_500_values() -> None:
    for per_day, length, first_day in ((30, 45, 40), (30, 46, 41), (10, 50, 40), (10, 51, 41)):
        evidence = detect(
            make_days((40, 0.8)) + make_days((length, 0.5), per_day=per_day, first_day=40)
        )
        assert evidence.start_day == first_day, (per_day, length)


def test_a_class_of_fewer_than_60_values_has_no_baseline() -> None:
    for length, classes in ((20, {"rare", "short"}), (19, {"short"})):
        rare = make_days((length, 0.7), per_day=3, name="rare")
        assert detect(make_days((40, 0.8), (5, 0.5)) + rare).floors.keys() == classes


def test_each_class_is_compared_with_itself() -> None:
    """Hard questions replace easy ones, and no answer is worse."""

    def class_days(name: str, mean: float, rates: tuple[int, int], new_mean: float) -> list[DaySum]:
        before = make_days((40, mean), per_day=rates[0], name=name)
        return before + make_days((5, new_mean), per_day=rates[1], name=name, first_day=40)

    easy, hard = (class_days("easy", 0.9, (30, 5), 0.9), class_days("hard", 0.6, (5, 30), 0.6))
    assert detect(easy + hard).likelihood_ratio <= 1.0
    fallen_hard = class_days("hard", 0.6, (5, 30), 0.3)
    evidence = detect(easy + fallen_hard)
    assert evidence.likelihood_ratio > THRESHOLD
    assert [fall.prompt_class for fall in evidence.falls] == ["hard"]
    small_class = detect(
        class_days("easy", 0.9, (100, 100), 0.86) + class_days("hard", 0.6, (10, 10), 0.3)
    )
    assert [fall.prompt_class for fall in small_class.falls] == ["hard"], (
        "the evidence must come from one class"
    )
    assert (small_class.recent_count, small_class.baseline_count) == (50, 4_400)
    both_classes = detect(
        class_days("easy", 0.9, (30, 30), 0.6) + class_days("hard", 0.6, (30, 30), 0.1)
    )
    assert [fall.prompt_class for fall in both_classes.falls] == ["hard", "easy"], (
        "the largest fall must come first"
    )
    assert both_classes.recent_count == 300


def test_a_new_version_is_compared_with_its_predecessor() -> None:
    sums = [*make_days((40, 0.8)), *make_days((3, 0.5), version="v2", first_day=40)]
    evidence = detect(sums, version="v2")
    assert evidence.likelihood_ratio > THRESHOLD
    assert (evidence.value_count, evidence.days) == (90, 3)


def test_the_baseline_follows_slow_changes() -> None:
    """A seasonal change of .2 in a year raises no alarm; a sudden fall by .2 does."""
    seasonal = [make_days((1, 0.8 - 0.2 * day / 365), first_day=day)[0] for day in range(365)]
    assert max(detect(seasonal[:day]).likelihood_ratio for day in range(20, 365, 5)) < THRESHOLD
    assert detect(make_days((100, 0.8), (10, 0.6))).likelihood_ratio > THRESHOLD


@given(
    st.lists(st.tuples(st.integers(1, 400), st.floats(0, 1), st.sampled_from("ab")), max_size=60)
)
@settings(max_examples=60, deadline=None)
def test_evidence_is_the_same_after_storing_and_reading_it(
    series: list[tuple[int, float, str]],
) -> None:
    sums = [
        DaySum(day, "v1", name, count, count * mean, count * mean**2, day * 1_000, day * 1_000 + 1)
        for day, (count, mean, name) in enumerate(series)
    ]
    evidence = detect(sums)
    assert evidence.likelihood_ratio >= 0.0
    assert StreamEvidence.from_dict(json.loads(json.dumps(asdict(evidence)))) == evidence


def compute_e_by_loops(sums: list[DaySum], version: str, fewest: int) -> tuple[float, set[int]]:
    """Compute E with loops over the module's formulas; return it and the best splits' first days.

    This function shares no code with the detector and repeats the values of its constants.
    """
    values = Counter[int]()
    for item in sums:
        values[item.day] += item.count
    dates, day_count = sorted(values), 0
    while day_count < len(dates) and (
        day_count < 105 or sum(values[day] for day in dates[-day_count:]) < 1_500
    ):
        day_count += 1
    dates = dates[-day_count:]
    version_counts = Counter[int]()
    for item in sums:
        version_counts[item.day] += item.count * (item.version == version)
    names = sorted({item.prompt_class for item in sums if item.day in dates})
    scores: dict[str, list[tuple[float, int]]] = {}
    for row in range(14, len(dates)):
        since, remaining = dates[row:], sum(version_counts[day] for day in dates[row:])
        if (
            not version_counts[dates[row]]
            or remaining < 20
            or sum(version_counts[day] > 0 for day in since) < 2
        ):
            continue
        if row < len(dates) - 45 and remaining > 500:
            continue
        full_starts = [i for i in range(row) if sum(values[day] for day in dates[i:row]) >= 1_000]
        start = max(0, min(row - 60, max(full_starts, default=-1)))
        for name in ["", *names] if len(names) > 1 else [""]:
            subset = [item for item in sums if name in ("", item.prompt_class)]
            before = [item for item in subset if dates[start] <= item.day < dates[row]]
            after = [item for item in subset if item.day >= dates[row] and item.version == version]
            z = compute_z_by_loops(
                before, after, fewest=60 if name else fewest, least=60 if name else min(60, fewest)
            )
            scores.setdefault(name, []).append((z, dates[row]))
    tested_classes = sum(any(math.isfinite(z) for z, _ in scores[name]) for name in scores if name)
    best: list[tuple[float, int]] = []
    for name, score in scores.items():
        share = 1.0 if tested_classes < 2 else 2.0 * (tested_classes if name else 1)
        best += [(math.exp(max(z, 0.0) ** 2 / 2) / share, day) for z, day in score if z > -math.inf]
    highest = max(best, default=(0.0, 0))[0]
    return highest, {day for e, day in best if e == pytest.approx(highest)}


def compute_z_by_loops(
    before: list[DaySum], after: list[DaySum], *, fewest: int, least: int
) -> float:
    """Compute z of one split with loops; return −∞ if there are too few values to compare."""
    counts, totals = Counter[str](), Counter[str]()
    for item in before:
        counts[item.prompt_class] += item.count
        totals[item.prompt_class] += item.total  # type: ignore[assignment]
    means = {name: totals[name] / counts[name] for name in counts if counts[name] >= least}

    def by_day(sums: list[DaySum]) -> dict[int, tuple[int, float]]:
        residuals: dict[int, tuple[int, float]] = {}
        for item in sums:
            if item.prompt_class in means:
                n, total = residuals.get(item.day, (0, 0.0))
                residual = item.total - item.count * means[item.prompt_class]
                residuals[item.day] = n + item.count, total + residual
        return {day: (n, total / n) for day, (n, total) in residuals.items()}

    def scatter(sums: list[DaySum]) -> float:
        return sum(
            item.squares - 2 * means[item.prompt_class] * item.total
            + item.count * means[item.prompt_class] ** 2
            for item in sums if item.prompt_class in means
        )  # fmt: skip

    b, a = by_day(before), by_day(after)
    seen, since = sum(n for n, _ in b.values()), sum(n for n, _ in a.values())
    if seen < fewest or len(b) < 14 or since < 20 or len(a) < 2:
        return -math.inf
    within = max(scatter(before) / seen, 0.05**2)
    excess = sum(n * r * r / within for n, r in b.values()) - (len(b) - 1)
    between = excess * within / (seen - sum(n * n for n, _ in b.values()) / seen)
    between = min(max(between, 0.03**2), 0.1**2)
    w = {day: 1 / (within / n + between) for day, (n, _) in b.items()}
    mean = sum(w[day] * r for day, (_, r) in b.items()) / sum(w.values())
    weeks = {day // 7 for day in b}
    ratio = sum(
        sum(w[day] * (b[day][1] - mean) for day in b if day // 7 == week) ** 2
        / sum(w[day] for day in b if day // 7 == week)
        for week in weeks
    )  # fmt: skip
    f = min(max(ratio / (len(weeks) - 1), 1.0), 4.0) if len(weeks) >= 3 else 1.0
    mean_a = sum(n * q for n, q in a.values()) / since
    now = max(within, scatter(after) / since - mean_a**2)
    v = {day: 1 / (now / n + between) for day, (n, _) in a.items()}
    fall = mean - sum(v[day] * q for day, (_, q) in a.items()) / sum(v.values())
    t = (fall - 0.03) / math.sqrt(f * (1 / sum(w.values()) + 1 / sum(v.values())))
    worst = max(a, key=lambda day: v[day] * (mean - a[day][1]))
    other_days = [day for day in a if day != worst]
    if sum(v[day] * (mean - a[day][1]) for day in other_days) <= 0.03 * sum(
        v[day] for day in other_days
    ):
        t = min(t, 0.0)
    freedom = len(b) - 1
    return math.copysign(
        math.sqrt(freedom * math.log1p(t * t / freedom)) * (8 * freedom + 1) / (8 * freedom + 3), t
    )


@pytest.mark.parametrize("seed", range(24))
def test_the_detector_agrees_with_an_implementation_with_loops(seed: int) -> None:
    """The series have one to three classes, idle and busy days, a new version and a fall."""
    rng = np.random.default_rng(seed)
    length, rate = int(rng.integers(17, 130)), float(rng.choice([3, 8, 30, 120]))
    falls_at = int(rng.integers(14, length))
    new_at = falls_at if seed % 3 == 0 else length
    sums: list[DaySum] = []
    for day in range(length):
        day_effect = rng.normal(0, 0.06)
        for name, mean in (("easy", 0.9), ("hard", 0.6), ("long", 0.7))[: 1 + seed % 3]:
            count = int(rng.poisson(rate * rng.choice([0, 0.3, 1, 4], p=[0.2, 0.3, 0.4, 0.1])))
            if not count:
                continue
            fall = rng.choice([0.0, 0.1, 0.3]) * (day >= falls_at) * (name != "long")
            good = float(rng.binomial(count, np.clip(mean + day_effect - fall, 0, 1)))
            good = count * (mean - fall / 4) if seed % 4 == 3 else good
            version = "v2" if day >= new_at else "v1"
            squares = good**2 / count if seed % 4 == 3 else good  # equal scores, or votes
            first = day * 1_000
            sums.append(DaySum(day, version, name, count, good, squares, first, first + 9))
    version, fewest = ("v2" if new_at < length else "v1"), (100, 40)[seed % 2]
    evidence = compute_evidence(
        sums, author="mara", stream="thumbs", version=version, min_values=fewest
    )
    e_value, first_days = compute_e_by_loops(sums, version, fewest)
    assert evidence.likelihood_ratio == pytest.approx(e_value, rel=1e-6)
    if e_value:
        assert evidence.start_day in first_days


def test_the_threshold_grows_with_the_fleet() -> None:
    assert compute_threshold(armed_streams=40) == 40 * THRESHOLD
    assert compute_threshold(armed_streams=1, horizon=10_000, alpha=0.05) == 2 * THRESHOLD
    assert compute_threshold(armed_streams=1, horizon=1) == pytest.approx(THRESHOLD / 5_000)


@pytest.mark.long
@pytest.mark.parametrize("world", [w for w in WORLDS if w.has_goal], ids=lambda w: w.name)
def test_a_world_without_a_fall_rarely_trains(world: World) -> None:
    """At most two of six homes train in half a year; `bench_loop.py` measures the shares."""
    rng = np.random.default_rng(4)
    counts, means = world.draw(rng, 6, 30)
    goods = rng.binomial(counts, np.clip(means, 0.0, 1.0))
    homes = zip(counts[:, :180], goods[:, :180], strict=True)
    assert sum(bool(simulate_year(*home, only_first=True).training_days) for home in homes) <= 2
