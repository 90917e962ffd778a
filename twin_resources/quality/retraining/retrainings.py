"""Store retrainings. An author has at most one unfinished retraining, regardless of its cause.

Scope: adding a retraining, claiming its launch, its outcome, manual requests and forget requests.
Out of scope: deciding (`quality_tick.py`, `manual_triggers.py`), the outcome of runs
(`training_launches.py`), starting runs (`twin_sensors`).

A retraining is added in the transaction of its decision. Its run is *offered* to the daemon, and
offered again if no run appears because the daemon was killed between decision and launch. Each
change of a row is a compare-and-set, so only one of two daemons offers a run. The other daemon
waits `OFFER_GRACE_S` and then looks for the run.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import sqlalchemy as sa

from twin_resources.idempotent_launch import RunLaunch
from twin_resources.quality.retraining.run_records import ATTEMPT_TAG, KEY_TAG
from twin_resources.statistics.retraining import MAX_ATTEMPTS, TrainingFingerprint
from twin_resources.statistics.retraining_limits import PRIORITY, Cause
from twin_resources.storage.state.state_tables import loop_requests, moves, retrainings

CLOCK_TOLERANCE_S = 120.0
OFFER_GRACE_S = 60.0  # a daemon creates an offered run within two seconds
Outcome = Literal["", "passed", "refused", "failed", "canceled", "gone"]


@dataclass(frozen=True)
class Retraining:
    """One decided retraining.

    Attributes:
        run_key: the key of the first attempt.
        tags: the evidence.
        attempt: 1, 2 or 3.
        offered_at: the time of this attempt's last offer, or None if its run was never offered.
        run_id: the id of this attempt's run, once it is known.
        outcome: empty while unfinished.
        fingerprint: the inputs known at the decision or, after the end, the inputs that the run
            used.
    """

    number: int
    run_key: str
    author: str
    cause: Cause
    tags: Mapping[str, str]
    decided_at: float
    attempt: int
    offered_at: float | None
    run_id: str
    outcome: Outcome
    fingerprint: TrainingFingerprint

    @property
    def launch(self) -> RunLaunch:
        """The run of this attempt."""
        key = self.run_key if self.attempt == 1 else f"{self.run_key}:attempt {self.attempt}"
        tags = {
            **self.tags,
            "twin/cause": self.cause,
            "twin/author": self.author,
            "twin/dataset": self.fingerprint.dataset,
            "twin/recipe": self.fingerprint.recipe,
            KEY_TAG: self.run_key,
            ATTEMPT_TAG: str(self.attempt),
            "dagster/priority": str(PRIORITY[self.cause]),
        }
        return RunLaunch(self.author, key, tags)


@dataclass(frozen=True)
class RetrainingRequest:
    """A request for a retraining, open while `run_key` is empty."""

    number: int
    author: str
    cause: Cause
    asked_by: str
    reason: str
    asked_at: float
    run_key: str


def add_retraining(
    connection: sa.Connection,
    *,
    run_key: str,
    author: str,
    cause: Cause,
    tags: Mapping[str, str],
    fingerprint: TrainingFingerprint,
    now: float,
) -> bool:
    """Add a retraining. Return False if the author has an unfinished one or the key exists."""
    conflict_query = sa.select(retrainings.c.number).where(
        (retrainings.c.run_key == run_key)
        | ((retrainings.c.author == author) & (retrainings.c.outcome == ""))
    )
    if connection.execute(conflict_query).first() is not None:
        return False
    connection.execute(
        sa.insert(retrainings).values(
            run_key=run_key,
            author=author,
            cause=cause,
            tags=dict(tags),
            decided_at=now,
            attempt=1,
            offered_at=None,
            run_id="",
            outcome="",
            dataset=fingerprint.dataset,
            recipe=fingerprint.recipe,
        )
    )
    return True


def unfinished_retrainings(connection: sa.Connection) -> list[Retraining]:
    """Return the retrainings without an outcome, oldest first."""
    statement = sa.select(retrainings).where(retrainings.c.outcome == "")
    rows = connection.execute(statement.order_by(retrainings.c.number)).mappings()
    return [_retraining_from_row(dict(row)) for row in rows]


def claim_launch(connection: sa.Connection, retraining: Retraining, *, now: float) -> bool:
    """Claim the launch of this attempt's run.

    Returns:
        False if the run was offered within `OFFER_GRACE_S` or another tick claimed it first.
    """
    waited_s = None if retraining.offered_at is None else now - retraining.offered_at
    if waited_s is not None and 0 <= waited_s < OFFER_GRACE_S:
        return False
    is_claimed = update_if_unchanged(connection, retraining, offered_at=now)
    # If the clock was set back, the offer has a future time, and the wait restarts now.
    return is_claimed and (waited_s is None or waited_s >= 0)


def update_if_unchanged(connection: sa.Connection, retraining: Retraining, **changes: Any) -> bool:
    """Store changed columns by compare-and-set.

    Args:
        changes: column → new value.

    Returns:
        False, storing nothing, if another tick changed the row after it was read.
    """
    expected_values = {
        "number": retraining.number,
        "attempt": retraining.attempt,
        "offered_at": retraining.offered_at,
        "run_id": retraining.run_id,
        "outcome": "",
    }
    conditions = (retrainings.c[name] == value for name, value in expected_values.items())
    result = connection.execute(sa.update(retrainings).where(*conditions).values(**changes))
    return result.rowcount == 1


def count_unreleased_trainings(connection: sa.Connection, author: str) -> tuple[int, float]:
    """Count an author's alarm-triggered trainings since a trained version was last promoted.

    A candidate on trial counts until it answers, so no alarm starts a second candidate before then.

    Returns:
        The number of trainings without a release, and the end time of the newest, or 0.
    """
    promoted_query = sa.select(moves.c.version).where(
        moves.c.author == author, moves.c.to_state == "stable"
    )
    promoted_versions = {int(version) for version in connection.execute(promoted_query).scalars()}
    rows = connection.execute(
        sa.select(retrainings.c.cause, retrainings.c.made, retrainings.c.ended_at)
        .where(
            retrainings.c.author == author,
            retrainings.c.outcome.in_(("passed", "refused", "failed")),
        )
        .order_by(retrainings.c.number.desc())
    )
    count, newest_end = 0, 0.0
    for cause, version, ended_at in rows:
        if version in promoted_versions:
            break
        if cause == "quality":
            newest_end = newest_end or float(ended_at or 0.0)
            count += 1
    return count, newest_end


def clamp_future_end_times(connection: sa.Connection, *, now: float) -> None:
    """Set end times in the future to `now`: they were recorded while the clock was wrong."""
    is_in_future = retrainings.c.ended_at > now + CLOCK_TOLERANCE_S
    connection.execute(sa.update(retrainings).where(is_in_future).values(ended_at=now))


def describe_earlier_training(
    connection: sa.Connection, author: str, fingerprint: TrainingFingerprint
) -> str:
    """Describe the newest retraining on this dataset and recipe that reached the gate.

    A retraining that failed `MAX_ATTEMPTS` times counts too. The version's folder need not exist.
    Return an empty string if there is no such retraining.
    """
    has_reached_gate = retrainings.c.outcome.in_(("passed", "refused"))
    has_failed = (retrainings.c.outcome == "failed") & (retrainings.c.attempt >= MAX_ATTEMPTS)
    row = connection.execute(
        sa.select(retrainings.c.run_key, retrainings.c.outcome)
        .where(
            retrainings.c.author == author,
            has_reached_gate | has_failed,
            retrainings.c.dataset == fingerprint.dataset,
            retrainings.c.recipe == fingerprint.recipe,
        )
        .order_by(retrainings.c.number.desc())
    ).first()
    if row is None:
        return ""
    if row.outcome == "failed":
        return f"{row.run_key} failed {MAX_ATTEMPTS} times with it"
    return f"a version of {row.run_key}, now deleted, was trained on it"


def request_retraining(
    connection: sa.Connection,
    *,
    author: str,
    cause: Literal["by_hand", "forget", "quality"],
    asked_by: str,
    reason: str,
    now: float,
) -> int:
    """Request a retraining, which starts when the author has none in flight.

    Args:
        reason: the reason, which is stored and becomes a tag of the run.

    Returns:
        The number of the request.
    """
    values = {"author": author, "cause": cause, "asked_by": asked_by, "reason": reason}
    return connection.execute(
        sa.insert(loop_requests)
        .values(**values, asked_at=now, run_key="")
        .returning(loop_requests.c.number)
    ).scalar_one()


def open_requests(connection: sa.Connection) -> dict[str, list[RetrainingRequest]]:
    """Return author → requests without a retraining, oldest first."""
    rows = connection.execute(
        sa.select(*(loop_requests.c[column.name] for column in fields(RetrainingRequest)))
        .where(loop_requests.c.run_key == "", loop_requests.c.after_sequence.is_(None))
        .order_by(loop_requests.c.number)
    ).mappings()
    requests_by_author: dict[str, list[RetrainingRequest]] = {}
    for row in rows:
        requests_by_author.setdefault(row["author"], []).append(RetrainingRequest(**row))
    return requests_by_author


def mark_fulfilled(
    connection: sa.Connection, requests: Sequence[RetrainingRequest], run_key: str
) -> None:
    """Record that one retraining fulfills these requests."""
    numbers = [request.number for request in requests]
    connection.execute(
        sa.update(loop_requests).where(loop_requests.c.number.in_(numbers)).values(run_key=run_key)
    )


def _retraining_from_row(row: Mapping[str, Any]) -> Retraining:
    values = {name: value for name, value in row.items() if name not in ("ended_at", "made")}
    fingerprint = TrainingFingerprint(values.pop("dataset"), values.pop("recipe"))
    return Retraining(**values, fingerprint=fingerprint)
