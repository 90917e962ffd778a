"""Whether what is seen at an author's sources is worth an import, and which run made it.

Scope: the decision, as a pure function of what was known, what is seen and the runs of the
last change. Out of scope: what those amount to (`one_run`), listing (`listing`), polling
(`polling`), dagster.

A change is launched once: its key holds a number that only grows, because Dagster never starts the
same key twice and a folder can return to a state that it had before. A run that failed is tried
again under a new key; one that was never started (the tick died) under its own.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from twin_resources.dagster_runs import Run
from twin_resources.idempotent_launch import next_step

ATTEMPTS = 3
"""Runs for one change; after them the next change, or the nightly import, is waited for."""


@dataclass(frozen=True)
class KnownSources:
    """What is remembered of one author's sources between two looks.

    Attributes:
        number: changes launched so far.
        mark: fingerprint of what was last decided on.
        attempt: of the run for it.
        settled: that run has succeeded, was ended by a person, or was given up.
        at: when it was decided, seconds since the epoch.
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
    """What to remember, whether to launch the run of `known`, and what to say."""

    known: KnownSources | None
    launch: bool
    said: str


def decide(
    known: KnownSources | None,
    mark: str,
    *,
    now: float,
    is_imported: bool,
    in_flight: bool,
    runs: Sequence[Run],
) -> ArrivalDecision:
    """Decide for one author.

    Args:
        known: what was remembered; None: these sources were never looked at.
        mark: fingerprint of what is there now.
        now: seconds since the epoch.
        is_imported: an import that the sensor did not ask for has read what is there now.
        in_flight: an import of this author is queued or running.
        runs: those of `known`, newest first.
    """
    if in_flight:
        return ArrivalDecision(known, False, "an import is running; looked at again after it")
    # The run may be another code location's: it carries the key of that one's memory.
    if is_imported and (known is None or mark != known.mark or not (known.settled or runs)):
        number = 0 if known is None else known.number
        imported = KnownSources(number, mark, 0, True, now)
        return ArrivalDecision(imported, False, "nothing new since the import")
    if known is None:
        return ArrivalDecision(KnownSources(1, mark, 1, False, now), True, "first import")
    if mark != known.mark:
        return ArrivalDecision(KnownSources(known.number + 1, mark, 1, False, now), True, "changed")
    if known.settled:
        return ArrivalDecision(known, False, "nothing new")
    step = next_step(runs, now=now, attempt=known.attempt, attempts=ATTEMPTS)
    if step == "offer":
        return ArrivalDecision(known, True, "its run was never started")
    if step == "wait":
        return ArrivalDecision(known, False, "the import's worker died; Dagster starts it again")
    if step == "retry":
        again = replace(known, attempt=known.attempt + 1, at=now)
        message = f"the import failed or was ended; attempt {again.attempt} of {ATTEMPTS}"
        return ArrivalDecision(again, True, message)
    message = {"passed": "imported", "canceled": "ended"}.get(
        step, f"the import failed {known.attempt} times; the next change starts another"
    )
    return ArrivalDecision(replace(known, settled=True), False, message)


def run_key(kind: str, author: str, epoch: int, known: KnownSources) -> str:
    """`posts:ann:1764000000:3.1`: third change since the memory began, first attempt.

    `epoch` tells the numbers of two memories apart: a cursor can be reset.
    """
    return f"{kind}:{author}:{epoch}:{known.number}.{known.attempt}"


def named(names: Sequence[str], *, most: int = 20) -> str:
    """The first names and the number of the others, for a run's tag."""
    shown = "\n".join(sorted(names)[:most])
    return shown + (f"\n… and {len(names) - most} more" if len(names) > most else "")
