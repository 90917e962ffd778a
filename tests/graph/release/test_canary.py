"""Test decisions about canaries from readers' votes."""

from __future__ import annotations

import random

import pytest

from tests.graph.release.releases import (
    CANARY,
    add_votes,
    register_passed_candidate,
    run_release_round,
)
from twin_resources.quality.release import canary_days
from twin_resources.registry.registry import Registry

DAY_S = 86_400.0


def states(registry: Registry) -> list[str]:
    return [version.state for version in registry.versions("mara")]


def add_canary_votes(
    registry: Registry, *, stable: float, candidate: float, round_count: int, reader_count: int
) -> None:
    """Add nine votes on the stable version and one on the candidate, `round_count` times.

    Args:
        stable, candidate: the share of positive votes.
    """
    rng = random.Random(17)
    for _ in range(round_count):
        add_votes(registry, "v1", [float(rng.random() < stable) for _ in range(9)])
        add_votes(registry, "v2", [float(rng.random() < candidate)], reader_count=reader_count)


@pytest.fixture
def canary_registry(registry: Registry) -> Registry:
    """Start the canary of v2, with earlier votes that do not count."""
    add_votes(registry, "v1", [0.0] * 50)
    register_passed_candidate(registry, "h2")
    result = run_release_round(registry, CANARY)
    assert [move.to_state for move in result.moves] == ["canary"]
    return registry


@pytest.mark.long
def test_a_better_canary_is_promoted_early(canary_registry: Registry) -> None:
    add_canary_votes(
        canary_registry, stable=0.8, candidate=0.9, round_count=400, reader_count=10_000
    )
    result = run_release_round(canary_registry, CANARY, now=DAY_S)
    assert states(canary_registry) == ["retired", "stable"]
    assert result.trial is not None
    assert "canary: better, after " in result.trial.finding.reason


def test_an_equal_canary_is_parked(canary_registry: Registry) -> None:
    add_canary_votes(
        canary_registry, stable=0.8, candidate=0.8, round_count=400, reader_count=10_000
    )
    run_release_round(canary_registry, CANARY, now=DAY_S)
    assert states(canary_registry) == ["stable", "canary"]
    result = run_release_round(canary_registry, CANARY, now=15 * DAY_S)
    assert states(canary_registry) == ["stable", "parked"]
    assert result.trial is not None
    assert ", so at least -0.0" in result.trial.finding.reason


def test_few_readers_can_roll_back_a_worse_canary(canary_registry: Registry) -> None:
    """Fewer than 30 readers cannot promote a canary, but they can veto it."""
    add_canary_votes(canary_registry, stable=0.9, candidate=0.2, round_count=60, reader_count=20)
    run_release_round(canary_registry, CANARY, now=DAY_S)
    assert states(canary_registry) == ["stable", "rolled_back"]


@pytest.mark.long
def test_few_readers_cannot_promote_a_better_canary(canary_registry: Registry) -> None:
    add_canary_votes(canary_registry, stable=0.8, candidate=0.9, round_count=400, reader_count=20)
    result = run_release_round(canary_registry, CANARY, now=DAY_S)
    assert states(canary_registry) == ["stable", "canary"]
    assert result.trial is not None
    assert "of 30 readers needed to promote" in result.trial.finding.reason


def test_a_canary_is_parked_after_14_days(canary_registry: Registry) -> None:
    add_canary_votes(
        canary_registry, stable=0.8, candidate=0.8, round_count=12, reader_count=10_000
    )
    assert run_release_round(canary_registry, CANARY, now=13.9 * DAY_S).moves == ()
    result = run_release_round(canary_registry, CANARY, now=14 * DAY_S)
    assert [move.to_state for move in result.moves] == ["parked"]
    assert "12 of about" in result.moves[0].reason


def test_each_vote_counts_once(canary_registry: Registry) -> None:
    add_canary_votes(
        canary_registry, stable=0.8, candidate=0.8, round_count=10, reader_count=10_000
    )
    first = run_release_round(canary_registry, CANARY, now=1.0).trial
    second = run_release_round(canary_registry, CANARY, now=2.0).trial
    assert first is not None
    assert second == first
    assert first.evidence.pairs == 10


def test_the_vote_rate_is_measured(registry: Registry) -> None:
    rate = canary_days.measure_vote_rate(registry.state, "mara", now=0.0)
    assert (rate.reader_count, rate.values_per_day) == (0, 0.0)
    add_votes(registry, "v1", [1.0] * 40, reader_count=10)
    rate = canary_days.measure_vote_rate(registry.state, "mara", now=4 * DAY_S)
    assert (rate.reader_count, rate.values_per_day) == (10, 8.0)
