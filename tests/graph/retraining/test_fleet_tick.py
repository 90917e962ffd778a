"""Test that the cost of a tick grows linearly with the number of authors."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from tests.graph.retraining.conftest import LoopWorld
from twin_resources.authors import Author, write_author
from twin_resources.storage.state.state_tables import model_versions

FEW_AUTHORS, MANY_AUTHORS = 20, 200
# The allowed factor for ten times the authors. A quadratic cost would grow by a factor of 100.
MAX_GROWTH = 20


def make_version_row(author: str) -> dict[str, Any]:
    texts = ("folder", "base", "base_gguf", "template", "dataset_version", "created_at")
    row = {"version": 1, "checkpoint": f"{author}-1", "state": "stable"}
    return {"author": author, **row, "tainted": False, "forced": False} | dict.fromkeys(texts, "")


def add_authors(world: LoopWorld, names: Sequence[str]) -> None:
    for name in names:
        write_author(world.settings, Author(name, name))
        world.add_good(name, 160)
        world.settle(name, [0.8] * 160, stream="judge:topic@1")
    with world.state.transaction() as connection:  # the registry writes its policy at each move
        connection.execute(sa.insert(model_versions), [make_version_row(name) for name in names])
    world.tick()


def tick_with_new_scores(world: LoopWorld, names: Sequence[str]) -> tuple[Any, float]:
    """Run a tick in which each author has new scores; return it with its CPU seconds."""
    for name in names:
        world.add_good(name, 20)
        world.settle(name, [0.8] * 20, stream="judge:topic@1")
    start = time.process_time()
    tick = world.tick()
    return tick, time.process_time() - start


@pytest.mark.long
def test_a_tick_costs_in_proportion_to_its_authors(world: LoopWorld) -> None:
    names = [f"author-{number:03d}" for number in range(MANY_AUTHORS)]
    add_authors(world, names[:FEW_AUTHORS])
    _, cost_of_few = tick_with_new_scores(world, names[:FEW_AUTHORS])
    add_authors(world, names[FEW_AUTHORS:])

    busy, cost = tick_with_new_scores(world, names)

    start = time.process_time()
    quiet = world.tick()
    idle_cost = time.process_time() - start
    assert {name for name in busy.messages if name.startswith("author-")} == set(names)
    assert quiet.messages["author-000"].count("likelihood ratio") == 2
    assert busy.launches == quiet.launches == ()
    print(  # noqa: T201
        f"a tick: {cost:.2f} CPU s for {MANY_AUTHORS} authors, {cost_of_few:.2f} for "
        f"{FEW_AUTHORS}, {idle_cost:.2f} without new scores"
    )
    assert cost <= MAX_GROWTH * cost_of_few
