"""Cache the numbers that a gate measured, so that the next gate does not measure them again.

Scope: the table, and the lifetime of a row. Out of scope: the meaning and the key of a number
(`likelihoods.py`, `served_answers.py`).

A gate compares the candidate with the base and the stable version. Both were measured by the gate
that released the stable version. A row contains a number and the hash of all inputs that determine
it, never a text. Rows that a gate no longer requests are deleted. Numbers that do not depend on the
author are stored in files, which all authors of a home share.
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from twin_resources.atomic_writes import replace_file

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

TABLE = "kept_measurements"
VERSION = "1"
_SCHEMA: Mapping[str, pl.DataType] = {"measurement_id": pl.String(), "value": pl.Float64()}


@dataclass
class MeasurementCache:
    """Measured numbers of one author.

    Attributes:
        shared_folder: folder of the numbers that do not depend on the author, or None to keep them
            only in memory.
    """

    tables: Tables
    author: str
    shared_folder: Path | None = None

    def __post_init__(self) -> None:
        self._values: dict[str, float] = {}
        self._requested_values: dict[str, float] = {}
        self._shared_values: dict[str, list[float]] = {}
        if self.tables.exists(TABLE, self.author):
            stored_rows = self.tables.read(TABLE, self.author, columns=list(_SCHEMA))
            self._values = dict(stored_rows.iter_rows())

    def find_missing(self, keys: Sequence[str]) -> list[int]:
        """Return the positions of keys without a stored number."""
        return [position for position, key in enumerate(keys) if key not in self._values]

    def get_or_compute(
        self, keys: Sequence[str], compute: Callable[[list[int]], Sequence[float]]
    ) -> list[float]:
        """Return the numbers of all keys, in order.

        Args:
            keys: hashes of all inputs that determine a number.
            compute: function that maps the positions of missing keys to their numbers; not called
                if no number is missing.
        """
        missing_positions = self.find_missing(keys)
        if missing_positions:
            for position, value in zip(missing_positions, compute(missing_positions), strict=True):
                self._values[keys[position]] = value
        self._requested_values |= {key: self._values[key] for key in keys}
        return [self._values[key] for key in keys]

    def get_or_compute_shared(
        self, key: str, compute: Callable[[], Sequence[float]]
    ) -> list[float]:
        """Return numbers that do not depend on the author.

        Args:
            key: hash of all inputs that determine the numbers.
            compute: function that computes them; not called if they are stored.
        """
        path = self.shared_folder / f"{key}.json" if self.shared_folder else None
        if key not in self._shared_values and path is not None and path.is_file():
            self._shared_values[key] = json.loads(path.read_text(encoding="utf-8"))
        if key not in self._shared_values:
            self._shared_values[key] = list(compute())
            if path is not None:
                replace_file(path, json.dumps(self._shared_values[key]))
        return self._shared_values[key]

    def store(self, *, keep_unrequested: bool = False) -> None:
        """Store the numbers requested from this object.

        Args:
            keep_unrequested: whether to keep the other stored numbers too, for a first verdict,
                which requests only some numbers.
        """
        selected_values = self._values if keep_unrequested else self._requested_values
        values = pl.DataFrame(
            {"measurement_id": list(selected_values), "measured": list(selected_values.values())},
            schema={"measurement_id": pl.String, "measured": pl.Float64},
        )
        self.tables.sync(
            values.select("measurement_id"),
            TABLE,
            author=self.author,
            key="measurement_id",
            function=lambda rows: rows.join(values, on="measurement_id").rename(
                {"measured": "value"}
            ),
            version=VERSION,
            schema=_SCHEMA,
            row_key="measurement_id",
        )
