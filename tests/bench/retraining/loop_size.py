"""Define the size of a run of `bench_loop.py`, and the type of its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.rows import Row


@dataclass(frozen=True)
class LoopBenchmarkSize:
    """How many homes a run simulates.

    Attributes:
        quick: whether fewer homes are simulated; each row's name contains the number.
        seed: the seed of the random numbers, which is printed.
        home_count: the number of homes for every row, or None for each row's own number.
        rates: the numbers of votes per day.
    """

    quick: bool
    seed: int = 39
    home_count: int | None = None
    rates: tuple[int, ...] = (3, 30, 300)

    def choose_home_count(self, full: int, *, quick: int) -> int:
        """Return the number of homes to simulate for a row."""
        return self.home_count or (quick if self.quick else full)


MeasureRows = Callable[[LoopBenchmarkSize], list[Row]]
