"""A registry with versions on trial, and made-up pairs. Scope: no test, no expectation."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import sqlalchemy as sa

from tests.registered import register_version
from tests.unit.registry.claims_beside import beside_stable
from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.release import trial
from twin_resources.quality.release.release_mode import ModeChoice
from twin_resources.quality.release.releasing import ReleaseRequest, ReleaseRound, release
from twin_resources.quality.release.replays import Replays
from twin_resources.quality.release.trial import TrialTerms
from twin_resources.registry.registry import GateClaim, Registry, Verdict
from twin_resources.statistics.promotion import PairedDifference

AUTHOR = "mara"
GATE = "gate-1"
SHADOW = ModeChoice("shadow", "shadow: a test", 60.0, 0.0)
CANARY = ModeChoice("canary", "canary: a test", 60.0, 3.0)
BOTH = ("topic", "voice")


def pass_the_gate(registry: Registry, checkpoint: str) -> int:
    """Register a checkpoint that has passed; returns its version."""
    item = register_version(registry, AUTHOR, checkpoint, folder=f"/checkpoints/{checkpoint}")
    claim = GateClaim("beats_base_model", True, 1.2, 1.0, "perplexity 20 against 24")
    claims = (claim, *beside_stable(registry, AUTHOR))
    registry.record_verdict(Verdict(AUTHOR, checkpoint, GATE, "passed", claims, "2026-01-01"))
    return item.version


def round_of(
    registry: Registry,
    choice: ModeChoice = SHADOW,
    *,
    now: float = 0.0,
    replays: Replays | None = None,
) -> ReleaseRound:
    """Run one round of releasing as the asset does."""
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
    """The given pairs as evidence about the version on trial."""
    on = trial.candidate_on_trial(registry.state, AUTHOR)
    assert on is not None
    return Replays(
        on.version,
        on.incumbent,
        terms or TrialTerms(BOTH, judges="topic@1, voice@1"),
        tuple(pairs),
        len(pairs) >= prompts,
        certified,
    )


def pairs_of(
    quality: Callable[[int], float],
    registry: Registry,
    *,
    count: int,
    seed: int = 7,
    noise: float = 0.2,
) -> list[PairedDifference]:
    """Differences whose means are those of the versions' quality, each with its own noise.

    Args:
        quality: version → mean score.
    """
    on = trial.candidate_on_trial(registry.state, AUTHOR)
    assert on is not None
    draw = random.Random(seed * 1_000 + on.version)

    def difference(other: int) -> dict[str, float]:
        mean = quality(on.version) - quality(other)
        return {claim: max(-1.0, min(1.0, mean + draw.uniform(-noise, noise))) for claim in BOTH}

    return [PairedDifference(number, difference(on.incumbent)) for number in range(1, count + 1)]


def settle(
    registry: Registry, version: str, values: Sequence[float], *, readers: int = 10_000
) -> None:
    """Settled thumbs as the ledger keeps them, a day apart for one reader."""
    ledger_tables.open_tables(registry.state)
    with registry.state.transaction() as connection:
        last = (
            connection.execute(sa.select(sa.func.max(ledger_tables.settled.c.sequence))).scalar()
            or 0
        )
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
        ledger_tables.upsert(
            connection, ledger_tables.sequences, [{"author": AUTHOR, "last": newest}]
        )
