"""Decide whether changes in an author's sources need an import, and which run performs it.

Scope: the decision, as a pure function of the stored state, the current state and the runs of
the last change.
Out of scope: interpreting those runs (`idempotent_launch.py`), listing (`listing.py`), polling
(`polling.py`), Dagster.

Each change launches one import. Its key contains a number that only grows, because Dagster never
starts the same key twice and a folder can return to an earlier state. A failed run is retried under
a new key. A run that never started (the sensor tick crashed) is retried under the same key.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from twin_resources.dagster_runs import Run
from twin_resources.idempotent_launch import decide_step

MAX_ATTEMPTS = 3
"""Maximum number of runs per change; after that, only a new change or the nightly import starts
another."""


@dataclass(frozen=True)
class SourcesState:
    """The state of one author's sources, stored between two checks.

    Attributes:
        number: the number of changes launched so far.
        mark: the fingerprint of the sources at the last decision.
        attempt: the number of the attempt to import this state; 0 if the sensor did not
            request its import.
        settled: whether the import succeeded, was canceled, or failed too often.
        at: the time of the decision, in seconds since the epoch.
    """

    number: int
    mark: str
    attempt: int
    settled: bool
    at: float


@dataclass(frozen=True)
class ImportDecision:
    """The state to store, whether to launch a run for it, and a message for the sensor's tick."""

    state: SourcesState | None
    should_launch: bool
    message: str


def decide_import(
    previous_state: SourcesState | None,
    fingerprint: str,
    *,
    now: float,
    is_imported: bool,
    is_import_running: bool,
    runs: Sequence[Run],
) -> ImportDecision:
    """Decide whether to launch an import for one author.

    Args:
        previous_state: the stored state, or None if these sources were never checked.
        fingerprint: the fingerprint of the current sources.
        now: seconds since the epoch.
        is_imported: whether an import that the sensor did not request has read the current state.
        is_import_running: whether an import of this author is queued or running.
        runs: the runs of `previous_state`, newest first.
    """
    if is_import_running:
        message = "an import is running; the sources are checked again when it ends"
        return ImportDecision(previous_state, False, message)
    # Another code location may have started the run, with a key from its own cursor.
    if is_imported and (
        previous_state is None
        or fingerprint != previous_state.mark
        or not (previous_state.settled or runs)
    ):
        change_number = 0 if previous_state is None else previous_state.number
        imported_state = SourcesState(change_number, fingerprint, 0, True, now)
        return ImportDecision(imported_state, False, "nothing has changed since the import")
    if previous_state is None:
        return ImportDecision(SourcesState(1, fingerprint, 1, False, now), True, "first import")
    if fingerprint != previous_state.mark:
        return ImportDecision(
            SourcesState(previous_state.number + 1, fingerprint, 1, False, now), True, "changed"
        )
    if previous_state.settled:
        return ImportDecision(previous_state, False, "nothing new")
    step = decide_step(runs, now=now, attempt=previous_state.attempt, max_attempts=MAX_ATTEMPTS)
    if step == "launch":
        return ImportDecision(previous_state, True, "the run for this change never started")
    if step == "wait":
        return ImportDecision(
            previous_state, False, "the import's worker died; Dagster restarts it"
        )
    if step == "retry":
        retry_state = replace(previous_state, attempt=previous_state.attempt + 1, at=now)
        message = (
            f"the import failed or was canceled; attempt {retry_state.attempt} of {MAX_ATTEMPTS}"
        )
        return ImportDecision(retry_state, True, message)
    message = {"passed": "imported", "canceled": "the import was canceled"}.get(
        step,
        f"the import failed {previous_state.attempt} times; the next change starts another import",
    )
    return ImportDecision(replace(previous_state, settled=True), False, message)


def build_run_key(kind: str, author: str, epoch: int, state: SourcesState) -> str:
    """Return the run key, such as `posts:ann:1764000000:3.1`: third change, first attempt.

    Changes are counted from the creation of the state. Resetting the cursor restarts the count, so
    `epoch` keeps the keys distinct.
    """
    return f"{kind}:{author}:{epoch}:{state.number}.{state.attempt}"
