"""Helpers for release tests: a registry with versions on trial, and invented pairs."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import sqlalchemy as sa

from tests.model_versions import register_version
from tests.unit.registry.claims_beside import make_stable_claims
from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.release import trial
from twin_resources.quality.release.release_mode import ModeChoice
from twin_resources.quality.release.releasing import ReleaseRequest, ReleaseRound, release
from twin_resources.quality.release.replays import Replays
from twin_resources.quality.release.trial import TrialTerms
from twin_resources.registry.moves import GateClaim, Verdict
from twin_resources.registry.registry import Registry
from twin_resources.statistics.promotion import PairedDifference
from twin_resources.storage.state.state_tables import upsert

AUTHOR = "mara"
GATE = "gate-1"
SHADOW = ModeChoice("shadow", "shadow: a test", 60.0, 0.0)
CANARY = ModeChoice("canary", "canary: a test", 60.0, 3.0)
BOTH = ("topic", "voice")


def pass_the_gate(registry: Registry, checkpoint: str) -> int:
    """Register a checkpoint that has passed the gate; return its version."""
    version = register_version(registry, AUTHOR, checkpoint, folder=f"/checkpoints/{checkpoint}")
    claim = GateClaim("beats_base_model", True, 1.2, 1.0, "perplexity 20 against 24")
    claims = (claim, *make_stable_claims(registry, AUTHOR))
    registry.record_verdict(Verdict(AUTHOR, checkpoint, GATE, "passed", claims, "2026-01-01"))
    return version.version


def run_release_round(
    registry: Registry,
    choice: ModeChoice = SHADOW,
    *,
    now: float = 0.0,
    replays: Replays | None = None,
) -> ReleaseRound:
    """Run one release round, as the asset does."""
    request = ReleaseRequest(author=AUTHOR, gate_version=GATE, actor="test", now=now)
    return release(registry, request, choice=choice, replays=replays)


def replays(
    registry: Registry,
    pairs: Sequence[PairedDifference],
    *,
    prompts: int = 10_000,
    certified: bool = True,
    terms: TrialTerms | None = None,
) -> Replays:
    """Return pairs for the version that is now on trial."""
    on_trial = trial.candidate_on_trial(registry.state, AUTHOR)
    assert on_trial is not None
    return Replays(
        on_trial.version,
        on_trial.incumbent,
        terms or TrialTerms(BOTH, judges="topic@1, voice@1"),
        tuple(pairs),
        len(pairs) >= prompts,
        certified,
    )


def draw_pairs(
    quality: Callable[[int], float],
    registry: Registry,
    *,
    count: int,
    seed: int = 7,
    noise: float = 0.2,
) -> list[PairedDifference]:
    """Return noisy differences whose means are the differences in quality.

    Args:
        quality: returns a version's mean score.
    """
    on_trial = trial.candidate_on_trial(registry.state, AUTHOR)
    assert on_trial is not None
    draw = random.Random(seed * 1_000 + on_trial.version)

    def difference(other: int) -> dict[str, float]:
        mean = quality(on_trial.version) - quality(other)
        return {claim: max(-1.0, min(1.0, mean + draw.uniform(-noise, noise))) for claim in BOTH}

    return [
        PairedDifference(number, difference(on_trial.incumbent)) for number in range(1, count + 1)
    ]


def settle(
    registry: Registry, version: str, values: Sequence[float], *, readers: int = 10_000
) -> None:
    """Store settled thumbs as in the ledger, one per reader and day."""
    ledger_tables.open_tables(registry.state)
    with registry.state.transaction() as connection:
        last = ledger_tables.find_last_sequence(connection, AUTHOR)
        rows = [
            {
                "author": AUTHOR,
                "sequence": last + number,
                "stream": "thumbs",
                "version": version,
                "prompt_class": "how",
                "value": value,
                "unit": f"reader {(last + number) % readers}",
                "day": (last + number) // readers,
                "settled_ms": 1_000,
            }
            for number, value in enumerate(values, start=1)
        ]
        connection.execute(sa.insert(ledger_tables.settled), rows)
        newest = last + len(values)
        upsert(connection, ledger_tables.sequences, [{"author": AUTHOR, "last": newest}])
