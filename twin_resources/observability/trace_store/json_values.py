"""Convert values to and from the API's format: times, numbers, and metadata stored as text.

Scope: the wire format of one value, and flattening and parsing metadata.
Out of scope: the fields of observations and scores.
Source of the behavior: the public API of Langfuse 4.16.0, recorded in `langfuse-golden`.
"""
# pyright: strict

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from twin_resources.untrusted_json import parse_untrusted_json

MAX_SAFE_INTEGER = 2**53 - 1  # larger integers lose digits in JavaScript, so they stay text


def format_timestamp(milliseconds: int | None) -> str | None:
    """Convert Unix milliseconds to ISO 8601 (`2026-11-20T06:52:02.316Z`)."""
    if milliseconds is None:
        return None
    utc_time = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{utc_time:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def parse_timestamp_ms(text: str) -> int:
    """Convert ISO 8601 (UTC if no zone is given) to Unix milliseconds, rounded down.

    Raises:
        ValueError: the text is not a date, or its year in UTC is not one of 1 to 9999.
    """
    timestamp = datetime.fromisoformat(text.strip())
    if timestamp.tzinfo is None:
        timestamp = timestamp.replace(tzinfo=UTC)
    try:
        timestamp = timestamp.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} is no date in UTC") from error
    return math.floor(timestamp.timestamp() * 1000 + 1e-6)


def json_number(value: float) -> int | float:
    """Return a whole number as an integer (1.0 → 1), as JavaScript writes it in JSON."""
    return int(value) if float(value).is_integer() and abs(value) <= MAX_SAFE_INTEGER else value


def to_text(value: Any) -> str:
    """Return a string unchanged and any other value as compact JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def flatten(value: Mapping[str, Any], *, prefix: str = "") -> dict[str, str]:
    """Flatten nested objects to dotted names with text values.

    Lists become JSON; None and empty objects are omitted. If a dotted name repeats, its last value
    is kept.
    """
    flat_fields: dict[str, str] = {}
    for name, item in value.items():
        path = f"{prefix}.{name}" if prefix else name
        if isinstance(item, Mapping):
            flat_fields.update(flatten(cast(Mapping[str, Any], item), prefix=path))
        elif item is not None:
            flat_fields[path] = to_text(item)
    return flat_fields


def stringify_score_metadata(value: Any) -> dict[str, str]:
    """Map the names in a score's metadata to text. A value without a name is named `metadata`."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        entries = cast(Mapping[str, Any], value)
        return {str(name): to_text(item) for name, item in entries.items()}
    return {"metadata": to_text(value)}


def _parse_integer(digits: str) -> int | str:
    return int(digits) if abs(int(digits)) <= MAX_SAFE_INTEGER else digits


def _parse_float(digits: str) -> float | int | str:
    value = float(digits)
    # A double cannot represent more digits exactly, so a longer number stays text.
    significant_digits = digits.lstrip("+-").split("e")[0].split("E")[0].replace(".", "").strip("0")
    return json_number(value) if math.isfinite(value) and len(significant_digits) <= 15 else digits


def parse_stored_text(text: str) -> Any:
    """Return stored metadata as the API does: parsed if the text is JSON, else unchanged."""
    try:
        return parse_untrusted_json(text, parse_int=_parse_integer, parse_float=_parse_float)
    except ValueError:
        return text
