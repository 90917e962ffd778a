"""A tick for 200 authors: what it costs, and that each gets its numbers."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from tests.graph.retraining.conftest import LoopWorld
from twin_resources.authors import Author, write_author
from twin_resources.storage.state.state_tables import model_versions


def version_of(author: str) -> dict[str, Any]:
    texts = ("folder", "base", "base_gguf", "template", "dataset_version", "created_at")
    facts = {"version": 1, "checkpoint": f"{author}-1", "state": "stable"}
    return {"author": author, **facts, "tainted": False, "forced": False} | dict.fromkeys(texts, "")


def test_two_hundred_authors_are_one_tick(world: LoopWorld) -> None:
    names = [f"author-{number:03d}" for number in range(200)]
    for name in names:
        write_author(world.settings, Author(name, name))
        world.good(name, 160)
        world.settle(name, [0.8] * 160, stream="judge:topic@1")
    with world.state.transaction() as connection:  # the registry writes its policy at each move
        connection.execute(sa.insert(model_versions), [version_of(name) for name in names])
    world.tick()
    for name in names:
        world.good(name, 20)
        world.settle(name, [0.8] * 20, stream="judge:topic@1")
    began = time.process_time()

    busy = world.tick()

    cost = time.process_time() - began
    began = time.process_time()
    quiet = world.tick()
    idle = time.process_time() - began
    assert {name for name in busy.messages if name.startswith("author-")} == set(names)
    assert quiet.messages["author-000"].count("likelihood ratio") == 2
    assert busy.launches == quiet.launches == ()
    print(f"a tick for 200 authors: {cost:.2f} CPU s with news, {idle:.2f} without")  # noqa: T201
    assert cost <= 5.0
