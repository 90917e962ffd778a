"""The shape of a row of `bench_loop.py`, and the form that runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.rows import Row

__all__ = ["Form", "Row", "Rows", "row"]


@dataclass(frozen=True)
class Form:
    """`--quick` scales the number of homes down; a row says so in its name. `seed`:
    printed; `homes`: of each row, in place of the form's; `rates`: votes a day."""

    quick: bool
    seed: int = 39
    homes: int | None = None
    rates: tuple[int, ...] = (3, 30, 300)

    def streams(self, full: int, *, quick: int) -> int:
        return self.homes or (quick if self.quick else full)


Rows = Callable[[Form], list[Row]]


def row(
    name: str,
    value: float,
    unit: str,
    *,
    at_most: float | None = None,
    peers: dict[str, float] | None = None,
) -> Row:
    """A row that holds when the value is at most its goal."""
    holds = at_most is None or value <= at_most
    rounded = {peer: round(figure, 2) for peer, figure in (peers or {}).items()}
    return Row(name, round(value, 3), unit, at_most, holds, rounded)
