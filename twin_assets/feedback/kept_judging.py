"""Kept answers are judged anew: the first run of a day, by each judge that may move.

Belongs here: drawing answers to keep from those that were judged, scoring them, what is said of it.
Does not belong here: which are kept and what follows from their scores
(`quality/retraining/judge_reference_set.py`), today's own answers (`judging_traces.py`).

It comes after today's answers were judged and stored, and costs what they leave of the judges'
share of the account: a paid judge with less than all of it scores fewer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from twin_assets.feedback import judging_traces
from twin_resources.access.spending_limits import OverLimit
from twin_resources.quality.judges.judge import Judge, digest, identity
from twin_resources.quality.judges.panel import Panel
from twin_resources.quality.ledger.ledger_tables import open_tables
from twin_resources.quality.ledger.scores import DAY_MS
from twin_resources.quality.retraining import judge_reference_set
from twin_resources.quality.retraining.judge_reference_set import YOUNG_DAYS
from twin_resources.registry.registry import Registry


@dataclass(frozen=True)
class RecordedAnswers:
    """An author's recorded answers, and by whom they were judged.

    Attributes:
        judged: rows of the table `judged_interactions`.
        passages: chunk id → text.
    """

    interactions: pl.DataFrame
    judged: pl.DataFrame
    passages: Mapping[str, str]

    @cached_property
    def usable(self) -> pl.DataFrame:
        """Those that can be judged."""
        return judging_traces.usable(self.interactions)

    def drawn(self, judge: Judge, *, version: str, today: int) -> list[str]:
        """Trace ids that may be kept: answers of a version of the last `YOUNG_DAYS` days that this
        judge has scored, in an order that follows from their ids alone.

        Args:
            today: days since the epoch, UTC.
        """
        name = judging_traces.score_name(judge)
        by_it = self.judged.filter(pl.col("judges").str.split(",").list.contains(name))
        rows = self.usable.filter(
            pl.col("started_at").dt.epoch("d") > today - YOUNG_DAYS,
            pl.col("version") == version,
            pl.col("trace_id").is_in(by_it["trace_id"].to_list()),
        )
        return sorted(rows["trace_id"].to_list(), key=lambda one: digest("kept", one))


def judge_anew(
    registry: Registry, author: str, panel: Panel, recorded: RecordedAnswers, *, most: int
) -> list[str]:
    """Have each certified judge that may move score its kept answers, once a day (UTC).

    Args:
        most: answers that a judge keeps; 0: none.

    Returns:
        A line a judge: how many it scored, and what that says; none for one that has scored today.

    Raises:
        TwinError: a judge's model does not answer.
    """
    judges = [one.judge for one in panel.members if most and one.certified and one.may_move]
    if judges:
        open_tables(registry.state)  # what a judge that moved has said becomes history there
    with registry.state.transaction() as connection:
        judge_reference_set.leave_others(connection, author, [identity(one) for one in judges])
    lines = [_anew(registry, author, panel, judge, recorded, most) for judge in judges]
    return [line for line in lines if line]


def _anew(
    registry: Registry,
    author: str,
    panel: Panel,
    judge: Judge,
    recorded: RecordedAnswers,
    most: int,
) -> str:
    name, stable = identity(judge), registry.stable(author)
    with registry.state.transaction() as connection:
        today = int(registry.state.now(connection) * 1_000) // DAY_MS
        if stable is None or judge_reference_set.judged_on(connection, author, name, today):
            return ""
        kept = judge_reference_set.renew(
            connection,
            author,
            name,
            drawn=recorded.drawn(judge, version=f"v{stable.version}", today=today),
            there=set(recorded.usable["trace_id"]),
            most=most,
            today=today,
        )
    if not kept:
        return ""
    place = {trace_id: number for number, trace_id in enumerate(kept)}
    rows = recorded.usable.filter(pl.col("trace_id").is_in(kept))
    rows = rows.sort(pl.col("trace_id").replace_strict(place, return_dtype=pl.Int64))
    usd, left = panel.judges_cost(judging_traces.answered(rows, recorded.passages))
    if left is not None and usd > left:  # the longest kept, which have first scores
        rows = rows.head(int(rows.height * left / usd))
    if rows.is_empty():
        return f"{name}: none of {len(kept)} kept answers judged anew"
    try:
        scores = judge.score_all(judging_traces.answered(rows, recorded.passages))
    except OverLimit as error:  # another process took the money meanwhile
        return f"{name}: none of {len(kept)} kept answers judged anew: {error.found}"
    with registry.state.transaction() as connection:
        move = judge_reference_set.store(
            connection,
            author,
            name,
            dict(zip(rows["trace_id"].to_list(), scores, strict=True)),
            today=today,
            at=registry.state.now(connection),
        )
    what = "has moved and is set aside" if move.has_moved else "has not moved"
    said = f", which {what}: it gives {move.words} than at first" if move.scores else ""
    return f"{name}: {rows.height} of {len(kept)} kept answers judged anew{said}"
