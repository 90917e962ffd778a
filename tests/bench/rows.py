"""Define a benchmark's result row, its line in a table and its JSON.

Scope: the output format that all benchmarks share. Out of scope: measuring, and the goal of each
figure (`bench_*.py` and their folders).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


def create_parser(doc: str | None, *, quick: str = "", full: str = "") -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark: `--quick` or `--full`, and `--json`.

    Args:
        doc: the benchmark's docstring; its first line is the description.
        quick: help text of `--quick`.
        full: help text of `--full`.
    """
    parser = argparse.ArgumentParser(description=str(doc).splitlines()[0])
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--quick", action="store_true", help=quick)
    mode.add_argument("--full", action="store_true", help=full)
    parser.add_argument("--json", type=Path)
    return parser


class MeasurementError(Exception):
    """A figure could not be measured; the message gives the reason."""


@dataclass
class Row:
    """One figure of a benchmark.

    Attributes:
        goal: the bound that the value should meet, or None.
        holds: whether the value meets the goal; true without a goal.
        peers: figures to compare with, by name.
    """

    name: str
    value: float
    unit: str
    goal: float | None = None
    holds: bool = True
    peers: dict[str, float] = field(default_factory=dict[str, float])


def bounded_row(
    name: str,
    value: float,
    unit: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    peers: Mapping[str, float] | None = None,
) -> Row:
    """Return a row with at most one bound; the value is rounded to 5 significant digits."""
    rounded = {peer: float(f"{figure:.4g}") for peer, figure in (peers or {}).items()}
    holds = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
    goal = at_least if at_least is not None else at_most
    return Row(name, float(f"{value:.5g}"), unit, goal, bool(holds), rounded)


def missing_row(name: str, unit: str, reason: str, *, goal: float | None) -> Row:
    """Return the row for a figure that was not measured; it fails if the figure has a goal."""
    return Row(f"{name}: not measured, {reason}", 0.0, unit, goal, goal is None, {})


def format_header() -> str:
    """Return the header of the table."""
    return f"{'what':72} {'value':>9} {'unit':10} {'goal':>8}  holds peers"


def format_row(row: Row, *, operator: str = "≤") -> str:
    """Return a row of the table; `operator` compares value and goal, such as `≤`."""
    goal = "" if row.goal is None else f"{operator} {row.goal:g}"
    peers = ", ".join(f"{peer} {value:g}" for peer, value in row.peers.items())
    return f"{row.name:72} {row.value:9.5g} {row.unit:10} {goal:>8}  {row.holds!s:5} {peers}"


def write_json(rows: Sequence[Row], file: Path) -> None:
    """Write the rows as JSON."""
    file.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")


def print_results(
    rows: Sequence[Row], file: Path | None = None, *, operator: Callable[[Row], str] = lambda _: "≤"
) -> int:
    """Print the table, and save the rows to `file` if it is given.

    Args:
        operator: function that returns the comparison of a row's value and goal, such as `≤`.

    Returns:
        0 if every row holds, else 1.
    """
    table = [format_header(), *(format_row(row, operator=operator(row)) for row in rows)]
    sys.stdout.write("\n".join(table) + "\n")
    if file is not None:
        write_json(rows, file)
    return 0 if all(row.holds for row in rows) else 1


def run_parts(
    parts: Mapping[str, Callable[[], Sequence[Row]]],
    file: Path | None = None,
    *,
    operator: Callable[[Row], str] = lambda _: "≤",
) -> int:
    """Measure the parts of a long benchmark, and print the rows of each part when it ends.

    `file` is written after each part, so that a later failure does not lose earlier rows. A part
    that raises `MeasurementError` results in one row with the reason.

    Args:
        parts: name → function that measures the part.
        file, operator: as for `print_results`.

    Returns:
        0 if every row holds, else 1.
    """
    rows: list[Row] = []
    print(format_header(), flush=True)
    for name, measure in parts.items():
        started, cpu = time.monotonic(), time.process_time()
        try:
            part_rows = measure()
        except MeasurementError as error:
            part_rows = [missing_row(name, "", str(error), goal=0.0)]
        print("\n".join(format_row(row, operator=operator(row)) for row in part_rows))
        wall_s, cpu_s = time.monotonic() - started, time.process_time() - cpu
        print(f"  ({name}: {cpu_s:.1f} CPU s, {wall_s:.1f} s)", flush=True)
        rows += part_rows
        if file is not None:
            write_json(rows, file)
    return 0 if all(row.holds for row in rows) else 1
