"""Store retrainings: at most one per author is unfinished, regardless of its cause.

Scope: entering a retraining, claiming its launch, its outcome, requests by a person or a forget
request.
Out of scope: deciding (`quality.py`, `manual_triggers.py`), the outcome of runs (`launching.py`),
starting runs (`twin_sensors`).

A retraining is entered in the transaction of its decision. Its run is *offered* to the daemon, and
offered again if no run appears because the daemon was killed between decision and launch. Each
change of a row is a compare-and-set, so that only one of two daemons offers a run. The other waits
`OFFER_GRACE_S` and then looks for the run.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from twin_resources.idempotent_launch import RunLaunch
from twin_resources.quality.retraining.run_records import ATTEMPT_TAG, KEY_TAG
from twin_resources.statistics.retraining import MAX_ATTEMPTS, TrainingFingerprint
from twin_resources.statistics.retraining_limits import PRIORITY, Cause
from twin_resources.storage.state.state_tables import moves, retraining_requests, retrainings

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
        offered_at: when the run of this attempt was last offered, or None if never.
        run_id: the id of this attempt's run, once it is found.
        outcome: empty while unfinished.
        fingerprint: its inputs as known at the decision or, once it has ended, the inputs that it
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


def begin(
    connection: sa.Connection,
    *,
    run_key: str,
    author: str,
    cause: Cause,
    tags: Mapping[str, str],
    fingerprint: TrainingFingerprint,
    now: float,
) -> bool:
    """Enter a retraining; return False if the author has an unfinished one or it was entered."""
    conflicting = sa.select(retrainings.c.number).where(
        (retrainings.c.run_key == run_key)
        | ((retrainings.c.author == author) & (retrainings.c.outcome == ""))
    )
    if connection.execute(conflicting).first() is not None:
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

    Returns False if the run was offered within `OFFER_GRACE_S` or another tick claimed it first.
    """
    waited_s = None if retraining.offered_at is None else now - retraining.offered_at
    if waited_s is not None and 0 <= waited_s < OFFER_GRACE_S:
        return False
    claimed = update_if_unchanged(connection, retraining, offered_at=now)
    # If the clock was set back, the offer has a future time, and its wait starts again now.
    return claimed and (waited_s is None or waited_s >= 0)


def update_if_unchanged(connection: sa.Connection, retraining: Retraining, **changes: Any) -> bool:
    """Store changed columns by compare-and-set.

    Returns False, and stores nothing, if another tick has changed the row since it was read.

    Args:
        changes: column → new value.
    """
    expected = {
        "number": retraining.number,
        "attempt": retraining.attempt,
        "offered_at": retraining.offered_at,
        "run_id": retraining.run_id,
        "outcome": "",
    }
    is_unchanged = (retrainings.c[name] == value for name, value in expected.items())
    updated = connection.execute(sa.update(retrainings).where(*is_unchanged).values(**changes))
    return updated.rowcount == 1


def count_unreleased_trainings(connection: sa.Connection, author: str) -> tuple[int, float]:
    """Return how many training runs started by alarms have led to no release since the last
    promotion of a trained version, and when the newest of them ended (0 if there is none).

    A candidate on trial counts until it answers, so an alarm starts no second candidate meanwhile.
    """
    promoted_versions = sa.select(moves.c.version).where(
        moves.c.author == author, moves.c.to_state == "stable"
    )
    promoted = {int(version) for version in connection.execute(promoted_versions).scalars()}
    rows = connection.execute(
        sa.select(
            retrainings.c.cause, retrainings.c.outcome, retrainings.c.made, retrainings.c.ended_at
        )
        .where(
            retrainings.c.author == author,
            retrainings.c.outcome.in_(("passed", "refused", "failed")),
        )
        .order_by(retrainings.c.number.desc())
    )
    count, newest = 0, 0.0
    for cause, outcome, made, ended_at in rows:
        # Older releases did not record the version that a passed training made.
        if made in promoted or (outcome == "passed" and made is None):
            break
        if cause == "quality":
            newest = newest or float(ended_at or 0.0)
            count += 1
    return count, newest


def clamp_future_end_times(connection: sa.Connection, *, now: float) -> None:
    """Set future end times to `now`: they were recorded while the clock was wrong."""
    ahead = retrainings.c.ended_at > now + CLOCK_TOLERANCE_S
    connection.execute(sa.update(retrainings).where(ahead).values(ended_at=now))


def describe_earlier_training(
    connection: sa.Connection, author: str, fingerprint: TrainingFingerprint
) -> str:
    """Describe the newest retraining that used this dataset and recipe and reached the gate or
    failed `MAX_ATTEMPTS` times; empty if there is none. The version's folder need not exist."""
    reached = retrainings.c.outcome.in_(("passed", "refused"))
    failed = (retrainings.c.outcome == "failed") & (retrainings.c.attempt >= MAX_ATTEMPTS)
    newest = connection.execute(
        sa.select(retrainings.c.run_key, retrainings.c.outcome)
        .where(
            retrainings.c.author == author,
            reached | failed,
            retrainings.c.dataset == fingerprint.dataset,
            retrainings.c.recipe == fingerprint.recipe,
        )
        .order_by(retrainings.c.number.desc())
    ).first()
    if newest is None:
        return ""
    if newest.outcome == "failed":
        return f"{newest.run_key} failed {MAX_ATTEMPTS} times with it"
    return f"a version of {newest.run_key}, now deleted, was trained on it"


def request_retraining(
    connection: sa.Connection,
    *,
    author: str,
    cause: Literal["by_hand", "forget"],
    asked_by: str,
    reason: str,
    now: float,
) -> int:
    """Request a retraining, which starts when the author has none in flight.

    Args:
        reason: stored, and a tag of the run.

    Returns:
        The number of the request.
    """
    values = {"author": author, "cause": cause, "asked_by": asked_by, "reason": reason}
    return connection.execute(
        sa.insert(retraining_requests)
        .values(**values, asked_at=now, run_key="")
        .returning(retraining_requests.c.number)
    ).scalar_one()


def open_requests(connection: sa.Connection) -> dict[str, list[RetrainingRequest]]:
    """Return author → requests without a retraining, oldest first."""
    rows = connection.execute(
        sa.select(retraining_requests)
        .where(retraining_requests.c.run_key == "")
        .order_by(retraining_requests.c.number)
    ).mappings()
    requests: dict[str, list[RetrainingRequest]] = {}
    for row in rows:
        requests.setdefault(row["author"], []).append(RetrainingRequest(**row))
    return requests


def mark_fulfilled(
    connection: sa.Connection, requests: Sequence[RetrainingRequest], run_key: str
) -> None:
    """Record that one retraining fulfils these requests."""
    numbers = [request.number for request in requests]
    connection.execute(
        sa.update(retraining_requests)
        .where(retraining_requests.c.number.in_(numbers))
        .values(run_key=run_key)
    )


def _retraining_from_row(row: Mapping[str, Any]) -> Retraining:
    values = {name: value for name, value in row.items() if name not in ("ended_at", "made")}
    fingerprint = TrainingFingerprint(values.pop("dataset"), values.pop("recipe"))
    return Retraining(**values, fingerprint=fingerprint)
