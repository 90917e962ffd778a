"""Put versions on trial in a registry, and create pairs, for release tests."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from tests.model_versions import register_version
from tests.unit.registry.comparison_claims import make_stable_claims
from twin_assets.evaluation.gate import GATE_VERSION
from twin_resources.quality.release import trial
from twin_resources.quality.release.release_mode import ModeChoice
from twin_resources.quality.release.releasing import ReleaseRequest, ReleaseRound, release
from twin_resources.quality.release.replays import Replays
from twin_resources.quality.release.trial import TrialTerms
from twin_resources.registry.moves import GateClaim, Verdict
from twin_resources.registry.registry import Registry
from twin_resources.statistics.promotion import PairedDifference

AUTHOR = "mara"
SHADOW = ModeChoice("shadow", "shadow: a test", 60.0)
BOTH_CLAIMS = ("topic", "voice")


def register_passed_candidate(registry: Registry, checkpoint: str, *, high: float = 0.99) -> None:
    """Register a candidate that passed the current gate.

    Args:
        high: the upper end of the interval of its ratio to the stable version, if there is one.
    """
    register_version(registry, AUTHOR, checkpoint, folder=f"/checkpoints/{checkpoint}")
    claim = GateClaim("beats_base_model", True, 1.2, 1.0, "perplexity 20 against 24")
    claims = (claim, *make_stable_claims(registry, AUTHOR, high=high))
    verdict = Verdict(AUTHOR, checkpoint, GATE_VERSION, "passed", claims, "2026-01-01")
    registry.record_verdict(verdict)


def run_release_round(
    registry: Registry,
    choice: ModeChoice = SHADOW,
    *,
    now: float = 0.0,
    replays: Replays | None = None,
) -> ReleaseRound:
    """Run one release round, as the asset does."""
    request = ReleaseRequest(author=AUTHOR, gate_version=GATE_VERSION, actor="test", now=now)
    return release(registry, request, choice=choice, replays=replays)


def build_replays(
    registry: Registry,
    pairs: Sequence[PairedDifference],
    *,
    prompt_count: int = 10_000,
    is_certified: bool = True,
    terms: TrialTerms | None = None,
) -> Replays:
    """Build replays with these pairs for the version that is now on trial.

    Args:
        prompt_count: the number of pairs that uses up all prompts.
    """
    on_trial = trial.candidate_on_trial(registry.state, AUTHOR)
    assert on_trial is not None
    return Replays(
        on_trial.version,
        on_trial.incumbent,
        terms or TrialTerms(BOTH_CLAIMS, judges="topic@1, voice@1"),
        tuple(pairs),
        is_exhausted=len(pairs) >= prompt_count,
        is_certified=is_certified,
    )


def run_round_with_pairs(
    registry: Registry,
    pairs: Sequence[PairedDifference],
    *,
    choice: ModeChoice = SHADOW,
    now: float = 0.0,
    **options: Any,
) -> ReleaseRound:
    """Run one release round with these pairs; `options` are those of `build_replays`."""
    replays = build_replays(registry, pairs, **options)
    return run_release_round(registry, choice, now=now, replays=replays)


def draw_pairs(
    quality: Callable[[int], float],
    registry: Registry,
    *,
    count: int,
    seed: int = 7,
    noise: float = 0.2,
) -> list[PairedDifference]:
    """Draw pairs whose mean differences are the differences in quality.

    Args:
        quality: returns a version's mean score.
        noise: the maximum deviation of a difference from its mean.
    """
    on_trial = trial.candidate_on_trial(registry.state, AUTHOR)
    assert on_trial is not None
    rng = random.Random(seed * 1_000 + on_trial.version)
    mean = quality(on_trial.version) - quality(on_trial.incumbent)

    def draw_differences() -> dict[str, float]:
        return {
            claim: max(-1.0, min(1.0, mean + rng.uniform(-noise, noise))) for claim in BOTH_CLAIMS
        }

    return [PairedDifference(number, draw_differences()) for number in range(1, count + 1)]
