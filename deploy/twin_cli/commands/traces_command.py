"""`twin traces`: the newest answers, with what was said of them.

Belongs here: the table and the JSON. Does not belong here: reading (`langfuse/trace_reading.py`),
one trace in full (`explain.py`).
"""
# pyright: strict

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.observability.langfuse.trace_reading import (
    Score,
    TraceFilter,
    TraceRow,
    read_page,
    score_condition,
)
from twin_resources.processes.stack import find_stack
from twin_resources.settings import Settings

PAGE = 100


def run_traces(
    settings: Settings,
    *,
    author: str,
    version: str,
    route: str,
    score: str,
    limit: int,
    as_json: bool,
    console: Console,
) -> int:
    """Print the newest traces that fit; returns the exit code.

    Args:
        author: slug; empty: all. score: a name, or a condition as `support<0.3`.

    Raises:
        TwinError: the condition cannot be read, or the trace store does not answer.
    """
    wanted = TraceFilter(author, version, route, score_condition(score))
    stack = find_stack(settings)
    with LangfuseClient.from_settings(stack.settings if stack else settings) as client:
        rows = _rows(client, wanted, limit=limit)
    if as_json:
        console.print_json(json.dumps({"traces": [asdict(row) for row in rows]}))
    elif rows:
        console.print(_table(rows))
        console.print("one of them in full: twin explain TRACE", style="dim")
    else:
        console.print("no trace of that kind", markup=False)
    return 0


def _rows(client: LangfuseClient, wanted: TraceFilter, *, limit: int) -> list[TraceRow]:
    rows: list[TraceRow] = []
    after = ""
    while len(rows) < limit:
        page = read_page(client, wanted, limit=min(PAGE, limit - len(rows)), after=after)
        rows += page.rows
        after = page.following
        if not after:
            break
    return rows[:limit]


def _table(rows: list[TraceRow]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("when (UTC)", "twin", "route", "s"):
        table.add_column(name, no_wrap=True)
    table.add_column("scores")
    table.add_column("question", overflow="ellipsis", no_wrap=True, ratio=1)
    table.add_column("trace", no_wrap=True, min_width=32)
    for row in rows:
        cells: list[Any] = [
            row.at[:16].replace("T", " "),
            f"{row.author} {row.version}".strip(),
            row.route,
            "" if row.seconds is None else f"{row.seconds:.1f}",
            " ".join(score_text(score) for score in row.scores if _is_opinion(score)),
            " ".join(row.question.split()) or row.error,
            row.trace_id,
        ]
        table.add_row(*(Text(str(cell)) for cell in cells))
    return table


def score_text(score: Score) -> str:
    """A score in a word: `thumbs 0`, `support 0.25`, `edited`."""
    if score.name == "output":
        return "edited"
    number = isinstance(score.value, int | float)
    return f"{score.name} {float(score.value):.3g}" if number else f"{score.name} {score.value}"


def _is_opinion(score: Score) -> bool:
    """Not what has a column of its own."""
    return score.name not in ("latency_s", "cost_usd")
