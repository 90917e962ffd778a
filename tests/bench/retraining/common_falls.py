"""Rows: all authors of a home together; false incidents, days until a common fall is one, and
retrainings of single authors before it.

Each author's stream goes through `watch.advance`, with alpha and delta shared by the home, and
each midnight through `common_cause.common_fall`, as the sensor does it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tests.bench.retraining.families import GOOD, PER_DAY
from tests.bench.retraining.rows import Form, Row, row
from twin_resources.statistics.baseline import FIRST_BATCH
from twin_resources.statistics.blocks import blocks_of
from twin_resources.statistics.common_cause import (
    WINDOW_DAYS,
    DayBets,
    FleetEvidence,
    common_fall,
    day_bets,
)
from twin_resources.statistics.detector import HORIZON, threshold
from twin_resources.statistics.values import SettledValue
from twin_resources.statistics.watch import Watch, advance, start

ARMING_DAYS = -(-FIRST_BATCH // PER_DAY)
KNOWN_DAYS = 14  # in control after the first batch, before a fall
LONG_DAYS = HORIZON // PER_DAY
Level = Callable[[np.random.Generator, int], float]


@dataclass(frozen=True)
class Shared:
    """What all authors of a home have in common: the level of a day, around `GOOD`."""

    name: str
    level: Level
    has_goal: bool


IN_CONTROL = (
    Shared("independent thumbs", lambda _rng, _day: 0.0, has_goal=True),
    Shared("weekends .08 lower", lambda _rng, day: -0.08 * (day % 7 in (5, 6)), has_goal=True),
    Shared("days differ by .05", lambda rng, _day: rng.normal(0.0, 0.05), has_goal=True),
)


@dataclass
class Home:
    """Authors with a stream of thumbs each, `PER_DAY` a day."""

    rng: np.random.Generator
    authors: int
    watches: list[Watch] = field(default_factory=list[Watch])
    values: list[list[SettledValue]] = field(default_factory=list[list[SettledValue]])
    days: list[DayBets] = field(default_factory=list[DayBets])
    alarmed: dict[str, int] = field(default_factory=dict[str, int])

    def __post_init__(self) -> None:
        names = [f"author-{number}" for number in range(self.authors)]
        self.watches = [start(author=name, stream="thumbs", version="v1") for name in names]
        self.values = [[] for _ in names]

    def midnight(self, day: int, level: float) -> tuple[int, FleetEvidence]:
        """Settle a day of all authors: how many of them raise an alarm, and the home's evidence."""
        alarms = sum(self._settle(number, day, level) for number in range(self.authors))
        self.days = [one for one in self.days if one.day > day - 2 * WINDOW_DAYS]
        armed = sum(watch.armed for watch in self.watches)
        return alarms, common_fall(self.days, authors=armed, alone=self.alarmed)

    def _settle(self, number: int, day: int, level: float) -> bool:
        watch, before = self.watches[number], self.values[number]
        votes = self.rng.random(PER_DAY) < min(1.0, max(0.0, level))
        new = [
            SettledValue(
                len(before) + index, watch.author, "thumbs", "v1", "all", float(vote), day=day
            )
            for index, vote in enumerate(votes, 1)
        ]
        before += new
        if watch.baseline is not None:
            blocks = blocks_of(new, most=watch.baseline.blocks)
            bets = day_bets(watch.author, day, blocks, watch.home_bounds)
            self.days += [] if bets is None else [bets]
        self.watches[number], alarm = advance(
            watch,
            new,
            first=before,
            threshold=threshold(armed_streams=self.authors),
            fleet=self.authors,
        )
        if alarm is not None:
            self.alarmed[watch.author] = day
        return alarm is not None


def common_falls(form: Form) -> list[Row]:
    """False alarms of homes that stay as they are, and falls that all authors share."""
    return [*_in_control(form), *_falls(form)]


def _in_control(form: Form) -> list[Row]:
    homes, authors = form.streams(10, quick=1), form.streams(200, quick=10)
    days = ARMING_DAYS + form.streams(LONG_DAYS, quick=60)
    rows: list[Row] = []
    for number, shared in enumerate(IN_CONTROL):
        incidents, single, largest = 0, 0, 0.0
        for seed in range(homes):
            rng = np.random.default_rng([17, number, seed])
            home, is_common, alarms = Home(rng, authors), False, 0
            for day in range(days):
                raised, evidence = home.midnight(day, GOOD + shared.level(rng, day))
                alarms += raised
                is_common = is_common or evidence.is_common
                largest = max(largest, evidence.e_value)
            incidents += is_common
            single += alarms > 0
        name = f"false incidents, {shared.name} ({homes} homes of {authors}, {days} days)"
        peers = {"homes with any alarm, %": 100.0 * single / homes, "largest E": largest}
        goal = 5.0 if shared.has_goal else None
        rows.append(row(name, 100.0 * incidents / homes, "%", at_most=goal, peers=peers))
    return rows


def _falls(form: Form) -> list[Row]:
    homes, watched = form.streams(10, quick=2), 14
    rows: list[Row] = []
    for authors in (5, 20, 200):
        if form.quick and authors == 200:
            continue
        for fall in (0.1, 0.2, 0.3):
            found = [
                _fall(np.random.default_rng([18, authors, seed]), authors, fall, watched)
                for seed in range(homes)
            ]
            days = np.array([one[0] for one in found])
            name = f"days to an incident, all {authors} authors {fall} lower ({homes} homes, median"
            goal = 2.0 if authors == 200 else None
            peers = {
                "longest": float(days.max()),
                "alarms of single authors before it, a home": float(
                    np.mean([one[1] for one in found])
                ),
            }
            rows.append(row(f"{name})", float(np.median(days)), "days", at_most=goal, peers=peers))
    return rows


def _fall(rng: np.random.Generator, authors: int, fall: float, watched: int) -> tuple[float, int]:
    """Days to the incident, infinite if none comes, and alarms of authors in midnights before."""
    home, trained = Home(rng, authors), 0
    begins = ARMING_DAYS + KNOWN_DAYS
    for day in range(begins + watched):
        alarms, evidence = home.midnight(day, GOOD - fall * (day >= begins))
        if day >= begins and evidence.is_common:
            return day - begins + 1.0, trained
        trained += alarms
    return float("inf"), trained
