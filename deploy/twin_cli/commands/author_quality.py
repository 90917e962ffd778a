"""Report the quality of an author's answers for `twin status`: evidence, waits, ignored scores.

Scope: reading the data from the state store, and formatting the lines.
Out of scope: evaluating scores (`retraining/score_watch.py`), and other status lines (`status.py`).
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing

import sqlalchemy as sa

from twin_cli.commands.loop_waits import describe_wait
from twin_resources.errors import TwinError
from twin_resources.quality.ledger import known_stores
from twin_resources.quality.ledger.ledger_tables import scores
from twin_resources.quality.ledger.scores import DAY_MS
from twin_resources.quality.retraining import (
    alarm_records,
    daily_aggregates,
    score_watch,
)
from twin_resources.quality.retraining.alarm_records import NOT_IN_SCORES
from twin_resources.quality.retraining.retraining_rules import LoopRules, rules_from_settings
from twin_resources.settings import Settings
from twin_resources.statistics.detector import StreamEvidence
from twin_resources.statistics.warm_up import describe_warm_up
from twin_resources.storage.state.home_state import open_home_state


def format_quality_lines(settings: Settings, slugs: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the quality lines by author; authors with nothing to report are omitted.

    Args:
        settings: settings of a home with a state store.
    """
    try:
        return _read_quality_lines(settings, slugs)
    except TwinError as error:  # still show the rest of the status
        return dict.fromkeys(slugs[:1], (f"quality: unknown, {error.found}",))


def read_store_lines(settings: Settings) -> tuple[str, ...]:
    """Return a line for each trace store that the ledger has read; none if it was only one.

    Args:
        settings: settings of a home with a state store.
    """
    try:
        with (
            closing(open_home_state(settings)) as state,
            state.read_transaction() as connection,
        ):
            if not sa.inspect(connection).has_table(scores.name):
                return ()
            return tuple(known_stores.describe_stores(connection))
    except TwinError as error:  # still show the rest of the status
        return (f"unknown, {error.found}",)


def _read_quality_lines(settings: Settings, slugs: Sequence[str]) -> dict[str, tuple[str, ...]]:
    rules, now = rules_from_settings(settings), time.time()
    lines_by_author: dict[str, tuple[str, ...]] = {}
    with (
        closing(open_home_state(settings)) as state,
        state.read_transaction() as connection,
    ):
        if not sa.inspect(connection).has_table(scores.name):
            return {}
        watches = score_watch.current_evidence(connection)
        armed_count = score_watch.count_armed_streams(connection)
        for slug in slugs:
            lines = [
                format_evidence(connection, watch, rules, armed_count, now=now)
                for watch in watches.get(slug, [])
            ]
            excluded_counts = alarm_records.count_excluded_scores(connection, slug)
            lines += format_uncounted_scores(excluded_counts, slug)
            lines += filter(None, [describe_wait(connection, slug, now=now)])
            if lines:
                lines_by_author[slug] = tuple(lines)
    return lines_by_author


def format_evidence(
    connection: sa.Connection,
    watch: StreamEvidence,
    rules: LoopRules,
    armed_count: int,
    *,
    now: float,
) -> str:
    """Return `thumbs: 3.2 a day; 912 values; the floor is fact .77; evidence of a fall 12 of 180`.

    Args:
        armed_count: the number of the home's streams that the detector bets on.
        now: seconds since the epoch.
    """
    today = int(now * 1000) // DAY_MS
    rate = daily_aggregates.compute_values_per_day(
        connection, watch.author, stream=watch.stream, today=today
    )
    details = [f"{rate:,.0f} a day" if rate >= 10 else f"{rate:.2g} a day"] if rate else []
    if not watch.is_armed:
        details.append(
            describe_warm_up(
                watch.value_count, rules.required_values, per_day=rate, days=watch.days
            )
        )
        return f"{watch.stream}: {'; '.join(details)}"
    threshold = rules.threshold(armed_count)
    bounds_text = ", ".join(
        f"{name or 'all'} {bound:.2f}".replace(" 0.", " .") for name, bound in watch.floors.items()
    )
    evidence = f"evidence of a fall {watch.likelihood_ratio:,.0f} of {threshold:,.0f}"
    details += [f"{watch.value_count:,} values", f"the floor is {bounds_text}", evidence]
    return f"{watch.stream}: {'; '.join(details)}"


def format_uncounted_scores(count_by_reason: Mapping[str, int], slug: str) -> list[str]:
    """Return lines about ignored scores; undeclared scores are listed by name."""
    undeclared: list[str] = []
    uncounted: list[str] = []
    for reason, count in sorted(count_by_reason.items()):
        name = reason.removeprefix(NOT_IN_SCORES)
        (uncounted if name == reason else undeclared).append(f"{count:,} {name}")
    lines: list[str] = []
    if undeclared:
        names = ", ".join(undeclared)
        lines.append(f"not counted: {names}; declare them in [scores] of authors/{slug}.toml")
    if uncounted:
        lines.append(f"never counted: {', '.join(uncounted)}")
    return lines
