"""Rows: what keys that give 0 beside honest readers cost, and true falls that are held back.

Belongs here: trainings that such keys start, whom a rule against poisoning holds back wrongly.
Does not belong here: the rule (`statistics/poisoning.py`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

from tests.bench.retraining.families import CLASS_MEANS, GOOD
from tests.bench.retraining.rows import Form, Row, row
from tests.bench.retraining.streams import Followed, followed
from twin_resources.statistics.retraining_limits import DAY, Usage, next_by_alarm
from twin_resources.statistics.values import SettledValue

HONEST = 25  # a day
KEYS = 5
REGULAR = 60  # readers of whom those of a day are drawn
TURNS = 40  # the day on which the keys come, or the model falls
DAYS = 100
HELD_BACK = {"few_readers"}


def stream(
    seed: int,
    *,
    regular: bool,
    keys: int = 0,
    classes: int = 1,
    fall: float = 0.0,
    of_one_class: bool = False,
) -> list[SettledValue]:
    """Thumbs of `HONEST` readers a day, and of `keys` keys made on the day `TURNS`, which give 0.

    Args:
        regular: readers are drawn of `REGULAR` who come in the weeks before `TURNS`; else each
            votes once ever.
        fall: of all classes from `TURNS` on, or `of_one_class`.
    """
    draw = random.Random(seed)
    values: list[SettledValue] = []
    means = list(CLASS_MEANS[:classes]) if classes > 1 else [GOOD]
    first = [draw.randrange(TURNS) for _ in range(REGULAR)]
    for day in range(DAYS):
        there = [number for number in range(REGULAR) if first[number] <= day]
        came = [f"r{number}" for number in draw.sample(there, min(HONEST, len(there)))]
        if not regular:
            came = [f"once {day} {number}" for number in range(HONEST)]
        evil = [f"key {number}" for number in range(keys)] if day >= TURNS else []
        for reader in draw.sample(came + evil, len(came) + len(evil)):
            kind = draw.randrange(classes)
            falls = day >= TURNS and (kind == 0 or not of_one_class)
            good = draw.random() < means[kind] - (fall if falls else 0.0)
            value = 0.0 if reader in evil else float(good)
            number = len(values) + 1
            values.append(
                SettledValue(number, "mara", "thumbs", "v1", f"class {kind}", value, day, reader)
            )
    return values


def poisoned_keys(form: Form) -> list[Row]:
    """Streams of which an alarm trains, and first alarms of true falls that nobody answers."""
    streams = form.streams(60, quick=3)
    rows: list[Row] = []
    for who, regular in (("regular readers", True), ("readers who come once", False)):
        for classes in (1, 4):
            beside = f"{KEYS} keys beside {HONEST} {who} a day, {_classes(classes)}"
            draw = partial(stream, regular=regular, keys=KEYS, classes=classes)
            found = [followed(draw(seed)) for seed in range(streams)]
            most = max(_after_back_off(one) for one in found)
            alarms = sum(len(one.alarms) for one in found)
            name = f"{beside}: most trainings in {DAYS - TURNS} days ({alarms:,} alarms)"
            rows.append(row(name, most, "trainings", at_most=4))
        for fall, of_one in ((0.3, False), (0.4, True)):
            what = "one class of four falls" if of_one else "all falls"
            draw = partial(
                stream, regular=regular, classes=4 if of_one else 1, fall=fall, of_one_class=of_one
            )
            ends = [followed(draw(1_000 + seed), only_first=True) for seed in range(streams)]
            name = (
                f"{what} by {fall:g}, {who}: of {streams} first alarms held back as some readers'"
            )
            rows.append(row(name, _held_back(ends), "alarms", at_most=0.1 * streams))
    return rows


def _after_back_off(found: Followed) -> int:
    """Trainings that the alarms start, none of which leads to a release, at most one a wait."""
    count, next_at = 0, -1.0
    for alarm in found.alarms:
        day = alarm.alarm.sequence / HONEST  # keys only shorten a day
        if alarm.decision.kind == "train" and day >= next_at:
            count += 1
            next_at = next_by_alarm(Usage(in_vain=count, in_vain_at=day * DAY)) / DAY
    return count


def _held_back(ends: Sequence[Followed]) -> int:
    decisions = [one.alarms[0].decision for one in ends if one.alarms]
    return sum(one.tags.get("twin/decided_by", "") in HELD_BACK for one in decisions)


def _classes(classes: int) -> str:
    return "one class" if classes == 1 else f"{classes} classes"
