"""How soon a fall would be found: against the detector on streams that really fall."""

from __future__ import annotations

import random
from statistics import median

import pytest

from twin_resources.statistics import watch as watching
from twin_resources.statistics.detection_delay import delays
from twin_resources.statistics.values import SettledValue
from twin_resources.statistics.watch import Watch

C = 100_000.0


def thumbs(mean: float, count: int, seed: int, *, after: int = 0) -> list[SettledValue]:
    generator = random.Random(seed)
    return [
        SettledValue(
            after + number, "ann", "thumbs", "v1", "short", float(generator.random() < mean)
        )
        for number in range(1, count + 1)
    ]


def armed(values: list[SettledValue]) -> Watch:
    watch = watching.start(author="ann", stream="thumbs", version="v1")
    return watching.advance(watch, values, first=values, threshold=C)[0]


@pytest.mark.parametrize(("fall", "least", "most"), [(0.1, 150, 900), (0.2, 60, 220)])
def test_it_is_what_streams_take_that_fall(fall: float, least: int, most: int) -> None:
    """15 drawn paths against 15 Bernoulli streams of the fallen mean: within a factor of 1.5."""
    before = thumbs(0.8, 500, seed=1)
    watch = armed(before)
    mean = sum(one.value for one in before) / len(before)
    taken: list[int] = []
    for seed in range(15):
        stream = thumbs(mean - fall, 3_000, seed=100 + seed, after=500)
        _, alarm = watching.advance(
            watching.start(author="ann", stream="thumbs", version="v1"),
            [*before, *stream],
            first=[*before, *stream],
            threshold=C,
        )
        assert alarm is not None
        taken.append(alarm.sequence - 500)

    [told] = delays(watch, before, threshold=C, falls=(fall,))

    assert told.values is not None
    assert least < told.values < most
    assert 1 / 1.5 < told.values / median(taken) < 1.5


def test_a_judge_finds_it_sooner_since_its_scores_vary_less() -> None:
    generator = random.Random(3)
    judged = [
        SettledValue(number, "ann", "judge:x@1", "v1", "short", generator.betavariate(8, 2))
        for number in range(1, 501)
    ]
    watch = watching.start(author="ann", stream="judge:x@1", version="v1")
    watch, _ = watching.advance(watch, judged, first=judged, threshold=C)
    by_judge, sooner = delays(watch, judged, threshold=C, judged=True)
    by_thumbs, _ = delays(armed(thumbs(0.8, 500, 1)), thumbs(0.8, 500, 1), threshold=C)
    assert by_judge.values is not None
    assert sooner.values is not None
    assert by_thumbs.values is not None
    assert 20 < by_judge.values < 100  # ten a day: within days
    assert sooner.values < by_judge.values < by_thumbs.values / 4


def test_a_stream_that_is_not_armed_is_armed_as_it_goes_on() -> None:
    few = thumbs(0.8, 60, seed=4)
    watch = watching.start(author="ann", stream="thumbs", version="v1")
    watch, _ = watching.advance(watch, few, first=few, threshold=C)
    assert not watch.armed
    told = delays(watch, few, threshold=C)
    assert [one.fall for one in told] == [0.1, 0.2]
    assert told[1].values is not None
    assert told == delays(watch, few, threshold=C)  # the same for the same values


def test_what_cannot_be_told_is_not() -> None:
    few = thumbs(0.8, 19, seed=5)
    assert delays(armed(thumbs(0.8, 500, seed=1)), few, threshold=C) == []
    scattered = [
        SettledValue(number, "ann", "thumbs", "v1", f"class {number}", 1.0)
        for number in range(1, 41)
    ]
    watch = watching.start(author="ann", stream="thumbs", version="v1")
    watch = watching.advance(watch, scattered, first=scattered, threshold=C)[0]
    too_few = watching.Batches({50: 0.5, 200: 0.5}, fewest=600)  # for a baseline of any class
    assert delays(watch, scattered, threshold=C, batches=too_few) == []


def test_a_small_fall_of_few_values_is_said_not_to_be_found() -> None:
    values = thumbs(0.5, 500, seed=6)
    [told] = delays(armed(values), values, threshold=C, falls=(0.01,))
    assert told.values is None
