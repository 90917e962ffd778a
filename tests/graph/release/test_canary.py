"""Canaries decided by readers' days from the ledger."""

from __future__ import annotations

import random

import pytest

from tests.graph.release.releases import CANARY, pass_the_gate, round_of, settle
from twin_resources.quality.release import canary_days
from twin_resources.registry.registry import Registry

DAY_S = 86_400.0


def states(registry: Registry) -> list[str]:
    return [item.state for item in registry.versions("mara")]


def score(registry: Registry, *, stable: float, candidate: float, days: int, readers: int) -> None:
    """Thumbs as they come in a canary: one on the candidate among nine on the stable version."""
    draw = random.Random(17)
    for _ in range(days):
        settle(registry, "v1", [float(draw.random() < stable) for _ in range(9)])
        settle(registry, "v2", [float(draw.random() < candidate)], readers=readers)


@pytest.fixture
def started(registry: Registry) -> Registry:
    """v2 is in its canary; earlier scores do not count."""
    settle(registry, "v1", [0.0] * 50)
    pass_the_gate(registry, "h2")
    result = round_of(registry, CANARY)
    assert [move.to_state for move in result.moves] == ["canary"]
    return registry


def test_a_better_canary_is_promoted_before_its_days_are_over(started: Registry) -> None:
    score(started, stable=0.8, candidate=0.9, days=400, readers=10_000)
    result = round_of(started, CANARY, now=DAY_S)
    assert states(started) == ["retired", "stable"]
    assert result.trial is not None
    assert "canary: better, after " in result.trial.finding.reason


def test_an_equal_canary_is_parked_as_thumbs_do_not_tell_it_from_a_worse_one(
    started: Registry,
) -> None:
    score(started, stable=0.8, candidate=0.8, days=400, readers=10_000)
    round_of(started, CANARY, now=DAY_S)
    assert states(started) == ["stable", "canary"]
    result = round_of(started, CANARY, now=15 * DAY_S)
    assert states(started) == ["stable", "parked"]
    assert result.trial is not None
    assert ", so at least -0.0" in result.trial.finding.reason


def test_a_worse_canary_is_rolled_back_by_few_readers(started: Registry) -> None:
    """Fewer than 30 readers cannot promote; they can veto."""
    score(started, stable=0.9, candidate=0.2, days=60, readers=20)
    round_of(started, CANARY, now=DAY_S)
    assert states(started) == ["stable", "rolled_back"]


def test_few_readers_promote_nothing(started: Registry) -> None:
    score(started, stable=0.8, candidate=0.9, days=400, readers=20)
    result = round_of(started, CANARY, now=DAY_S)
    assert states(started) == ["stable", "canary"]
    assert result.trial is not None
    assert "of 30 readers needed to promote" in result.trial.finding.reason


def test_after_14_days_it_is_parked(started: Registry) -> None:
    score(started, stable=0.8, candidate=0.8, days=12, readers=10_000)
    assert round_of(started, CANARY, now=13.9 * DAY_S).moves == ()
    result = round_of(started, CANARY, now=14 * DAY_S)
    assert [move.to_state for move in result.moves] == ["parked"]
    assert "12 of about" in result.moves[0].reason


def test_each_score_is_used_once_however_often_it_is_read(started: Registry) -> None:
    score(started, stable=0.8, candidate=0.8, days=10, readers=10_000)
    first = round_of(started, CANARY, now=1.0).trial
    repeated = round_of(started, CANARY, now=2.0).trial
    assert first is not None
    assert repeated == first
    assert first.evidence.pairs == 10


def test_the_score_rate_is_measured(registry: Registry) -> None:
    assert canary_days.score_rate(registry.state, "mara", now=0.0) == canary_days.ScoreRate(0.0, 0)
    settle(registry, "v1", [1.0] * 40, readers=10)
    rate = canary_days.score_rate(registry.state, "mara", now=4 * DAY_S)
    assert (rate.readers, rate.per_day) == (10, 8.0)
