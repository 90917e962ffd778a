"""Any streams, from a Parquet file, through the production path.

Belongs here: reading the file, and the lines about each stream. Does not belong here: the fold
(`streams.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from tests.bench.retraining.streams import DecidedAlarm, Followed, followed
from twin_resources.quality.ledger.scores import JUDGE
from twin_resources.statistics.values import SettledValue

COLUMNS = ("stream", "author", "version", "class", "reader", "day", "value", "kind")
FOLDED = ("vote", "judge")


def told(file: Path) -> list[str]:
    """A line a stream and a line an alarm; all streams of the file are one home, whose alpha and
    delta they share.

    Raises:
        ColumnNotFoundError: one of `COLUMNS` is not there.
    """
    rows = pl.read_parquet(file).select(COLUMNS)
    streams = list(_streams(rows.filter(pl.col("kind").is_in(FOLDED))))
    lines = [line for ledger in streams for line in _lines(ledger, fleet=len(streams))]
    left_out = rows.filter(~pl.col("kind").is_in(FOLDED))
    counted = left_out.group_by("kind").len().sort("kind").rows()
    return lines + [f"left out: {count:,} values of kind {kind}" for kind, count in counted]


def _streams(rows: pl.DataFrame) -> Iterator[list[SettledValue]]:
    key = ["author", "stream", "version", "kind"]
    for (author, stream, version, kind), part in rows.group_by(key, maintain_order=True):
        prefix = JUDGE if kind == "judge" and not str(stream).startswith(JUDGE) else ""
        yield [
            SettledValue(
                number,
                str(author),
                f"{prefix}{stream}",
                str(version),
                row["class"],
                row["value"],
                row["day"],
                row["reader"] or "",
            )
            for number, row in enumerate(part.iter_rows(named=True), start=1)
        ]


def _lines(ledger: list[SettledValue], *, fleet: int) -> Iterator[str]:
    done = followed(ledger, fleet=fleet)
    yield f"{_name(ledger[0])}: {len(ledger):,} values, {_held(done)}, {len(done.alarms)} alarms"
    for one in done.alarms:
        yield f"  {_alarm(one, ledger)}"


def _name(one: SettledValue) -> str:
    return f"{one.author} {one.stream} {one.version}"


def _held(done: Followed) -> str:
    held = done.watch.baseline
    if held is None or not held.bounds:
        return "not armed"
    bounds = ", ".join(f"{name} {bound:.3f}" for name, bound in held.bounds.items())
    bets = "each value a bet" if held.blocks is None else f"{held.blocks} bets a class and day"
    return f"held to {bounds} from {held.certified_from:,} values, {bets}"


def _alarm(one: DecidedAlarm, ledger: list[SettledValue]) -> str:
    alarm = one.alarm
    falls = ", ".join(
        f"{fall.prompt_class} {fall.mean:.2f} < {fall.baseline:.2f} ({fall.values})"
        for fall in one.falls
    )
    cause = one.decision.tags.get("twin/decided_by", "")
    return (
        f"alarm {alarm.number} at value {alarm.sequence:,}, day {ledger[alarm.sequence - 1].day}: "
        f"{falls or 'no class'}; {one.decision.kind}{f' ({cause})' if cause else ''}"
    )
