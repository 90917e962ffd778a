"""Define the kinds of personal data and their spans in a text.

Scope: the kinds and their placeholders, spans, and joining overlapping spans.
Out of scope: detection (one module per family of kinds), replacement (`redaction.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal[
    "private key",
    "key",
    "web token",
    "secret",
    "e-mail",
    "iban",
    "card",
    "ssn",
    "national id",
    "ip address",
    "phone",
    "address",
    "date of birth",
    "number plate",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""In order of precedence for overlapping spans: the more certain format comes first."""

_PRECEDENCE = {kind: rank for rank, kind in enumerate(KINDS)}


@dataclass(frozen=True, slots=True)
class TextSpan:
    """A span of this kind, `text[start:end]`."""

    start: int
    end: int
    kind: Kind

    @property
    def placeholder(self) -> str:
        return f"[{self.kind}]"


def merge_overlapping(spans: Iterable[TextSpan]) -> tuple[TextSpan, ...]:
    """Sort spans by position, and join overlapping spans into one of the more certain kind.

    They are joined so that no text of the less certain span remains.
    """
    merged: list[TextSpan] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if merged and span.start < merged[-1].end:
            last = merged[-1]
            kind = last.kind if _PRECEDENCE[last.kind] <= _PRECEDENCE[span.kind] else span.kind
            merged[-1] = TextSpan(last.start, max(last.end, span.end), kind)
        else:
            merged.append(span)
    return tuple(merged)
