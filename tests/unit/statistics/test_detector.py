"""The detector: what raises an alarm, what does not, and what it is compared with."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.retraining.worlds import WORLDS, World, simulate_year
from twin_resources.statistics.detector import DaySum, StreamEvidence, compute_evidence, threshold

C = threshold(armed_streams=1)


def days(*stretches: tuple[int, float], per_day: int = 30, version: str = "v1", name: str = "short",
         begin: int = 0) -> list[DaySum]:  # fmt: skip
    """Days of exactly these means, one stretch after the other."""
    sums: list[DaySum] = []
    for count, mean in stretches:
        for _ in range(count):
            day, good = begin + len(sums), mean * per_day
            first = day * 1_000 + 1
            sums.append(DaySum(day, version, name, per_day, good, good, first, first + per_day - 1))
    return sums


def evidence_of(sums: list[DaySum], *, version: str = "v1", **options: float) -> StreamEvidence:
    return compute_evidence(sums, author="mara", stream="thumbs", version=version, **options)  # type: ignore[arg-type]


def test_a_fall_raises_an_alarm_that_says_since_when() -> None:
    evidence = evidence_of(days((40, 0.8), (5, 0.5)))
    assert evidence.e_value > C
    assert (evidence.before, evidence.since, evidence.values) == (40, 40_001, 150)
    assert [(fall.prompt_class, fall.mean, fall.values) for fall in evidence.falls] == [
        ("short", 0.5, 150)
    ]
    assert evidence.falls[0].baseline == pytest.approx(0.77)
    assert evidence.compared == 1_200
    assert evidence_of(days((45, 0.8))).e_value == 1.0
    assert evidence_of(days((40, 0.5), (5, 0.8))).e_value == 1.0, "a rise is none"


def test_two_weeks_come_first_and_one_day_alone_is_nothing() -> None:
    arming = evidence_of(days((15, 0.8)))
    assert not arming.is_armed, "14 days before the fall, two since"
    assert (arming.seen, arming.days, arming.compared, arming.e_value) == (450, 15, 0, 0.0)
    assert (arming.since, arming.last, arming.values, arming.before) == (0, 14_030, 0, 0)
    assert evidence_of(days((16, 0.8))).is_armed
    assert evidence_of(days((40, 0.8), (1, 0.0), per_day=3_000)).e_value < C
    assert evidence_of(days((60, 0.8), per_day=2)).is_armed, "100 values before the fall, 20 since"
    assert not evidence_of(days((59, 0.8), per_day=2)).is_armed
    steady = days((41, 0.5), (1, 0.0))
    assert evidence_of(steady, tolerance=0.0).e_value == 1.0, "without its worst day A is as B was"


def test_less_than_the_tolerance_is_no_fall() -> None:
    weeks = days((60, 0.8), (40, 0.7), per_day=100)
    assert evidence_of(weeks).e_value > C
    assert evidence_of(weeks, tolerance=0.12).e_value == 1.0


def test_a_fall_reaches_back_45_days_or_500_values() -> None:
    for per_day, length, begins in ((30, 45, 40), (30, 46, 41), (10, 50, 40), (10, 51, 41)):
        evidence = evidence_of(days((40, 0.8)) + days((length, 0.5), per_day=per_day, begin=40))
        assert evidence.before == begins, (per_day, length)


def test_a_class_of_fewer_than_60_values_is_held_to_nothing() -> None:
    for length, classes in ((20, {"rare", "short"}), (19, {"short"})):
        rare = days((length, 0.7), per_day=3, name="rare")
        assert evidence_of(days((40, 0.8), (5, 0.5)) + rare).held_to.keys() == classes


def test_classes_are_compared_each_with_itself() -> None:
    """Easy questions give way to hard ones, and no answer is worse."""

    def kind(name: str, mean: float, often: tuple[int, int], then: float) -> list[DaySum]:
        before = days((40, mean), per_day=often[0], name=name)
        return before + days((5, then), per_day=often[1], name=name, begin=40)

    easy, hard = kind("easy", 0.9, (30, 5), 0.9), kind("hard", 0.6, (5, 30), 0.6)
    assert evidence_of(easy + hard).e_value <= 1.0
    fallen = kind("hard", 0.6, (5, 30), 0.3)
    evidence = evidence_of(easy + fallen)
    assert evidence.e_value > C
    assert [fall.prompt_class for fall in evidence.falls] == ["hard"]
    often = evidence_of(kind("easy", 0.9, (100, 100), 0.86) + kind("hard", 0.6, (10, 10), 0.3))
    assert [fall.prompt_class for fall in often.falls] == ["hard"], "the evidence is of one class"
    assert (often.values, often.compared) == (50, 4_400)
    both_fell = evidence_of(kind("easy", 0.9, (30, 30), 0.6) + kind("hard", 0.6, (30, 30), 0.1))
    assert [fall.prompt_class for fall in both_fell.falls] == ["hard", "easy"], "deepest first"
    assert both_fell.values == 300


def test_a_new_version_is_compared_with_the_days_of_the_one_before() -> None:
    sums = [*days((40, 0.8)), *days((3, 0.5), version="v2", begin=40)]
    evidence = evidence_of(sums, version="v2")
    assert evidence.e_value > C
    assert (evidence.seen, evidence.days) == (90, 3)


def test_what_is_held_against_the_answers_follows_them() -> None:
    """A seasonal change of .2 in a year raises no alarm; the same fall within two days does."""
    slowly = [days((1, 0.8 - 0.2 * day / 365), begin=day)[0] for day in range(365)]
    assert max(evidence_of(slowly[:day]).e_value for day in range(20, 365, 5)) < C
    assert evidence_of(days((100, 0.8), (10, 0.6))).e_value > C


@given(
    st.lists(st.tuples(st.integers(1, 400), st.floats(0, 1), st.sampled_from("ab")), max_size=60)
)
@settings(max_examples=60, deadline=None)
def test_any_days_give_evidence_that_is_stored_and_read_again(
    drawn: list[tuple[int, float, str]],
) -> None:
    sums = [
        DaySum(day, "v1", name, count, count * mean, count * mean**2, day * 1_000, day * 1_000 + 1)
        for day, (count, mean, name) in enumerate(drawn)
    ]
    evidence = evidence_of(sums)
    assert evidence.e_value >= 0.0
    assert StreamEvidence.from_json(evidence.to_json()) == evidence
    assert StreamEvidence.from_json('{"floor": {}, "detector": {}, "baseline": null}') is None


def plainly(sums: list[DaySum], version: str, fewest: int) -> tuple[float, set[int]]:
    """E by loops over the module's formulas, and the days that A of the best split may begin with.

    It shares no code with the detector, and none of its constants but by their values.
    """
    values = Counter[int]()
    for one in sums:
        values[one.day] += one.count
    dates, reach = sorted(values), 0
    while reach < len(dates) and (
        reach < 105 or sum(values[day] for day in dates[-reach:]) < 1_500
    ):
        reach += 1
    dates = dates[-reach:]
    own = Counter[int]()
    for one in sums:
        own[one.day] += one.count * (one.version == version)
    names = sorted({item.prompt_class for item in sums if item.day in dates})
    scores: dict[str, list[tuple[float, int]]] = {}
    for row in range(14, len(dates)):
        since, left = dates[row:], sum(own[day] for day in dates[row:])
        if not own[dates[row]] or left < 20 or sum(own[day] > 0 for day in since) < 2:
            continue
        if row < len(dates) - 45 and left > 500:
            continue
        long_enough = [i for i in range(row) if sum(values[day] for day in dates[i:row]) >= 1_000]
        start = max(0, min(row - 60, max(long_enough, default=-1)))
        for name in ["", *names] if len(names) > 1 else [""]:
            chosen = [item for item in sums if name in ("", item.prompt_class)]
            before = [item for item in chosen if dates[start] <= item.day < dates[row]]
            after = [item for item in chosen if item.day >= dates[row] and item.version == version]
            z = z_evidence_of(
                before, after, fewest=60 if name else fewest, least=60 if name else min(60, fewest)
            )
            scores.setdefault(name, []).append((z, dates[row]))
    tested = sum(any(math.isfinite(z) for z, _ in scores[name]) for name in scores if name)
    best: list[tuple[float, int]] = []
    for name, score in scores.items():
        share = 1.0 if tested < 2 else 2.0 * (tested if name else 1)
        best += [(math.exp(max(z, 0.0) ** 2 / 2) / share, day) for z, day in score if z > -math.inf]
    most = max(best, default=(0.0, 0))[0]
    return most, {day for e, day in best if e == pytest.approx(most)}


def z_evidence_of(before: list[DaySum], after: list[DaySum], *, fewest: int, least: int) -> float:
    """z of one split by loops; −∞: too little to compare."""
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
    fallen = mean - sum(v[day] * q for day, (_, q) in a.items()) / sum(v.values())
    t = (fallen - 0.03) / math.sqrt(f * (1 / sum(w.values()) + 1 / sum(v.values())))
    worst = max(a, key=lambda day: v[day] * (mean - a[day][1]))
    rest = [day for day in a if day != worst]
    if sum(v[day] * (mean - a[day][1]) for day in rest) <= 0.03 * sum(v[day] for day in rest):
        t = min(t, 0.0)
    free = len(b) - 1
    return math.copysign(
        math.sqrt(free * math.log1p(t * t / free)) * (8 * free + 1) / (8 * free + 3), t
    )


@pytest.mark.parametrize("seed", range(24))
def test_the_evidence_is_that_of_the_formulas(seed: int) -> None:
    """Streams of one to three classes with idle days, busy days, a new version and a fall."""
    draw = np.random.default_rng(seed)
    length, often = int(draw.integers(17, 130)), float(draw.choice([3, 8, 30, 120]))
    falls_at = int(draw.integers(14, length))
    new_at = falls_at if seed % 3 == 0 else length
    sums: list[DaySum] = []
    for day in range(length):
        mood = draw.normal(0, 0.06)
        for name, mean in (("easy", 0.9), ("hard", 0.6), ("long", 0.7))[: 1 + seed % 3]:
            count = int(draw.poisson(often * draw.choice([0, 0.3, 1, 4], p=[0.2, 0.3, 0.4, 0.1])))
            if not count:
                continue
            fall = draw.choice([0.0, 0.1, 0.3]) * (day >= falls_at) * (name != "long")
            good = float(draw.binomial(count, np.clip(mean + mood - fall, 0, 1)))
            good = count * (mean - fall / 4) if seed % 4 == 3 else good
            version = "v2" if day >= new_at else "v1"
            squares = good**2 / count if seed % 4 == 3 else good  # scores that are alike, or votes
            first = day * 1_000
            sums.append(DaySum(day, version, name, count, good, squares, first, first + 9))
    version, fewest = ("v2" if new_at < length else "v1"), (100, 40)[seed % 2]
    evidence = compute_evidence(
        sums, author="mara", stream="thumbs", version=version, min_values=fewest
    )
    e_value, begins = plainly(sums, version, fewest)
    assert evidence.e_value == pytest.approx(e_value, rel=1e-6)
    if e_value:
        assert evidence.before in begins


def test_the_threshold_grows_with_the_fleet() -> None:
    assert threshold(armed_streams=40) == 40 * C
    assert threshold(armed_streams=1, horizon=10_000, alpha=0.05) == 2 * C
    assert threshold(armed_streams=1, horizon=1) == pytest.approx(C / 5_000)


@pytest.mark.parametrize("world", [one for one in WORLDS if one.has_goal], ids=lambda one: one.name)
def test_a_world_without_a_fall_trains_hardly_ever(world: World) -> None:
    """At most two of six homes train in half a year; `bench_loop.py` measures the shares."""
    rng = np.random.default_rng(4)
    counts, means = world.draw(rng, 6, 30)
    goods = rng.binomial(counts, np.clip(means, 0.0, 1.0))
    homes = zip(counts[:, :180], goods[:, :180], strict=True)
    assert sum(bool(simulate_year(*home, only_first=True).trained) for home in homes) <= 2
