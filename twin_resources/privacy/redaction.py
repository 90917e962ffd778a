"""Personal data and secrets in a text, each replaced by what it was.

Scope: looking with every family of kinds, replacing, counting.
Out of scope: the shapes (one module a family of kinds), who calls this, names and places in
prose: no pattern finds those.

A placeholder says the kind and nothing of the value: no digit, no hash, no number by which two
places could be told to hold the same one. So nobody can turn it back, with or without a key.
Redacted text has nothing left to find. The cost is linear in the text's length.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from twin_resources.privacy.assignments import find_assignments
from twin_resources.privacy.credentials import find_credentials
from twin_resources.privacy.kinds import KINDS, TextSpan, joined
from twin_resources.privacy.mail_addresses import find_mail_addresses
from twin_resources.privacy.national_ids import find_national_ids
from twin_resources.privacy.network_addresses import find_network_addresses
from twin_resources.privacy.payment import find_cards, find_ibans
from twin_resources.privacy.phones import find_phones, regions_of

PRIVACY_VERSION = "4"
"""Raise it with every change of what is found: tables made with another one are rebuilt."""

_FEW_DIGITS = re.compile(r"\d(?:[^\w\n]{0,3}[\dA-Z]){4}")


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text without personal data.

    Attributes:
        text: the very object that was given when nothing was found.
        counts: how many of each kind were replaced; kinds that occurred only.
    """

    text: str
    counts: Mapping[str, int]


_NOTHING: Mapping[str, int] = MappingProxyType({})


def redact(text: str, *, region: str = "") -> Redacted:
    """Replace each piece of personal data and each secret by its placeholder (`[e-mail]` …).

    Args:
        region: where the writer is at home, for phone numbers and national ids as they are written
            there: ISO 3166 alpha-2 (`DE`) or a language tag (`de`, `de-CH`); "": anywhere.

    Returns:
        Text in which nothing is left to find: redacting it again changes nothing.
    """
    counts: Counter[str] = Counter()
    # What stood next to a replaced place has other neighbours now; mostly the second look is empty.
    while spans := find_personal(text, region=region):
        text = _replaced(text, spans, counts)
    if not counts:
        return Redacted(text, _NOTHING)
    return Redacted(text, MappingProxyType({kind: counts[kind] for kind in KINDS if counts[kind]}))


def _replaced(text: str, spans: Iterable[TextSpan], counts: Counter[str]) -> str:
    pieces: list[str] = []
    end = 0
    for span in spans:
        pieces += (text[end : span.start], span.placeholder)
        counts[span.kind] += 1
        end = span.end
    return "".join((*pieces, text[end:]))


def find_personal(text: str, *, region: str = "") -> tuple[TextSpan, ...]:
    """Where personal data and secrets stand, in the order of the text; no two spans overlap."""
    return joined(_found(text, region))


def _found(text: str, region: str) -> Iterator[TextSpan]:
    yield from find_credentials(text)
    yield from find_assignments(text)
    yield from find_mail_addresses(text)
    yield from find_network_addresses(text)
    if _FEW_DIGITS.search(text):  # most posts have no long number at all
        yield from find_ibans(text)
        yield from find_cards(text)
        yield from find_national_ids(text, regions=regions_of(region))
        yield from find_phones(text, region=region)


def replace_personal(text: str) -> str:
    """`redact` for a column of texts: the text alone."""
    return redact(text).text


def count_personal(text: str) -> tuple[str, dict[str, int]]:
    """`redact` as a pair: the text, and how many of each kind were replaced."""
    redacted = redact(text)
    return redacted.text, dict(redacted.counts)
