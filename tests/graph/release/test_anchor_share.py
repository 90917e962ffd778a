"""Whose votes allow a share of the readers for the anchor: the entry, the policy, what ends it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.graph.retraining.conftest import LoopWorld, loop_world
from twin_resources.quality.release import anchor_share
from twin_resources.registry.policy import AuthorPolicy, read_policy
from twin_resources.settings import Settings

A_DAY = 110
SHARE = 0.4


@pytest.fixture
def world(home: Settings) -> Iterator[LoopWorld]:
    """v1 was certified by readers and is best; v2 has answered for two weeks."""
    with loop_world(home) as made:
        certified_by_readers(made)
        made.release("ada", "ada-2")
        votes(made, A_DAY)
        yield made


def today(world: LoopWorld) -> int:
    return int(world.now.timestamp()) // 86_400


def certified_by_readers(world: LoopWorld, count: int = 500) -> None:
    """v1's first values, of twenty days: of one day nothing follows for others."""
    for day in range(20):
        of_day = count // 20 + (day < count % 20)
        world.good("ada", of_day, day=today(world) - 60 + day)


def votes(world: LoopWorld, a_day: int, **facts: Any) -> None:
    for day in range(14):
        world.bad("ada", a_day, version="v2", day=today(world) - 14 + day, **facts)


def look(world: LoopWorld, share: float = SHARE, *, days: float = 0.0) -> dict[str, str]:
    return anchor_share.look(world.registry, share=share, now=world.now.timestamp() + days * 86_400)


def served(world: LoopWorld, author: str = "ada") -> AuthorPolicy:
    return read_policy(world.registry.policy_path).authors[author]


def test_the_best_certified_version_gets_its_share(world: LoopWorld) -> None:
    assert look(world) == {"ada": "anchor: v1 is the best that was certified, at 110 votes a day"}
    anchor = served(world).anchor
    assert anchor is not None
    assert anchor.version == 1
    assert served(world).weights == {"stable": 0.6, "anchor": 0.4}
    assert look(world) == {}, "once a day"
    assert "anchor" not in world.registry.routing().get("bob", {}), "bob has one version"


def test_a_trial_and_its_end_need_no_look(world: LoopWorld) -> None:
    look(world)
    third = world.registry.register(
        author="ada",
        checkpoint="ada-3",
        folder="/checkpoints/ada-3",
        adapter_gguf=None,
        base="/base",
        base_gguf="/base.gguf",
        template="t",
        dataset_version="posts-1",
    ).version
    world.judge("ada", "ada-3", "passed")
    move = world.registry.move
    move("ada", third, "shadow", actor="test", reason="on trial", gate_version="gate-test")
    assert served(world).anchor is None
    assert served(world).weights == {"stable": 1.0}
    move("ada", third, "parked", actor="test", reason="undecided")
    assert served(world).anchor is not None


def test_the_setting_ends_it_at_once_and_changes_it_at_once(world: LoopWorld) -> None:
    look(world)
    look(world, 0.5)
    assert served(world).weights == {"stable": 0.5, "anchor": 0.5}
    assert list(look(world, 0.0)) == ["ada"]
    assert served(world).anchor is None
    assert look(world, 0.0) == {}


def test_with_fewer_votes_it_ends_on_the_next_day(world: LoopWorld) -> None:
    look(world)
    said = look(world, days=3.0)
    assert said == {"ada": "anchor: 86 votes a day of the last 14, and 100 allow a share of 0.4"}
    assert served(world).anchor is None


def test_judged_answers_are_no_votes(home: Settings) -> None:
    with loop_world(home) as made:
        certified_by_readers(made)
        made.release("ada", "ada-2")
        votes(made, A_DAY, stream="judge:topic@1")
        look(made)
        assert served(made).anchor is None


def test_where_the_stable_version_is_the_best_there_is_nothing_to_compare(
    home: Settings,
) -> None:
    with loop_world(home) as made:
        made.bad("ada", 500, day=today(made) - 40)
        made.release("ada", "ada-2")
        for day in range(14):
            made.good("ada", A_DAY, version="v2", day=today(made) - 14 + day)
        look(made)
        assert served(made).anchor is None
        entry = made.registry.routing_of("ada")["anchor"]
        assert entry["why"] == "the stable version is the best that was certified"


def test_a_first_version_that_readers_never_certified_gets_nobody(home: Settings) -> None:
    with loop_world(home) as made:
        certified_by_readers(made, 499)
        made.release("ada", "ada-2")
        votes(made, A_DAY)
        look(made)
        assert served(made).anchor is None
        entry = made.registry.routing_of("ada")["anchor"]
        assert entry["why"] == "v1 was not certified by readers"
