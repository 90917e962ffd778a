"""What kinds of personal data there are, and where one stands in a text.

Scope: the kinds and their placeholders, a span, joining spans that overlap.
Out of scope: finding them (one module a family of kinds), replacing (`redaction.py`).
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
"""In the order in which they name a passage that two of them claim: the surer shape first."""

_RANK = {kind: rank for rank, kind in enumerate(KINDS)}


@dataclass(frozen=True, slots=True)
class TextSpan:
    """`text[start:end]` is of this kind."""

    start: int
    end: int
    kind: Kind

    @property
    def placeholder(self) -> str:
        return f"[{self.kind}]"


def joined(spans: Iterable[TextSpan]) -> tuple[TextSpan, ...]:
    """Spans in the order of the text, none overlapping: those that did are one, of the surer kind.

    Joined, not dropped: what only the less sure one covers would otherwise stay in the text.
    """
    apart: list[TextSpan] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if apart and span.start < apart[-1].end:
            last = apart[-1]
            kind = last.kind if _RANK[last.kind] <= _RANK[span.kind] else span.kind
            apart[-1] = TextSpan(last.start, max(last.end, span.end), kind)
        else:
            apart.append(span)
    return tuple(apart)
