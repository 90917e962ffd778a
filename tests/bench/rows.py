"""Define a benchmark's result row, its line in a table and its JSON.

Scope: the output format that all benchmarks share. Out of scope: measuring, and the goal of each
figure (`bench_*.py` and their folders).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


def bench_parser(doc: str | None, *, quick: str = "", full: str = "") -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark: `--quick` or `--full`, and `--json`.

    Args:
        doc: docstring of the benchmark; its first line is the description.
        quick, full: help text of each option.
    """
    parser = argparse.ArgumentParser(description=str(doc).splitlines()[0])
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--quick", action="store_true", help=quick)
    form.add_argument("--full", action="store_true", help=full)
    parser.add_argument("--json", type=Path)
    return parser


@dataclass
class Row:
    """One figure; without a goal, `goal` is None and `holds` is true."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    holds: bool = True
    peers: dict[str, float] = field(default_factory=dict[str, float])


def heading(*, name: int = 72) -> str:
    """Return the header of the table; `name` is the width of the first column."""
    return f"{'what':{name}} {'value':>9} {'unit':10} {'goal':>8}  holds peers"


def line(row: Row, *, sign: str = "≤", name: int = 72) -> str:
    """Return one row of the table; `sign` shows on which side of its goal a value should lie."""
    goal = "" if row.goal is None else f"{sign} {row.goal:g}"
    peers = ", ".join(f"{peer} {value:g}" for peer, value in row.peers.items())
    return f"{row.name:{name}} {row.value:9.5g} {row.unit:10} {goal:>8}  {row.holds!s:5} {peers}"


def save(rows: Sequence[Row], file: Path) -> None:
    """Write the rows as JSON."""
    file.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")


def tell(
    rows: Sequence[Row], file: Path | None = None, *, sign: Callable[[Row], str] = lambda _: "≤"
) -> int:
    """Print the table, and save the rows to `file` if it is given.

    Args:
        sign: function that returns the side of its goal on which a row's value should lie.

    Returns:
        0 if every row holds, else 1.
    """
    table = [heading(), *(line(row, sign=sign(row)) for row in rows)]
    sys.stdout.write("\n".join(table) + "\n")
    if file is not None:
        save(rows, file)
    return 0 if all(row.holds for row in rows) else 1
