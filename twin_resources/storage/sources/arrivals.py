"""Decide whether changes at an author's sources need an import, and which run makes it.

Scope: the decision, as a pure function of the remembered state, the current state and the runs of
the last change.
Out of scope: interpreting those runs (`idempotent_launch.py`), listing (`listing.py`), polling
(`polling.py`), Dagster.

A change is launched once. Its key contains a number that only grows, because Dagster never starts
the same key twice and a folder can return to an earlier state. A failed run is retried under a new
key. A run that never started (the tick died) is retried under the same key.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from twin_resources.dagster_runs import Run
from twin_resources.idempotent_launch import next_step

MAX_ATTEMPTS = 3
"""Runs per change. Afterwards, only the next change or the nightly import starts another."""


@dataclass(frozen=True)
class KnownSources:
    """The state of one author's sources, remembered between two checks.

    Attributes:
        number: the number of changes launched so far.
        mark: the fingerprint of the sources at the last decision.
        attempt: the attempt number of the run for this state.
        settled: whether that run succeeded, was ended by a person, or was abandoned.
        at: the time of the decision, in seconds since the epoch.
    """

    number: int
    mark: str
    attempt: int
    settled: bool
    at: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> KnownSources:
        return cls(**fields)


@dataclass(frozen=True)
class ArrivalDecision:
    """The state to remember, whether to launch its run, and a message."""

    known: KnownSources | None
    should_launch: bool
    message: str


def decide(
    known: KnownSources | None,
    fingerprint: str,
    *,
    now: float,
    is_imported: bool,
    is_import_running: bool,
    runs: Sequence[Run],
) -> ArrivalDecision:
    """Decide whether to launch an import for one author.

    Args:
        known: the remembered state, or None if these sources were never checked.
        fingerprint: the fingerprint of the current sources.
        now: seconds since the epoch.
        is_imported: whether an import that the sensor did not request has read the current state.
        is_import_running: whether an import of this author is queued or running.
        runs: the runs of `known`, newest first.
    """
    if is_import_running:
        return ArrivalDecision(known, False, "an import is running; checked again after it")
    # The run may belong to another code location and have a key from its memory.
    if is_imported and (known is None or fingerprint != known.mark or not (known.settled or runs)):
        number = 0 if known is None else known.number
        imported_state = KnownSources(number, fingerprint, 0, True, now)
        return ArrivalDecision(imported_state, False, "nothing has changed since the import")
    if known is None:
        return ArrivalDecision(KnownSources(1, fingerprint, 1, False, now), True, "first import")
    if fingerprint != known.mark:
        return ArrivalDecision(
            KnownSources(known.number + 1, fingerprint, 1, False, now), True, "changed"
        )
    if known.settled:
        return ArrivalDecision(known, False, "nothing new")
    step = next_step(runs, now=now, attempt=known.attempt, max_attempts=MAX_ATTEMPTS)
    if step == "offer":
        return ArrivalDecision(known, True, "its run was never started")
    if step == "wait":
        return ArrivalDecision(known, False, "the import's worker died; Dagster restarts it")
    if step == "retry":
        retry_state = replace(known, attempt=known.attempt + 1, at=now)
        message = (
            f"the import failed or was canceled; attempt {retry_state.attempt} of {MAX_ATTEMPTS}"
        )
        return ArrivalDecision(retry_state, True, message)
    message = {"passed": "imported", "canceled": "ended"}.get(
        step, f"the import failed {known.attempt} times; the next change starts another import"
    )
    return ArrivalDecision(replace(known, settled=True), False, message)


def run_key(kind: str, author: str, epoch: int, known: KnownSources) -> str:
    """Return `posts:ann:1764000000:3.1` for the third change of this memory, first attempt.

    `epoch` separates the numbers of two memories, because a cursor can be reset.
    """
    return f"{kind}:{author}:{epoch}:{known.number}.{known.attempt}"
