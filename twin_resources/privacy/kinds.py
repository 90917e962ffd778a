"""Define the kinds of personal data and their spans in a text.

Scope: the kinds and their placeholders, spans, and merging overlapping spans.
Out of scope: detection (one module per group of kinds), replacement (`redaction.py`).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
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
"""All kinds in order of precedence for overlapping spans; more certain formats come first."""

_PRECEDENCE = {kind: rank for rank, kind in enumerate(KINDS)}


@dataclass(frozen=True, slots=True)
class TextSpan:
    """The span `text[start:end]` of personal data of one kind."""

    start: int
    end: int
    kind: Kind

    @property
    def placeholder(self) -> str:
        return f"[{self.kind}]"


def merge_overlapping(spans: Iterable[TextSpan]) -> tuple[TextSpan, ...]:
    """Sort spans by position, and merge overlapping spans into one of the more certain kind.

    The merged span covers both spans, so that no personal data remains.
    """
    merged_spans: list[TextSpan] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if merged_spans and span.start < merged_spans[-1].end:
            last = merged_spans[-1]
            kind = last.kind if _PRECEDENCE[last.kind] <= _PRECEDENCE[span.kind] else span.kind
            merged_spans[-1] = TextSpan(last.start, max(last.end, span.end), kind)
        else:
            merged_spans.append(span)
    return tuple(merged_spans)


def find_spans(
    pattern: re.Pattern[str], text: str, kind: Kind, *, group: int = 0
) -> Iterator[TextSpan]:
    """Yield the span of one group (by default, of the whole match) for every match."""
    return (TextSpan(*match.span(group), kind) for match in pattern.finditer(text))
