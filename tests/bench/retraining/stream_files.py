"""Any streams, from a Parquet file, through the production path.

Belongs here: reading the file, and the lines about each stream. Does not belong here: the fold
(`streams.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from tests.bench.retraining.streams import followed
from twin_resources.quality.ledger.scores import JUDGE
from twin_resources.statistics.detector import StreamEvidence
from twin_resources.statistics.values import SettledValue

COLUMNS = ("stream", "author", "version", "class", "reader", "day", "value", "kind")
FOLDED = ("vote", "judge")


def told(file: Path) -> list[str]:
    """A line a stream and a line an alarm; all streams of the file are one home, which raises the
    threshold.

    Raises:
        ColumnNotFoundError: one of `COLUMNS` is not there.
    """
    rows = pl.read_parquet(file).select(COLUMNS)
    streams = _streams(rows.filter(pl.col("kind").is_in(FOLDED)))
    lines = [line for one in streams for line in _stream_lines(one, fleet=len(streams))]
    left_out = rows.filter(~pl.col("kind").is_in(FOLDED))
    counted = left_out.group_by("kind").len().sort("kind").rows()
    return lines + [f"left out: {count:,} values of kind {kind}" for kind, count in counted]


def _streams(rows: pl.DataFrame) -> list[list[SettledValue]]:
    """By author, version and stream; an author's values are numbered over all streams, a day's
    judged ones before its votes, as the ledger does it."""
    streams: dict[tuple[str, str, str], list[SettledValue]] = {}
    for (author,), of_author in rows.group_by(["author"], maintain_order=True):
        part = of_author
        if part["day"].null_count() == 0:
            part = part.sort("day", pl.col("kind") == "vote", maintain_order=True)
        for number, row in enumerate(part.iter_rows(named=True), start=1):
            name = str(row["stream"]).removeprefix(JUDGE)
            value = SettledValue(
                number,
                str(author),
                row["stream"] if row["kind"] == "vote" else f"{JUDGE}{name}",
                str(row["version"]),
                row["class"],
                row["value"],
                row["day"],
                row["reader"] or "",
            )
            streams.setdefault((value.author, value.version, value.stream), []).append(value)
    return list(streams.values())


def _stream_lines(ledger: Sequence[SettledValue], *, fleet: int) -> Iterator[str]:
    done, one = followed(ledger, fleet=fleet), ledger[0]
    held = ", ".join(f"{name} {bound:.3f}" for name, bound in done.evidence.held_to.items())
    yield (
        f"{one.author} {one.stream} {one.version}: {len(ledger):,} values, "
        f"{f'held to {held}' if held else 'not armed'}, {len(done.alarms)} alarms"
    )
    for number, alarm in enumerate(done.alarms, start=1):
        yield f"  alarm {number} {_alarm(alarm, ledger)}"


def _alarm(one: StreamEvidence, ledger: Sequence[SettledValue]) -> str:
    falls = ", ".join(
        f"{fall.prompt_class} {fall.mean:.2f} < {fall.baseline:.2f} ({fall.values})"
        for fall in one.falls
    )
    number = next(index for index, of in enumerate(ledger, 1) if of.sequence == one.last)
    return f"at value {number:,}, day {ledger[number - 1].day}: {falls or 'no class'}"
