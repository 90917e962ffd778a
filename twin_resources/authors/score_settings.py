"""Read the table `[scores]`: the scores of the trace store that count for an author.

Scope: the table of the author's file, with one entry per score name, and mapping a score's value to
[0, 1]. Out of scope: reading scores, their authors and the time from which they count
(`quality/ledger/`).

    [scores]
    user-feedback = "thumbs"                                  # 0 to 1, or true and false: a vote
    stars = { range = [1, 5] }                                # from the worst to the best
    mood = { stream = "thumbs", values = { happy = 1, angry = 0 } }
    toxic = { by = "judge", range = [1, 0] }                  # true is the worst
    expert = { by = "annotator", stream = "thumbs", weight = 3 }  # a person in Langfuse's page
"""
# pyright: strict

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

ScoredBy = Literal["reader", "judge", "annotator"]
RejectionReason = Literal["", "not_a_number", "out_of_range", "unknown_category"]
MAX_WEIGHT = 10
# Scores that the twin writes itself (`langfuse/score_names.py`, judges) cannot be redefined.
RESERVED_NAMES = ("thumbs", "output", "comparison")
RESERVED_PREFIX = "judge:"
_STREAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,59}")
_ENTRY_KEYS = ("stream", "by", "range", "values", "weight")
_DEFAULT_RANGE = (0.0, 1.0)


@dataclass(frozen=True)
class CountedScore:
    """Rules for reading the scores of one name.

    Attributes:
        name: the name in the trace store.
        stream: the monitored series, which several names may share. `thumbs` is the stream of
            the readers' votes, and a score mapped to it counts as a vote everywhere.
        by: the scores of one `reader` and day count as one value; each score of a `judge` (an
            evaluator) counts, and so does each score of an `annotator`, an expert who scores
            answers in Langfuse's page. The limits on readers are no limits on these two.
        worst, best: the numbers that map to 0 and 1; `worst` may exceed `best`.
        values: category → value in [0, 1]; not empty if the score is categorical.
        weight: the number of readers' values that one score of an `annotator` is worth.
    """

    name: str
    stream: str
    by: ScoredBy = "reader"
    worst: float = 0.0
    best: float = 1.0
    values: tuple[tuple[str, float], ...] = ()
    weight: int = 1

    def normalize(
        self, number: float | None, category: str
    ) -> tuple[float | None, RejectionReason]:
        """Return one score's value in [0, 1], or the reason for rejecting it.

        Args:
            number: the value of a numeric score, 1 or 0 of a boolean one, or None.
            category: the value of a categorical score, or empty.
        """
        if self.values:
            category_value = dict(self.values).get(category)
            return category_value, "" if category_value is not None else "unknown_category"
        if number is None or math.isnan(number):
            return None, "not_a_number"
        value = (number - self.worst) / (self.best - self.worst)
        return (value, "") if 0.0 <= value <= 1.0 else (None, "out_of_range")

    def as_entry(self) -> str | dict[str, Any]:
        """Return the same entry for a TOML table, without defaults."""
        entry: dict[str, Any] = {}
        if self.stream != self.name:
            entry["stream"] = self.stream
        if self.by != "reader":
            entry["by"] = self.by
        if (self.worst, self.best) != _DEFAULT_RANGE:
            entry["range"] = [self.worst, self.best]
        if self.values:
            entry["values"] = dict(self.values)
        if self.weight != 1:
            entry["weight"] = self.weight
        return entry if set(entry) != {"stream"} else self.stream


@dataclass(frozen=True)
class CountedScores:
    """The table of one author, sorted by name."""

    scores: tuple[CountedScore, ...] = ()

    def get(self, name: str) -> CountedScore | None:
        """Return the rules for scores of this name, or None if they do not count."""
        return next((score for score in self.scores if score.name == name), None)

    def as_table(self) -> dict[str, Any]:
        """Return the same settings as a TOML table."""
        return {score.name: score.as_entry() for score in self.scores}


NO_SCORES = CountedScores()


def read_scores(table: Mapping[str, Any]) -> CountedScores:
    """Read the table `[scores]`.

    Raises:
        ValueError: an entry is invalid; the message names it and the allowed values.
    """
    return CountedScores(tuple(_parse_entry(name, table[name]) for name in sorted(table)))


def _parse_entry(name: str, entry: object) -> CountedScore:
    if name in RESERVED_NAMES or name.startswith(RESERVED_PREFIX) or not name.strip():
        reserved_names = ", ".join((*RESERVED_NAMES, f"{RESERVED_PREFIX}…"))
        raise ValueError(
            f"{name!r} is one of the twin's own names ({reserved_names}), which always count"
        )
    if isinstance(entry, str):
        return CountedScore(name, _parse_stream(name, entry))
    if not isinstance(entry, Mapping):
        raise ValueError(
            f'{name} = {entry!r} is neither a stream ("thumbs") nor a table of '
            f"{', '.join(_ENTRY_KEYS)}"
        )
    fields = cast("Mapping[str, Any]", entry)
    unknown_keys = sorted(set(fields) - set(_ENTRY_KEYS))
    if unknown_keys:
        raise ValueError(f"{name}.{unknown_keys[0]} is not one of {', '.join(_ENTRY_KEYS)}")
    if "range" in fields and "values" in fields:
        raise ValueError(f"{name} has range (numbers) and values (categories): give only one")
    scored_by = fields.get("by", "reader")
    if scored_by not in get_args(ScoredBy):
        raise ValueError(f"{name}.by = {scored_by!r} is not one of {', '.join(get_args(ScoredBy))}")
    weight = fields.get("weight", 1)
    if type(weight) is not int or not 1 <= weight <= MAX_WEIGHT:
        raise ValueError(f"{name}.weight = {weight!r} is not a whole number from 1 to {MAX_WEIGHT}")
    if weight != 1 and scored_by != "annotator":
        raise ValueError(f'{name} has a weight without by = "annotator"')
    worst, best = _parse_range(name, fields.get("range", list(_DEFAULT_RANGE)))
    return CountedScore(
        name,
        _parse_stream(name, fields.get("stream", name)),
        cast("ScoredBy", scored_by),
        worst,
        best,
        _parse_values(name, fields["values"]) if "values" in fields else (),
        weight,
    )


def _parse_stream(name: str, stream: object) -> str:
    if not isinstance(stream, str) or not _STREAM.fullmatch(stream):
        raise ValueError(
            f"{name}: {stream!r} cannot name a stream: up to 60 letters, digits, '.', '_', '@', '-'"
        )
    return stream


def _parse_range(name: str, value: object) -> tuple[float, float]:
    bounds = cast("list[object]", value) if isinstance(value, list | tuple) else []
    numbers = [number for bound in bounds if (number := _parse_number(bound)) is not None]
    if len(bounds) != 2 or len(numbers) != 2 or numbers[0] == numbers[1]:
        raise ValueError(f"{name}.range = {value!r} is not [worst, best], as in [1, 5]")
    return numbers[0], numbers[1]


def _parse_values(name: str, raw: object) -> tuple[tuple[str, float], ...]:
    table = cast("dict[str, object]", raw) if isinstance(raw, dict) else {}
    numbers = {category: _parse_number(value) for category, value in sorted(table.items())}
    values = {
        key: number
        for key, number in numbers.items()
        if number is not None and 0.0 <= number <= 1.0
    }
    if not table or len(values) < len(table):
        raise ValueError(
            f"{name}.values = {raw!r} does not give each category a number from 0 to 1, as in "
            "{ good = 1, bad = 0 }"
        )
    return tuple(values.items())


def _parse_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
