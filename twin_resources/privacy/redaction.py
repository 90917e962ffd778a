"""Replace personal data and secrets in a text by the names of their kinds.
Scope: searching for every family of kinds, replacing, counting.
Out of scope: the formats (one module per family of kinds), the callers, names and places in
prose, which no pattern finds.

A placeholder names the kind and reveals nothing about the value: it has no digit, no hash, and no
number that links two occurrences. Nobody can reverse it, with or without a key.
Redacting redacted text changes nothing. The cost is linear in the length of the text.
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
from twin_resources.privacy.kinds import KINDS, TextSpan, merge_overlapping
from twin_resources.privacy.mail_addresses import find_mail_addresses
from twin_resources.privacy.national_ids import find_national_ids
from twin_resources.privacy.network_addresses import find_network_addresses
from twin_resources.privacy.payment import find_cards, find_ibans
from twin_resources.privacy.phones import find_phones, resolve_regions

PRIVACY_VERSION = "4"
"""Raise it with every change of the detection; tables of another version are rebuilt."""

_FIVE_DIGITS = re.compile(r"\d(?:[^\w\n]{0,3}[\dA-Z]){4}")


@dataclass(frozen=True, slots=True)
class RedactedText:
    """A text without personal data.

    Attributes:
        text: the redacted text; the same object as the input if nothing was found.
        counts: the number of replacements by kind; only kinds that occurred.
    """

    text: str
    counts: Mapping[str, int]


_NO_COUNTS: Mapping[str, int] = MappingProxyType({})


def redact(text: str, *, region: str = "") -> RedactedText:
    """Replace each piece of personal data and each secret by its placeholder (`[e-mail]` …).

    Args:
        region: where the writer lives, for the local formats of phone numbers and national ids:
            ISO 3166 alpha-2 (`DE`), a language tag (`de`, `de-CH`), or "" for anywhere.
    Returns:
        Text in which nothing is left to find; redacting it again changes nothing.
    """
    counts: Counter[str] = Counter()
    # A replacement changes the context of the text beside it; the second pass mostly finds nothing.
    while spans := find_personal_data(text, region=region):
        text = _replace_spans(text, spans, counts)
    if not counts:
        return RedactedText(text, _NO_COUNTS)
    return RedactedText(
        text, MappingProxyType({kind: counts[kind] for kind in KINDS if counts[kind]})
    )


def _replace_spans(text: str, spans: Iterable[TextSpan], counts: Counter[str]) -> str:
    pieces: list[str] = []
    end = 0
    for span in spans:
        pieces += (text[end : span.start], span.placeholder)
        counts[span.kind] += 1
        end = span.end
    return "".join((*pieces, text[end:]))


def find_personal_data(text: str, *, region: str = "") -> tuple[TextSpan, ...]:
    """Return the spans of personal data and secrets, sorted by position, without overlaps."""
    return merge_overlapping(_find_spans(text, region))


def _find_spans(text: str, region: str) -> Iterator[TextSpan]:
    yield from find_credentials(text)
    yield from find_assignments(text)
    yield from find_mail_addresses(text)
    yield from find_network_addresses(text)
    if _FIVE_DIGITS.search(text):  # most posts have no long number at all
        yield from find_ibans(text)
        yield from find_cards(text)
        yield from find_national_ids(text, regions=resolve_regions(region))
        yield from find_phones(text, region=region)


def redact_text(text: str) -> str:
    """Return only the redacted text, for a column of texts."""
    return redact(text).text


def redact_and_count(text: str) -> tuple[str, dict[str, int]]:
    """Return the redacted text and the number of replacements by kind."""
    redacted = redact(text)
    return redacted.text, dict(redacted.counts)
