"""The form of a run of `bench_loop.py`, and the type of its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.rows import Row


@dataclass(frozen=True)
class Form:
    """How many homes a run simulates.

    Attributes:
        quick: whether fewer homes are simulated; the row's name contains their number.
        seed: the seed of the random numbers, which is printed.
        homes: the number of homes of each row, or None for the form's number.
        rates: the numbers of votes per day.
    """

    quick: bool
    seed: int = 39
    homes: int | None = None
    rates: tuple[int, ...] = (3, 30, 300)

    def count_homes(self, full: int, *, quick: int) -> int:
        """Return the number of homes of a row."""
        return self.homes or (quick if self.quick else full)


MeasureRows = Callable[[Form], list[Row]]
