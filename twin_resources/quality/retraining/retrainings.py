"""Decided retrainings as rows: at most one of an author is unfinished, whatever its cause.

Scope: entering one, claiming its launch, what became of it, requests by a person or a
forgetting. Out of scope: deciding (`quality.py`, `manual_triggers.py`), what its runs
amount to (`launching.py`), starting them (`twin_sensors`).

A retraining is entered in the transaction of its decision. Its run is *offered* to the daemon, and
offered again when no run came of it: the daemon was killed between decision and launch. Each change
of a row is a compare-and-set, so that of two daemons one offers; the other waits `GRACE_S` and then
looks for the run.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from twin_resources.idempotent_launch import RunLaunch
from twin_resources.quality.retraining.run_records import ATTEMPT_TAG, KEY_TAG
from twin_resources.statistics.retraining import ATTEMPTS, TrainingFingerprint
from twin_resources.statistics.retraining_limits import PRIORITY, Cause
from twin_resources.storage.state.state_tables import moves, retraining_requests, retrainings

CLOCK_TOLERANCE_S = 120.0
GRACE_S = 60.0  # a daemon creates the run of an offer within a second or two
Outcome = Literal["", "passed", "refused", "failed", "canceled", "gone"]


@dataclass(frozen=True)
class Retraining:
    """One decided retraining.

    Attributes:
        run_key: of its first attempt.
        tags: evidence.
        attempt: 1, 2, 3.
        offered_at: when the run of this attempt was offered last; None: never.
        run_id: of this attempt's run, once it was seen.
        outcome: empty while it is unfinished.
        learnt: what it uses, as known when it was decided; what it used, once it has ended.
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
    learnt: TrainingFingerprint

    @property
    def launch(self) -> RunLaunch:
        """The run of this attempt."""
        key = self.run_key if self.attempt == 1 else f"{self.run_key}:attempt {self.attempt}"
        tags = {
            **self.tags,
            "twin/cause": self.cause,
            "twin/author": self.author,
            "twin/dataset": self.learnt.dataset,
            "twin/recipe": self.learnt.recipe,
            KEY_TAG: self.run_key,
            ATTEMPT_TAG: str(self.attempt),
            "dagster/priority": str(PRIORITY[self.cause]),
        }
        return RunLaunch(self.author, key, tags)


@dataclass(frozen=True)
class RetrainingRequest:
    """Somebody asked for a retraining; open while `run_key` is empty."""

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
    learnt: TrainingFingerprint,
    at: float,
) -> bool:
    """Enter a retraining; False: one of this author is unfinished, or this one was entered."""
    known = sa.select(retrainings.c.number).where(
        (retrainings.c.run_key == run_key)
        | ((retrainings.c.author == author) & (retrainings.c.outcome == ""))
    )
    if connection.execute(known).first() is not None:
        return False
    connection.execute(
        sa.insert(retrainings).values(
            run_key=run_key,
            author=author,
            cause=cause,
            tags=dict(tags),
            decided_at=at,
            attempt=1,
            offered_at=None,
            run_id="",
            outcome="",
            dataset=learnt.dataset,
            recipe=learnt.recipe,
        )
    )
    return True


def unfinished(connection: sa.Connection) -> list[Retraining]:
    """Retrainings without an outcome, oldest first."""
    statement = sa.select(retrainings).where(retrainings.c.outcome == "")
    rows = connection.execute(statement.order_by(retrainings.c.number)).mappings()
    return [_retraining_of(dict(row)) for row in rows]


def offer(connection: sa.Connection, one: Retraining, *, at: float) -> bool:
    """Claim the launch of this attempt's run; False: it was offered within `GRACE_S`, or another
    tick was first."""
    waited = None if one.offered_at is None else at - one.offered_at
    if waited is not None and 0 <= waited < GRACE_S:
        return False
    claimed = advance(connection, one, offered_at=at)
    # A clock that was set back: the offer seems to lie ahead. Its time starts again, from now.
    return claimed and (waited is None or waited >= 0)


def advance(connection: sa.Connection, one: Retraining, **changed: Any) -> bool:
    """Compare-and-set: store what has changed; False: another tick has changed the row since it
    was read, and nothing is stored.

    Args:
        changed: by column.
    """
    as_read = {
        "number": one.number,
        "attempt": one.attempt,
        "offered_at": one.offered_at,
        "run_id": one.run_id,
        "outcome": "",
    }
    same = (retrainings.c[name] == value for name, value in as_read.items())
    done = connection.execute(sa.update(retrainings).where(*same).values(**changed))
    return done.rowcount == 1


def in_vain(connection: sa.Connection, author: str) -> tuple[int, float]:
    """How many trainings by alarm have led to no release since the last promotion of a trained
    version, and when the newest ended (0: there is none).

    A candidate that is on trial counts until it answers: an alarm does not start another beside it.
    """
    answered = sa.select(moves.c.version).where(
        moves.c.author == author, moves.c.to_state == "stable"
    )
    promoted = {int(version) for version in connection.execute(answered).scalars()}
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
        # Releases before did not note what a passed training made.
        if made in promoted or (outcome == "passed" and made is None):
            break
        if cause == "quality":
            newest = newest or float(ended_at or 0.0)
            count += 1
    return count, newest


def mend_times(connection: sa.Connection, *, now: float) -> None:
    """What seems to have ended ahead of `now` was noted while the clock was wrong: it ends now."""
    ahead = retrainings.c.ended_at > now + CLOCK_TOLERANCE_S
    connection.execute(sa.update(retrainings).where(ahead).values(ended_at=now))


def trained_on(connection: sa.Connection, author: str, learnt: TrainingFingerprint) -> str:
    """The newest retraining that used this dataset and recipe and reached the gate, or failed
    `ATTEMPTS` times, in words; empty: there is none. It is known also where its version's folder is
    gone."""
    reached = retrainings.c.outcome.in_(("passed", "refused"))
    failed = (retrainings.c.outcome == "failed") & (retrainings.c.attempt >= ATTEMPTS)
    newest = connection.execute(
        sa.select(retrainings.c.run_key, retrainings.c.outcome)
        .where(
            retrainings.c.author == author,
            reached | failed,
            retrainings.c.dataset == learnt.dataset,
            retrainings.c.recipe == learnt.recipe,
        )
        .order_by(retrainings.c.number.desc())
    ).first()
    if newest is None:
        return ""
    if newest.outcome == "failed":
        return f"{newest.run_key} failed {ATTEMPTS} times with it"
    return f"a version that is gone, of {newest.run_key}, was trained on it"


def ask(
    connection: sa.Connection,
    *,
    author: str,
    cause: Literal["by_hand", "forget"],
    asked_by: str,
    reason: str,
    at: float,
) -> int:
    """Ask for a retraining; it is started when none of the author is in flight.

    Args:
        reason: kept, and a tag of the run.

    Returns:
        The number of the request.
    """
    values = {"author": author, "cause": cause, "asked_by": asked_by, "reason": reason}
    return connection.execute(
        sa.insert(retraining_requests)
        .values(**values, asked_at=at, run_key="")
        .returning(retraining_requests.c.number)
    ).scalar_one()


def open_requests(connection: sa.Connection) -> dict[str, list[RetrainingRequest]]:
    """Author → requests that no retraining has answered yet, oldest first."""
    rows = connection.execute(
        sa.select(retraining_requests)
        .where(retraining_requests.c.run_key == "")
        .order_by(retraining_requests.c.number)
    ).mappings()
    requests: dict[str, list[RetrainingRequest]] = {}
    for row in rows:
        requests.setdefault(row["author"], []).append(RetrainingRequest(**row))
    return requests


def answer(connection: sa.Connection, requests: Sequence[RetrainingRequest], run_key: str) -> None:
    """These requests are met by one retraining."""
    numbers = [request.number for request in requests]
    connection.execute(
        sa.update(retraining_requests)
        .where(retraining_requests.c.number.in_(numbers))
        .values(run_key=run_key)
    )


def _retraining_of(row: Mapping[str, Any]) -> Retraining:
    values = {name: value for name, value in row.items() if name not in ("ended_at", "made")}
    learnt = TrainingFingerprint(values.pop("dataset"), values.pop("recipe"))
    return Retraining(**values, learnt=learnt)
