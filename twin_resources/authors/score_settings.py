"""Which scores of the trace store count, and as what: `[scores]` of an author.

Scope: the table of the author's file, one entry a score name, and what a score's value is
from 0 to 1. Out of scope: reading scores, whose they are and when they count
(`quality/ledger/`).

    [scores]
    user-feedback = "thumbs"                                  # 0 to 1, or true and false: a vote
    stars = { range = [1, 5] }                                # from the worst to the best
    mood = { stream = "thumbs", values = { happy = 1, angry = 0 } }
    toxic = { by = "judge", range = [1, 0] }                  # true is the worst
"""
# pyright: strict

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast, get_args

ScoredBy = Literal["reader", "judge"]
WhyUnfit = Literal["", "not_a_number", "out_of_range", "unknown_category"]
# What the twin writes itself (`langfuse/score_names.py`, judges) means what it always meant.
OWN_NAMES = ("thumbs", "output", "comparison")
OWN_PREFIX = "judge:"
_STREAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,59}")
_KEYS = ("stream", "by", "range", "values")
_BEST = (0.0, 1.0)


@dataclass(frozen=True)
class CountedScore:
    """What the scores of one name are.

    Attributes:
        name: as it stands in the trace store.
        stream: watched by itself, with what other names are mapped to it; `thumbs` is that of the
            readers' votes, and such a score is a vote in everything.
        by: a `reader`'s scores of a day are one value, a `judge`'s (an evaluator's) are one each.
        worst, best: the numbers that are 0 and 1; the worst may be the larger.
        values: category → its value in [0, 1]; not empty: the score is categorical.
    """

    name: str
    stream: str
    by: ScoredBy = "reader"
    worst: float = 0.0
    best: float = 1.0
    values: tuple[tuple[str, float], ...] = ()

    def value_of(self, number: float | None, category: str) -> tuple[float | None, WhyUnfit]:
        """The value in [0, 1] of one score, or why it has none.

        Args:
            number: of a numeric score; 1 or 0 of a boolean one; None: it is neither.
            category: of a categorical one; empty: it is none.
        """
        if self.values:
            mapped = dict(self.values).get(category)
            return mapped, "" if mapped is not None else "unknown_category"
        if number is None or math.isnan(number):
            return None, "not_a_number"
        value = (number - self.worst) / (self.best - self.worst)
        return (value, "") if 0.0 <= value <= 1.0 else (None, "out_of_range")

    def as_entry(self) -> str | dict[str, Any]:
        """The entry of the table that says the same; defaults are left out."""
        entry: dict[str, Any] = {}
        if self.stream != self.name:
            entry["stream"] = self.stream
        if self.by != "reader":
            entry["by"] = self.by
        if (self.worst, self.best) != _BEST:
            entry["range"] = [self.worst, self.best]
        if self.values:
            entry["values"] = dict(self.values)
        return entry if set(entry) != {"stream"} else self.stream


@dataclass(frozen=True)
class CountedScores:
    """The table of one author, in the order of its names."""

    scores: tuple[CountedScore, ...] = ()

    def of(self, name: str) -> CountedScore | None:
        """What scores of this name are; None: they do not count."""
        return self._by_name.get(name)

    def as_table(self) -> dict[str, Any]:
        """The table that says the same."""
        return {score.name: score.as_entry() for score in self.scores}

    @cached_property
    def _by_name(self) -> Mapping[str, CountedScore]:
        return {score.name: score for score in self.scores}


NO_SCORES = CountedScores()


def read_scores(table: Mapping[str, Any]) -> CountedScores:
    """The settings of a table `[scores]`.

    Raises:
        ValueError: an entry that cannot be meant; the message says which, and what may stand there.
    """
    return CountedScores(tuple(_entry(name, table[name]) for name in sorted(table)))


def _entry(name: str, entry: object) -> CountedScore:
    if name in OWN_NAMES or name.startswith(OWN_PREFIX) or not name.strip():
        own = ", ".join((*OWN_NAMES, f"{OWN_PREFIX}…"))
        raise ValueError(f"{name!r} is a name of the twin's own ({own}), which count by themselves")
    if isinstance(entry, str):
        return CountedScore(name, _stream(name, entry))
    if not isinstance(entry, Mapping):
        raise ValueError(
            f'{name} = {entry!r} is neither a stream ("thumbs") nor a table of {", ".join(_KEYS)}'
        )
    fields = cast("Mapping[str, Any]", entry)
    unknown = sorted(set(fields) - set(_KEYS))
    if unknown:
        raise ValueError(f"{name}.{unknown[0]} is none of {', '.join(_KEYS)}")
    if "range" in fields and "values" in fields:
        raise ValueError(f"{name} has a range (of numbers) and values (of categories): one of them")
    by = fields.get("by", "reader")
    if by not in get_args(ScoredBy):
        raise ValueError(f"{name}.by = {by!r} is none of {', '.join(get_args(ScoredBy))}")
    worst, best = _range(name, fields.get("range", list(_BEST)))
    return CountedScore(
        name,
        _stream(name, fields.get("stream", name)),
        cast("ScoredBy", by),
        worst,
        best,
        _values(name, fields["values"]) if "values" in fields else (),
    )


def _stream(name: str, stream: object) -> str:
    if not isinstance(stream, str) or not _STREAM.fullmatch(stream):
        raise ValueError(
            f"{name}: {stream!r} cannot name a stream: up to 60 letters, digits, '.', '_', '@', '-'"
        )
    return stream


def _range(name: str, value: object) -> tuple[float, float]:
    ends = cast("list[object]", value) if isinstance(value, list | tuple) else []
    numbers = [number for end in ends if (number := _number(end)) is not None]
    if len(ends) != 2 or len(numbers) != 2 or numbers[0] == numbers[1]:
        raise ValueError(f"{name}.range = {value!r} is not [worst, best], as in [1, 5]")
    return numbers[0], numbers[1]


def _values(name: str, raw: object) -> tuple[tuple[str, float], ...]:
    table = cast("dict[str, object]", raw) if isinstance(raw, dict) else {}
    numbers = {category: _number(value) for category, value in sorted(table.items())}
    values = {key: one for key, one in numbers.items() if one is not None and 0.0 <= one <= 1.0}
    if not table or len(values) < len(table):
        raise ValueError(
            f"{name}.values = {raw!r} gives no number from 0 to 1 to each category, as in "
            "{ good = 1, bad = 0 }"
        )
    return tuple(values.items())


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
