"""Any streams, from a Parquet file, through the production path.

Belongs here: reading the file, and the lines about each stream. Does not belong here: the fold
(`streams.py`), what an alarm is about (`fall_causes.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import polars as pl

from tests.bench.retraining.streams import DecidedAlarm, Followed, followed
from twin_resources.errors import TwinError
from twin_resources.quality.ledger.scores import JUDGE
from twin_resources.quality.retraining.fall_causes import (
    DropStart,
    cause_of_alarm,
    may_be_asked,
)
from twin_resources.quality.retraining.fall_controls import BEFORE_DAYS
from twin_resources.statistics.baseline import TOLERANCE
from twin_resources.statistics.detector import Alarm
from twin_resources.statistics.diagnosis import fallen_classes, since_the_drop
from twin_resources.statistics.fall_estimates import FallCause, TwoTimes, cells_of
from twin_resources.statistics.values import SettledValue
from twin_resources.statistics.watch import Watch

COLUMNS = ("stream", "author", "version", "class", "reader", "day", "value", "kind")
CONTROL = "control"
FOLDED = ("vote", "judge")


@dataclass(frozen=True)
class VersionValues:
    """All that is known of the answers of one version.

    Attributes:
        streams: name → settled values, in the order of settling; a judge's as `judge:<name>`.
        judged_anew: judge → scores of recorded answers, as the judge is now; `day` is that of the
            answer.
    """

    streams: dict[str, list[SettledValue]] = field(default_factory=dict[str, list[SettledValue]])
    judged_anew: dict[str, list[SettledValue]] = field(
        default_factory=dict[str, list[SettledValue]]
    )

    def anew(self, first_day: int, today: int) -> dict[str, TwoTimes]:
        """What judges scored anew of before a drop, and since, until today."""
        found: dict[str, TwoTimes] = {}
        for judge, values in self.judged_anew.items():
            near = [
                one
                for one in values
                if one.day is not None and first_day - BEFORE_DAYS <= one.day <= today
            ]
            sides = [
                cells_of(one for one in near if (one.day or 0) < first_day),
                cells_of(one for one in near if (one.day or 0) >= first_day),
            ]
            found[judge] = (sides[0], sides[1])
        return found


def told(file: Path, *, sensitivities: Mapping[str, float] | None = None) -> list[str]:
    """A line a stream and a line an alarm; all streams of the file are one home, whose alpha and
    delta they share.

    Args:
        sensitivities: judge → D, by how much it is certified to score a good answer above a bad
            one. Judges without are not asked what an alarm is about.

    Raises:
        ColumnNotFoundError: one of `COLUMNS` is not there.
        TwinError: a control without a day, or a D outside (0, 1].
    """
    certified = dict(sensitivities or {})
    if bad := {name: value for name, value in certified.items() if not 0.0 < value <= 1.0}:
        raise TwinError(
            "ask judges what an alarm is about",
            found=f"the sensitivities {bad}",
            next_step="give what a certificate bounds, above 0 and at most 1",
        )
    rows = pl.read_parquet(file).select(COLUMNS)
    known = rows.filter(pl.col("kind").is_in((*FOLDED, CONTROL)))
    versions = _versions(known)
    fleet = sum(len(one.streams) for one in versions)
    lines = [line for one in versions for line in _version_lines(one, certified, fleet=fleet)]
    left_out = rows.filter(~pl.col("kind").is_in((*FOLDED, CONTROL)))
    counted = left_out.group_by("kind").len().sort("kind").rows()
    return lines + [f"left out: {count:,} values of kind {kind}" for kind, count in counted]


def _versions(rows: pl.DataFrame) -> list[VersionValues]:
    """By author and version; an author's values are numbered over all streams, a day's judged ones
    before its votes, as the ledger does it."""
    if not (
        without := rows.filter((pl.col("kind") == CONTROL) & pl.col("day").is_null())
    ).is_empty():
        raise TwinError(
            "read answers that were judged anew",
            found=f"{without.height:,} values of kind {CONTROL} without a day",
            next_step="give the day on which each of these answers was given",
        )
    versions: dict[tuple[str, str], VersionValues] = {}
    for (author,), of_author in rows.group_by(["author"], maintain_order=True):
        part = of_author
        if part["day"].null_count() == 0:
            part = part.sort("day", pl.col("kind") == "vote", maintain_order=True)
        for number, row in enumerate(part.iter_rows(named=True), start=1):
            name = str(row["stream"]).removeprefix(JUDGE)
            is_vote = row["kind"] == "vote"
            value = SettledValue(
                number,
                str(author),
                row["stream"] if is_vote else f"{JUDGE}{name}",
                str(row["version"]),
                row["class"],
                row["value"],
                row["day"],
                row["reader"] or "",
            )
            of_version = versions.setdefault((value.author, value.version), VersionValues())
            into = of_version.judged_anew if row["kind"] == CONTROL else of_version.streams
            into.setdefault(name if row["kind"] == CONTROL else value.stream, []).append(value)
    return list(versions.values())


def _version_lines(
    values: VersionValues, certified: Mapping[str, float], *, fleet: int
) -> Iterator[str]:
    judges = {*values.judged_anew} | {
        name.removeprefix(JUDGE) for name in values.streams if name.startswith(JUDGE)
    }
    asked = {name: certified[name] for name in sorted(judges & set(certified))}
    for ledger in values.streams.values():
        done = followed(ledger, fleet=fleet, cause=partial(_cause, values, asked))
        yield (
            f"{_name(ledger[0])}: {len(ledger):,} values, {_held(done)}, {len(done.alarms)} alarms"
        )
        for number, one in enumerate(done.alarms, start=1):
            yield f"  alarm {number} {_alarm(one, ledger)}"
    for judge, anew in sorted(values.judged_anew.items()):
        may = f"D {asked[judge]:g}" if judge in asked else "no D is given: it is not asked"
        yield f"{_name(anew[0])}: {len(anew):,} answers judged anew, {may}"


def _cause(
    values: VersionValues, asked: Mapping[str, float], alarm: Alarm, watch: Watch
) -> FallCause | None:
    """What the alarm is about, by stored scores, and where they leave it open with those judged
    anew; None: nobody can say."""
    if watch.baseline is None or not may_be_asked(alarm, asked):
        return None
    ledger = values.streams[alarm.stream]
    bounds = watch.baseline.bounds
    drop = since_the_drop(
        [one for one in ledger if alarm.since <= one.sequence <= alarm.sequence], bounds
    )
    today = next(one.day for one in ledger if one.sequence == alarm.sequence)
    if not drop or drop[0].day is None or today is None:
        return None
    began = DropStart(
        drop[0],
        watch.after,
        by_day=True,
        classes=frozenset(fall.prompt_class for fall in fallen_classes(drop, bounds)),
    )

    def stored(stream: str) -> Sequence[SettledValue]:
        until_now = (one for one in values.streams.get(stream, ()) if (one.day or 0) <= today)
        return [one for one in until_now if one.sequence > watch.after]

    found = None
    for anew in ({}, values.anew(drop[0].day, today)):
        found = cause_of_alarm(alarm, began, stored, asked, tolerance=TOLERANCE, anew=anew)
        if found.name != "undecided":
            break
    return found


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
    number = next(index for index, of in enumerate(ledger, 1) if of.sequence == alarm.sequence)
    by = one.decision.tags.get("twin/decided_by", "")
    said = "" if one.cause is None else f"; {one.cause.words}"
    return (
        f"at value {number:,}, day {ledger[number - 1].day}: "
        f"{falls or 'no class'}{said}; {one.decision.kind}{f' ({by})' if by else ''}"
    )
