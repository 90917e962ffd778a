"""A row of the benchmark of training: some goals are lower bounds, some upper ones."""

from __future__ import annotations

from tests.bench.retraining.rows import Row


def row(
    name: str,
    value: float,
    unit: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    peers: dict[str, float] | None = None,
) -> Row:
    """A row that holds when the value is within its one bound; without a bound it always holds."""
    rounded = {peer: float(f"{figure:.4g}") for peer, figure in (peers or {}).items()}
    holds = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
    goal = at_least if at_least is not None else at_most
    return Row(name, float(f"{value:.5g}"), unit, goal, bool(holds), rounded)


def missing(name: str, unit: str, reason: str, *, goal: float | None) -> Row:
    """The row of a figure that could not be had: it holds no goal, and says why."""
    return Row(f"{name}: not measured, {reason}", 0.0, unit, goal, goal is None, {})


def show(found: Row, *, sign: str) -> str:
    goal = "" if found.goal is None else f"{sign} {found.goal:g}"
    peers = ", ".join(f"{name} {value:g}" for name, value in found.peers.items())
    return f"{found.name:66} {found.value:9.5g} {found.unit:9} {goal:>8}  {found.holds!s:5} {peers}"
