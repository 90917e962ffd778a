"""A row of the benchmarks of embedding and retrieval, whose goals are lower bounds."""

from __future__ import annotations

from tests.bench.retraining.rows import Row


def row(
    name: str,
    value: float,
    unit: str,
    *,
    at_least: float | None = None,
    peers: dict[str, float] | None = None,
) -> Row:
    """A row that holds when the value is at least its goal."""
    rounded = {peer: float(f"{figure:.4g}") for peer, figure in (peers or {}).items()}
    holds = at_least is None or value >= at_least
    return Row(name, float(f"{value:.5g}"), unit, at_least, bool(holds), rounded)


def show(found: Row) -> str:
    goal = "" if found.goal is None else f"≥ {found.goal:g}"
    peers = ", ".join(f"{name} {value:g}" for name, value in found.peers.items())
    return f"{found.name:64} {found.value:9.5g} {found.unit:9} {goal:>8}  {found.holds!s:5} {peers}"
