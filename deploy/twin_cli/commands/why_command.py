"""Run `twin why`: show the status of an author's votes and the decisions that followed.

Scope: the summary, its text plot and its tables.
Out of scope: settling votes (`quality/ledger`), decisions (`statistics/retraining.py`), and the
status lines (`author_quality.py`).
"""
# pyright: strict

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import date as Date
from typing import Any

import sqlalchemy as sa
from rich.console import Console

from twin_cli.commands.author_quality import format_evidence
from twin_cli.commands.loop_waits import describe_wait
from twin_cli.commands.presentation import make_table
from twin_cli.commands.subject import choose_author
from twin_resources.authors import Author
from twin_resources.quality.ledger.ledger_tables import scores
from twin_resources.quality.ledger.scores import DAY_MS
from twin_resources.quality.retraining import alarm_records, daily_aggregates, score_watch
from twin_resources.quality.retraining.retraining_rules import LoopRules, rules_from_settings
from twin_resources.settings import Settings
from twin_resources.statistics.detector import DaySum
from twin_resources.statistics.retraining_limits import DAY_S, format_date
from twin_resources.storage.state.home_state import open_home_state

PLOTTED_DAYS = 90
_BAR_CHARACTERS = "▁▂▃▄▅▆▇█"


def run_why(settings: Settings, author: str, *, as_json: bool, console: Console) -> int:
    """Print the status of an author's votes; return the exit code.

    Raises:
        TwinError: the author does not exist, or the state store cannot be opened.
    """
    chosen_author = choose_author(settings, author)
    with (
        closing(open_home_state(settings)) as state,
        state.read_transaction() as connection,
    ):
        summary = build_summary(
            connection, chosen_author, rules_from_settings(settings), now=time.time()
        )
    if as_json:
        console.print_json(data=summary)
    else:
        print_summary(summary, console)
    return 0


def build_summary(
    connection: sa.Connection, author: Author, rules: LoopRules, *, now: float
) -> dict[str, Any]:
    """Return the object that `--json` prints.

    Args:
        now: seconds since the epoch.
    """
    if not sa.inspect(connection).has_table(scores.name):
        return {"author": author.slug, "streams": [], "waits": "", "decisions": [], "scores": {}}
    armed_count = score_watch.count_armed_streams(connection)
    since_ms = int(now * 1000) - PLOTTED_DAYS * DAY_MS
    return {
        "author": author.slug,
        "streams": [
            {
                "stream": watch.stream,
                "state": format_evidence(connection, watch, rules, armed_count, now=now),
                "days": compute_daily_means(
                    daily_aggregates.sum_by_day(connection, author.slug, stream=watch.stream)
                ),
            }
            for watch in score_watch.current_evidence(connection).get(author.slug, [])
        ],
        "waits": describe_wait(connection, author.slug, now=now),
        "decisions": [
            {"raised": format_date(record.raised_at), "stream": record.alarm.stream,
             "version": record.alarm.version, "decision": record.decision or "not yet",
             "rule": record.decided_by, "said": record.message, "run_key": record.run_key}
            for record in alarm_records.list_alarms(connection, author.slug)
        ],
        "scores": alarm_records.count_scores_by_status(connection, author.slug, since_ms=since_ms),
    }  # fmt: skip


def compute_daily_means(sums: Sequence[DaySum]) -> list[dict[str, Any]]:
    """Return date, mean, count and version of each day with values, oldest first.

    Only the `PLOTTED_DAYS` days up to the newest value are included.
    """
    days: dict[int, list[DaySum]] = {}
    for day_sum in sums:
        days.setdefault(day_sum.day, []).append(day_sum)
    newest_day = max(days, default=0)
    return [
        {
            "day": format_date(day * DAY_S),
            "mean": math.fsum(day_sum.total for day_sum in day_sums)
            / sum(day_sum.count for day_sum in day_sums),
            "values": sum(day_sum.count for day_sum in day_sums),
            "version": day_sums[-1].version,
        }
        for day, day_sums in sorted(days.items())
        if day > newest_day - PLOTTED_DAYS
    ]


def plot_days(days: Sequence[dict[str, Any]]) -> str:
    """Return one bar character per day for the mean from 0 to 1, or a space if it has no values."""
    heights: dict[int, str] = {}
    for day_row in days:
        bar_index = round(min(1.0, max(0.0, day_row["mean"])) * (len(_BAR_CHARACTERS) - 1))
        heights[Date.fromisoformat(day_row["day"]).toordinal()] = _BAR_CHARACTERS[bar_index]
    return "".join(heights.get(day, " ") for day in range(min(heights), max(heights) + 1))


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Print the `--json` object as text."""
    for stream in summary["streams"]:
        console.print(stream["state"])
        if days := stream["days"]:
            console.print(f"  {plot_days(days)}")
            console.print(f"  {days[0]['day']} to {days[-1]['day']}, daily means from 0 to 1")
    if summary["waits"]:
        console.print(summary["waits"])
    if decisions := summary["decisions"]:
        table = make_table("alarm raised", "version", "decision", "rule", "why")
        for decision in decisions:
            row = (decision[name] for name in ("raised", "version", "decision", "rule", "said"))
            table.add_row(*(str(cell).replace("_", " ") for cell in row))
        console.print(table)
    if summary["scores"]:
        table = make_table("score", "count", "outcome (90 days)")
        for name, outcome_counts in summary["scores"].items():
            for outcome, count in outcome_counts.items():
                table.add_row(name, f"{count:,}", outcome.replace("_", " "))
        console.print(table)
    elif not summary["streams"]:
        console.print("no votes or judge scores have been read yet")
