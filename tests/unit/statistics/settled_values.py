"""Settled values for the tests of this folder."""

from __future__ import annotations

import random
from collections.abc import Iterable

from hypothesis import strategies as st

from twin_resources.statistics.values import SettledValue

unit_interval = st.floats(0.0, 1.0, allow_nan=False)


def stream_of(
    values: Iterable[float],
    *,
    classes: Iterable[str] | None = None,
    begin: int = 1,
    version: str = "v1",
    stream: str = "thumbs",
    per_day: int | None = None,
) -> list[SettledValue]:
    """Values of one stream, numbered from `begin`; so many a day, or each for itself."""
    numbered = list(enumerate(values, start=begin))
    names = list(classes) if classes is not None else ["how_to"] * len(numbered)
    return [
        SettledValue(
            number,
            "mara",
            stream,
            version,
            name,
            value,
            None if per_day is None else (number - 1) // per_day,
        )
        for (number, value), name in zip(numbered, names, strict=True)
    ]


def thumbs(count: int, quality: float, *, seed: int) -> list[float]:
    """Binary values of this mean."""
    rng = random.Random(seed)
    return [float(rng.random() < quality) for _ in range(count)]
