"""Kept answers, which a judge that may move scores anew each day; setting it aside once it has.

A judge whose scores follow from its revision (`topic`, `voice`, `support`) needs none: what could
change a score changes its revision, and that is another stream with a baseline of its own. A
language model's name stays the same whatever answers behind it.

Belongs here: which answers are kept and for how long, their new scores, what follows from them.
Does not belong here: scoring (`twin_assets/feedback/kept_judging.py`), the test
(`statistics/judge_drift.py`).

Answers are kept by reference for at most `KEPT_DAYS`, all of it within the ledger's 90 days; a
quarter of them goes at a time, so that most of those that are there were there before a move. Their
scores never enter the judge's stream: old answers that are judged today would be values of today
there. What outlives an answer are sums of a day, which name none.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from twin_resources.observability.notifications import Notice, announce
from twin_resources.quality.ledger.ledger_tables import upsert
from twin_resources.quality.ledger.scores import JUDGE
from twin_resources.quality.retraining import score_watch
from twin_resources.statistics import judge_drift
from twin_resources.statistics.judge_drift import FIRST_SCORES, JudgeMove, KeptDay
from twin_resources.storage.state.state_tables import (
    kept_answers,
    kept_days,
    kept_scores,
    lowered_floors,
)

QUARTERS = 4
QUARTER_DAYS = 18  # between two renewals
KEPT_DAYS = QUARTERS * QUARTER_DAYS
YOUNG_DAYS = 14  # an answer is no older when it is drawn: 86 days when it goes, of 90
ASKED_BY = "judged_interactions"
TOLD_DAYS = 30  # `twin status` says that a judge was set aside
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def day_text(day: int) -> str:
    """Days since the epoch as a date."""
    return f"{_EPOCH + timedelta(days=day):%Y-%m-%d}"


def judged_on(connection: sa.Connection, author: str, judge: str, day: int) -> bool:
    """Whether a judge has scored its kept answers on this day."""
    mine = _of(kept_scores, author, judge)
    query = sa.select(kept_scores.c.trace_id).where(*mine, kept_scores.c.day == day).limit(1)
    return connection.execute(query).first() is not None


def renew(
    connection: sa.Connection,
    author: str,
    judge: str,
    *,
    drawn: Sequence[str],
    there: Collection[str],
    most: int,
    today: int,
) -> list[str]:
    """The answers that are kept from today on.

    Those whose texts are gone go; of the others those that were kept longest, where fewer than a
    quarter are of the last `QUARTER_DAYS` days; then new ones are taken up to `most`.

    Args:
        judge: its identity.
        drawn: trace ids that may be kept, in an order that favours none.
        there: trace ids whose texts are there.
        most: to keep; what is more is let go, the longest kept first.
        today: days since the epoch, UTC.

    Returns:
        Trace ids, longest kept first.
    """
    rows = connection.execute(
        sa.select(kept_answers.c.trace_id, kept_answers.c.kept_since)
        .where(*_of(kept_answers, author, judge))
        .order_by(kept_answers.c.kept_since, kept_answers.c.trace_id)
    ).all()
    since = {str(row.trace_id): int(row.kept_since) for row in rows if row.trace_id in there}
    held = list(since)
    fresh = [one for one in drawn if one in there and one not in since]
    recent = sum(of > today - QUARTER_DAYS for of in since.values())
    spare = len(fresh) - max(0, most - len(held))  # none goes early for whom there is no other
    held = held[max(0, min(-(-most // QUARTERS) - recent, spare)) :]
    held = held[max(0, len(held) - most) :]
    # of one day in the order that the next day finds them in: less money scores the same ones
    kept = [*held, *sorted(fresh[: most - len(held)])]
    known = {str(row.trace_id) for row in rows}
    for table in (kept_answers, kept_scores):
        gone = _of(table, author, judge)
        for trace_id in known - set(kept):
            connection.execute(sa.delete(table).where(*gone, table.c.trace_id == trace_id))
    added = [
        {"author": author, "judge": judge, "trace_id": one, "kept_since": today}
        for one in kept
        if one not in since
    ]
    if added:
        connection.execute(sa.insert(kept_answers), added)
    return kept


def store(
    connection: sa.Connection,
    author: str,
    judge: str,
    scores: Mapping[str, float],
    *,
    today: int,
    at: float,
) -> JudgeMove:
    """What a judge gave its kept answers today; one that has moved is set aside with it.

    Args:
        scores: trace id → score in [0, 1].
        at: seconds since the epoch, for the notice.

    Returns:
        Where its detector stands with this day.
    """
    key = {"author": author, "judge": judge}
    kept = connection.execute(
        sa.select(kept_answers.c.trace_id).where(*_of(kept_answers, author, judge))
    ).scalars()
    known = set(kept)  # without what was forgotten while the judge was asked
    scores = {one: of for one, of in scores.items() if one in known}
    rows = [{**key, "trace_id": one, "day": today, "score": of} for one, of in scores.items()]
    upsert(connection, kept_scores, rows)
    first = _first_scores(connection, author, judge, before=today)
    differences = [of - first[one] for one, of in scores.items() if one in first]
    if differences:
        day = judge_drift.kept_day(today, differences)
        upsert(connection, kept_days, [{**key, **vars(day), "logs": list(day.logs)}])
    move = move_of(connection, author, judge)
    if move.has_moved:
        _set_aside(connection, author, judge, move, today=today, at=at)
    return move


def begin_anew(connection: sa.Connection, author: str, judge: str) -> None:
    """Let a judge's answers go, with all that it gave them: its scores are others now."""
    for table in (kept_answers, kept_scores, kept_days):
        connection.execute(sa.delete(table).where(*_of(table, author, judge)))


def leave_others(connection: sa.Connection, author: str, judges: Collection[str]) -> None:
    """Let the answers of judges go that judge this author no more.

    Args:
        judges: identities of those that still keep answers.
    """
    held = sa.select(kept_answers.c.judge).where(kept_answers.c.author == author).distinct()
    for judge in set(connection.execute(held).scalars()) - set(judges):
        begin_anew(connection, author, str(judge))


def move_of(connection: sa.Connection, author: str, judge: str) -> JudgeMove:
    """Where the detector of a judge stands."""
    rows = connection.execute(
        sa.select(kept_days).where(*_of(kept_days, author, judge)).order_by(kept_days.c.day)
    ).mappings()
    return judge_drift.judge_move([_day(dict(row)) for row in rows])


def lines_of(connection: sa.Connection, author: str, *, now: float) -> list[str]:
    """What `twin status` says of an author's judges that keep answers, and of those that were set
    aside lately; of each judge a line.

    Args:
        now: seconds since the epoch.
    """
    counts = connection.execute(
        sa.select(kept_answers.c.judge, sa.func.count())
        .where(kept_answers.c.author == author)
        .group_by(kept_answers.c.judge)
        .order_by(kept_answers.c.judge)
    ).all()
    lines: list[str] = []
    for judge, count in counts:
        move = move_of(connection, author, str(judge))
        known = f"waits for {FIRST_SCORES} scores of each"
        if move.scores:
            known = f"it gives {move.words} than at first"
        evidence = f"evidence that it has moved {move.e_value:.2g} of {move.threshold:,.0f}"
        lines.append(f"judge {judge}: {count} answers judged anew each day, {known}; {evidence}")
    rows = connection.execute(
        sa.select(lowered_floors)
        .where(
            lowered_floors.c.author == author,
            lowered_floors.c.asked_by == ASKED_BY,
            lowered_floors.c.asked_at > now - TOLD_DAYS * 86_400.0,
        )
        .order_by(lowered_floors.c.number)
    ).mappings()
    aside = {str(row["stream"]): row for row in rows}
    for stream, row in sorted(aside.items()):
        on = f"{datetime.fromtimestamp(row['asked_at'], UTC):%Y-%m-%d}"
        lines.append(f"judge {stream.removeprefix(JUDGE)}: set aside on {on}, {row['reason']}")
    return lines


def _first_scores(
    connection: sa.Connection, author: str, judge: str, *, before: int
) -> dict[str, float]:
    """Trace id → mean of its first `FIRST_SCORES` scores, of those that have so many."""
    rows = connection.execute(
        sa.select(kept_scores.c.trace_id, kept_scores.c.score)
        .where(*_of(kept_scores, author, judge), kept_scores.c.day < before)
        .order_by(kept_scores.c.day)
    ).all()
    given: dict[str, list[float]] = {}
    for trace_id, score in rows:
        given.setdefault(str(trace_id), []).append(float(score))
    return {
        trace_id: sum(of[:FIRST_SCORES]) / FIRST_SCORES
        for trace_id, of in given.items()
        if len(of) >= FIRST_SCORES
    }


def _set_aside(
    connection: sa.Connection,
    author: str,
    judge: str,
    move: JudgeMove,
    *,
    today: int,
    at: float,
) -> None:
    """Its stream's values are history and its alarms closed; its answers are kept anew."""
    stream = f"{JUDGE}{judge}"
    since = day_text(today if move.since is None else move.since)
    reason = f"it gives the same answers {move.words} since {since} than at first"
    score_watch.lower_floor(
        connection, author, asked_by=ASKED_BY, reason=reason, at=at, stream=stream
    )
    begin_anew(connection, author, judge)
    announce(
        connection,
        Notice(
            f"judge_moved:{author}:{judge}:{today}",
            "judge_changed",
            author,
            f"The judge {judge} of {author} has moved",
            f"{reason[0].upper()}{reason[1:]}. It is set aside: its stream is certified anew from "
            "the next value on, alarms on its own scores are closed, and nothing is trained. What "
            "fell while it moved is not seen by it.",
        ),
        at=at,
    )


def _of(table: sa.Table, author: str, judge: str) -> tuple[sa.ColumnElement[bool], ...]:
    return table.c.author == author, table.c.judge == judge


def _day(row: Mapping[str, Any]) -> KeptDay:
    return KeptDay(row["day"], row["count"], row["total"], row["squares"], tuple(row["logs"]))
