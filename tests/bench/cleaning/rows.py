"""Rows of `bench_cleaning.py`: the shape of all benchmarks, and a row whose goal is a least value.

Belongs here: that row. Does not belong here: measuring.
"""

from __future__ import annotations

from tests.bench.retraining.rows import Form, Row, Rows, row

__all__ = ["Form", "Row", "Rows", "at_least", "at_most"]

at_most = row


def at_least(
    name: str,
    value: float,
    unit: str,
    *,
    goal: float | None = None,
    peers: dict[str, float] | None = None,
) -> Row:
    """A row that holds when the value is at least its goal."""
    rounded = {peer: round(figure, 3) for peer, figure in (peers or {}).items()}
    held = goal is None or value >= goal
    return Row(name, round(value, 3), unit, None if goal is None else round(goal, 3), held, rounded)
