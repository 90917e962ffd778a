"""Test decisions about canaries from readers' votes."""

from __future__ import annotations

import random

import pytest

from tests.graph.release.releases import CANARY, pass_the_gate, run_release_round, settle
from twin_resources.quality.release import canary_days
from twin_resources.registry.registry import Registry

DAY_S = 86_400.0


def states(registry: Registry) -> list[str]:
    return [item.state for item in registry.versions("mara")]


def score(registry: Registry, *, stable: float, candidate: float, days: int, readers: int) -> None:
    """Add votes: one on the candidate for nine on the stable version."""
    draw = random.Random(17)
    for _ in range(days):
        settle(registry, "v1", [float(draw.random() < stable) for _ in range(9)])
        settle(registry, "v2", [float(draw.random() < candidate)], readers=readers)


@pytest.fixture
def start_canary(registry: Registry) -> Registry:
    """Start the canary of v2, with earlier votes that do not count."""
    settle(registry, "v1", [0.0] * 50)
    pass_the_gate(registry, "h2")
    done = run_release_round(registry, CANARY)
    assert [move.to_state for move in done.moves] == ["canary"]
    return registry


def test_a_better_canary_is_promoted_early(start_canary: Registry) -> None:
    score(start_canary, stable=0.8, candidate=0.9, days=400, readers=10_000)
    done = run_release_round(start_canary, CANARY, now=DAY_S)
    assert states(start_canary) == ["retired", "stable"]
    assert done.trial is not None
    assert "canary: better, after " in done.trial.finding.reason


def test_an_equal_canary_is_parked(
    start_canary: Registry,
) -> None:
    score(start_canary, stable=0.8, candidate=0.8, days=400, readers=10_000)
    run_release_round(start_canary, CANARY, now=DAY_S)
    assert states(start_canary) == ["stable", "canary"]
    done = run_release_round(start_canary, CANARY, now=15 * DAY_S)
    assert states(start_canary) == ["stable", "parked"]
    assert done.trial is not None
    assert ", so at least -0.0" in done.trial.finding.reason


def test_few_readers_roll_back_a_worse_canary(start_canary: Registry) -> None:
    """Fewer than 30 readers cannot promote, but can veto."""
    score(start_canary, stable=0.9, candidate=0.2, days=60, readers=20)
    run_release_round(start_canary, CANARY, now=DAY_S)
    assert states(start_canary) == ["stable", "rolled_back"]


def test_few_readers_promote_no_canary(start_canary: Registry) -> None:
    score(start_canary, stable=0.8, candidate=0.9, days=400, readers=20)
    done = run_release_round(start_canary, CANARY, now=DAY_S)
    assert states(start_canary) == ["stable", "canary"]
    assert done.trial is not None
    assert "of 30 readers needed to promote" in done.trial.finding.reason


def test_a_canary_is_parked_after_14_days(start_canary: Registry) -> None:
    score(start_canary, stable=0.8, candidate=0.8, days=12, readers=10_000)
    assert run_release_round(start_canary, CANARY, now=13.9 * DAY_S).moves == ()
    done = run_release_round(start_canary, CANARY, now=14 * DAY_S)
    assert [move.to_state for move in done.moves] == ["parked"]
    assert "12 of about" in done.moves[0].reason


def test_each_vote_counts_once(start_canary: Registry) -> None:
    score(start_canary, stable=0.8, candidate=0.8, days=10, readers=10_000)
    first = run_release_round(start_canary, CANARY, now=1.0).trial
    again = run_release_round(start_canary, CANARY, now=2.0).trial
    assert first is not None
    assert again == first
    assert first.evidence.pairs == 10


def test_the_score_rate_is_measured(registry: Registry) -> None:
    assert canary_days.measure_score_rate(registry.state, "mara", now=0.0) == canary_days.ScoreRate(
        0.0, 0
    )
    settle(registry, "v1", [1.0] * 40, readers=10)
    rate = canary_days.measure_score_rate(registry.state, "mara", now=4 * DAY_S)
    assert (rate.readers, rate.per_day) == (10, 8.0)
