"""Replace personal data and secrets in a text with the names of their kinds.

Scope: searching for all kinds, replacing, and counting.
Out of scope: the formats (one module per group of kinds), names and places in prose, which patterns
cannot find.

A placeholder states the kind and reveals nothing else about the value. It contains no digits, and
no hash or number that links two occurrences, so it cannot be reversed. Redacting redacted text
changes nothing. The cost is linear in the length of the text.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from twin_resources.privacy.assignments import find_assignments
from twin_resources.privacy.credentials import find_credentials
from twin_resources.privacy.ip_addresses import find_ip_addresses
from twin_resources.privacy.kinds import KINDS, TextSpan, merge_overlapping
from twin_resources.privacy.mail_addresses import find_mail_addresses
from twin_resources.privacy.national_ids import find_national_ids
from twin_resources.privacy.payment import find_cards, find_ibans
from twin_resources.privacy.phones import find_phones, resolve_regions

PRIVACY_VERSION = "7"
"""Increase this with every change to the detection; tables of other versions are rebuilt."""

_FIVE_DIGITS = re.compile(r"\d(?:[^\w\n]{0,3}[\dA-Z]){4}")


@dataclass(frozen=True, slots=True)
class RedactedText:
    """A text without personal data.

    Attributes:
        text: the redacted text; the same object as the input if nothing was found.
        counts: kind → the number of replacements; kinds that did not occur are omitted.
    """

    text: str
    counts: Mapping[str, int]


def redact(text: str, *, region: str = "") -> RedactedText:
    """Replace personal data and secrets with placeholders such as `[e-mail]`.

    Args:
        region: the writer's region, for local formats of phone numbers and national ids: an ISO
            3166 alpha-2 code (`DE`), a language tag (`de`, `de-CH`), or "" if unknown.

    Returns:
        The redacted text, which does not change if it is redacted again, and the counts.
    """
    counts: Counter[str] = Counter()
    # A replacement changes the context of adjacent text, so the search repeats. The second pass
    # rarely finds anything.
    while spans := find_personal_data(text, region=region):
        text = _replace_spans(text, spans, counts)
    return RedactedText(text, {kind: counts[kind] for kind in KINDS if counts[kind]})


def _replace_spans(text: str, spans: Iterable[TextSpan], counts: Counter[str]) -> str:
    pieces: list[str] = []
    end = 0
    for span in spans:
        pieces += (text[end : span.start], span.placeholder)
        counts[span.kind] += 1
        end = span.end
    return "".join((*pieces, text[end:]))


def find_personal_data(text: str, *, region: str = "") -> tuple[TextSpan, ...]:
    """Return the spans of personal data and secrets, sorted by position and without overlaps."""
    return merge_overlapping(_find_spans(text, region))


def _find_spans(text: str, region: str) -> Iterator[TextSpan]:
    yield from find_credentials(text)
    yield from find_assignments(text)
    yield from find_mail_addresses(text)
    yield from find_ip_addresses(text)
    if _FIVE_DIGITS.search(text):  # most posts contain no long number
        yield from find_ibans(text)
        yield from find_cards(text)
        yield from find_national_ids(text, regions=resolve_regions(region))
        yield from find_phones(text, region=region)


def redact_text(text: str) -> str:
    """Return the redacted text without counts, for use on a column of texts."""
    return redact(text).text
