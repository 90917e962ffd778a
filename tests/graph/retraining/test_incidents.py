"""A fall that all authors share is one incident: one notice, no retraining; one author's is not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.graph.retraining.conftest import SMALL, LoopWorld, loop_world, opened_world
from tests.queued_notices import queued_notices
from twin_resources.authors import Author, write_author
from twin_resources.quality.retraining import alarm_records
from twin_resources.quality.retraining.quality import LoopTick
from twin_resources.settings import Settings
from twin_resources.storage.state.state_tables import fleet_days, followed, incidents, watches

AUTHORS = ("ada", "bob", "cleo", "dora", "emil")
VOTES = 30
KNOWN = 29
Level = Callable[[str], float]


@pytest.fixture(scope="module")
def lived_home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, datetime]:
    """A home of five authors that are certified and known for two weeks, and its hour."""
    home = tmp_path_factory.mktemp("five")
    with loop_world(Settings(home=home)) as world:
        for slug in AUTHORS[2:]:
            write_author(world.settings, Author(slug, slug.title()))
            world.release(slug, f"{slug}-1")
        set_up(world)
        ticks = nights(world, KNOWN, lambda _: 0.8)
        assert [one.launches for one in ticks] == [()] * KNOWN
        return home, world.now


@pytest.fixture
def home_of_five(home: Settings, lived_home: tuple[Path, datetime]) -> Iterator[LoopWorld]:
    kept, now = lived_home
    shutil.copytree(kept, home.home, dirs_exist_ok=True)
    with opened_world(home) as world:
        set_up(world)
        world.now = now
        yield world


def set_up(world: LoopWorld) -> None:
    """There is something to learn from."""
    world.rules = replace(SMALL, by_day=True)
    world.inputs.datasets = dict.fromkeys(AUTHORS, "posts-2")


def nights(world: LoopWorld, count: int, level: Level) -> list[LoopTick]:
    """Days that close and are settled, each with its tick."""
    return [night(world, level) for _ in range(count)]


def night(world: LoopWorld, level: Level) -> LoopTick:
    yesterday = int(world.now.timestamp()) // 86_400
    for author in AUTHORS:
        good = round(VOTES * level(author))
        values = [1.0 if (i * good) % VOTES < good else 0.0 for i in range(VOTES)]
        world.settle(author, values, day=yesterday)
    return world.tick(days=1)


def of_the_home(world: LoopWorld) -> list[str]:
    return [one.key for one in queued_notices(world.state) if one.event == "incident"]


def test_a_common_fall_is_one_incident_and_no_retraining(home_of_five: LoopWorld) -> None:
    world = home_of_five

    ticks = nights(world, 12, lambda _: 0.4)

    assert [one.launches for one in ticks] == [()] * 12
    with world.state.reading() as connection:
        [row] = connection.execute(sa.select(incidents)).mappings()
        found = [one for author in AUTHORS for one in alarm_records.of_author(connection, author)]
    assert (row["authors"], sorted(row["fallen"])) == (5, list(AUTHORS))
    assert row["last_day"] - row["since_day"] >= 9, "the same one, while it lasts"
    assert len(found) >= 5
    assert {(one.decision, one.decided_by) for one in found} == {("incident", "common_cause")}
    assert of_the_home(world) == ["incident:1:1", "incident:1:0"], "once, and once a week"
    notice = next(one for one in queued_notices(world.state) if one.event == "incident")
    assert "values of 5 of 5 authors together are below their baselines since" in notice.text
    assert "Authors: " in notice.text
    assert any("all authors: e-value" in note for one in ticks for note in one.notes)


def test_alarms_of_an_incident_are_not_told_one_by_one(home_of_five: LoopWorld) -> None:
    nights(home_of_five, 12, lambda _: 0.5)

    alarms = [one for one in queued_notices(home_of_five.state) if one.event == "alarm"]
    with home_of_five.state.reading() as connection:
        first = connection.execute(sa.select(sa.func.min(incidents.c.began_at))).scalar_one()
        later = [
            record
            for author in AUTHORS
            for record in alarm_records.of_author(connection, author)
            if record.raised_at > first
        ]
    assert len(later) >= 5
    assert len(alarms) <= 5, "at most those of the midnight in which it was seen first"


@pytest.mark.parametrize("fallen", [("ada",), ("ada", "bob")])
def test_one_or_two_authors_that_fall_in_one_midnight_are_trained(
    home_of_five: LoopWorld, fallen: tuple[str, ...]
) -> None:
    """Two alarms in one midnight were an incident in each fleet up to 19."""
    ticks = nights(home_of_five, 6, lambda author: 0.2 if author in fallen else 0.8)

    launched = [launch.author for one in ticks for launch in one.launches]
    assert sorted(set(launched)) == sorted(fallen)
    with home_of_five.state.reading() as connection:
        assert connection.execute(sa.select(incidents)).all() == []
    assert of_the_home(home_of_five) == []


def test_two_weeks_after_an_incident_a_fall_is_an_author_s_own_again(
    home_of_five: LoopWorld,
) -> None:
    world = home_of_five
    nights(world, 3, lambda _: 0.4)
    nights(world, 15, lambda _: 0.8)
    assert [one.launches for one in nights(world, 1, lambda _: 0.8)] == [()]

    ticks = nights(world, 6, lambda author: 0.2 if author == "ada" else 0.8)

    assert {launch.author for one in ticks for launch in one.launches} == {"ada"}
    with world.state.reading() as connection:
        assert len(connection.execute(sa.select(incidents)).all()) == 1


def test_a_fall_of_one_author_under_an_incident_is_told_and_then_trained(
    home_of_five: LoopWorld,
) -> None:
    """What an incident covers is no dead end: a notice a week, and a training when it is over."""
    world = home_of_five
    nights(world, 3, lambda _: 0.4)
    told = len(of_the_home(world))

    ticks = nights(world, 20, lambda author: 0.5 if author == "ada" else 0.8)

    assert len(of_the_home(world)) > told
    began = [number for number, one in enumerate(ticks) if one.launches]
    assert began, "its fall goes on"
    assert 10 <= began[0] < 20, "not before the incident is over"
    assert {one.author for number in began for one in ticks[number].launches} == {"ada"}


def test_days_of_the_home_are_the_same_after_rows_were_lost(home_of_five: LoopWorld) -> None:
    world = home_of_five
    before = rows_of(world)
    assert len(before) >= 5 * 14
    with world.state.transaction() as connection:
        for lost in (watches, followed):
            connection.execute(sa.delete(lost))
    world.tick()
    assert rows_of(world) == before, "nothing is counted twice"
    with world.state.transaction() as connection:
        for lost in (watches, followed, fleet_days):
            connection.execute(sa.delete(lost))
    world.tick()
    again = rows_of(world)
    assert [row[:6] for row in again] == [row[:6] for row in before]


def rows_of(world: LoopWorld) -> list[tuple[object, ...]]:
    columns = ("author", "stream", "version", "day", "read_to", "blocks", "logs")
    with world.state.reading() as connection:
        rows = connection.execute(
            sa.select(*(fleet_days.c[name] for name in columns)).order_by(
                fleet_days.c.author, fleet_days.c.day
            )
        )
        return [tuple(row) for row in rows]
