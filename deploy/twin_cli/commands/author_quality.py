"""Report the quality of an author's answers for `twin status`: evidence, waits, ignored scores.

Scope: reading the data from the state store, and the lines.
Out of scope: folding (`retraining/score_watch.py`), the rest of a status (`status.py`).
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from twin_cli.commands.loop_waits import waiting_line
from twin_resources.errors import TwinError
from twin_resources.quality.ledger.ledger_tables import scores
from twin_resources.quality.ledger.scores import DAY_MS
from twin_resources.quality.retraining import (
    alarm_records,
    daily_aggregates,
    score_watch,
)
from twin_resources.quality.retraining.alarm_records import NOT_IN_SCORES
from twin_resources.quality.retraining.retraining_rules import LoopRules, rules_of
from twin_resources.settings import Settings
from twin_resources.statistics.baseline import arming
from twin_resources.statistics.detector import StreamEvidence
from twin_resources.storage.state.state import State


def quality_lines(settings: Settings, slugs: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return author → lines; authors with nothing to report are left out.

    Args:
        settings: the settings of a home with a state store.
    """
    try:
        return _read(settings, slugs)
    except TwinError as error:  # the rest of the status is still wanted
        return dict.fromkeys(slugs[:1], (f"quality: not known, {error.found}",))


def _read(settings: Settings, slugs: Sequence[str]) -> dict[str, tuple[str, ...]]:
    state, rules, now = State.open(settings.state_address), rules_of(settings), time.time()
    messages: dict[str, tuple[str, ...]] = {}
    try:
        with state.reading() as connection:
            if not sa.inspect(connection).has_table(scores.name):
                return {}
            watches = score_watch.watches_now(connection)
            armed = score_watch.armed_streams(connection)
            for slug in slugs:
                lines = [
                    evidence_line(connection, one, rules, armed=armed, now=now)
                    for one in watches.get(slug, [])
                ]
                lines += not_counted_lines(alarm_records.not_counted(connection, slug), slug)
                if line := waiting_line(connection, slug, now=now):
                    lines.append(line)
                if lines:
                    messages[slug] = tuple(lines)
    finally:
        state.close()
    return messages


def evidence_line(
    connection: sa.Connection, watch: StreamEvidence, rules: LoopRules, *, armed: int, now: float
) -> str:
    """Return `thumbs: 3.2 a day; 912 values; held to fact .77; evidence of a fall 12 of 130`.

    Args:
        armed: the number of the home's streams that the detector bets on.
        now: seconds since the epoch.
    """
    today = int(now * 1000) // DAY_MS
    rate = daily_aggregates.per_day(connection, watch.author, stream=watch.stream, today=today)
    parts = [f"{rate:,.0f} a day" if rate >= 10 else f"{rate:.2g} a day"] if rate else []
    if not watch.armed:
        parts.append(arming(watch.seen, rules.fewest, per_day=rate, days=watch.days))
        return f"{watch.stream}: {'; '.join(parts)}"
    limit = rules.threshold(armed)
    held = ", ".join(
        f"{name or 'all'} {bound:.2f}".replace(" 0.", " .") for name, bound in watch.held_to.items()
    )
    evidence = f"evidence of a fall {watch.e_value:,.0f} of {limit:,.0f}"
    parts += [f"{watch.seen:,} values", f"held to {held}", evidence]
    return f"{watch.stream}: {'; '.join(parts)}"


def not_counted_lines(counted: Mapping[str, int], slug: str) -> list[str]:
    """Return the ignored scores, by name if a line in the author's file would make them count."""
    names = {
        reason.removeprefix(NOT_IN_SCORES): count
        for reason, count in counted.items()
        if reason.startswith(NOT_IN_SCORES)
    }
    rest = {
        reason: count for reason, count in counted.items() if not reason.startswith(NOT_IN_SCORES)
    }
    lines: list[str] = []
    if names:
        lines.append(
            f"not counted: {_listed(names)}; a line in [scores] of authors/{slug}.toml says what "
            "they are"
        )
    if rest:
        lines.append(f"never count: {_listed(rest)}")
    return lines


def _listed(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{counted[name]:,} {name}" for name in sorted(counted))
