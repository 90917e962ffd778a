"""A thin safety check: topics that the author refuses, and things in an answer that look like
secrets.

Belongs here: two pure functions; their findings become attributes of the trace.
Does not belong here: the shapes of personal data and secrets (`privacy`), a judgement of meaning.
This finds words and shapes, it does not understand text: a paraphrase of a refused topic passes,
and an answer with a finding is recorded, not withheld.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from twin_resources.privacy import Kind, find_personal

# Not names and places: an answer is full of them, and no pattern finds them.
FINDINGS: Mapping[Kind, str] = MappingProxyType(
    {
        "private key": "private_key",
        "key": "api_key",
        "web token": "json_web_token",
        "secret": "secret",
        "e-mail": "email",
        "iban": "iban",
        "card": "card",
        "ssn": "ssn",
        "national id": "national_id",
        "ip address": "ip_address",
        "phone": "phone",
    }
)
"""Kind of `privacy` → its name in a trace; the names are compared over months, so they stay."""


def refused_topic(question: str, topics: Sequence[str]) -> str:
    """The first refused topic whose words stand in the question, or an empty string.

    A topic matches as a phrase, ignoring case, at word boundaries; a plural `s` is allowed.
    """
    for topic in topics:
        phrase = r"\s+".join(re.escape(word) for word in topic.split())
        if phrase and re.search(rf"(?<!\w){phrase}s?(?!\w)", question, re.IGNORECASE):
            return topic
    return ""


def declined(author_name: str, topic: str) -> str:
    """What a reader gets instead of an answer about a refused topic."""
    return f"{author_name} has asked that this twin does not speak about {topic}."


def findings(answer: str) -> tuple[str, ...]:
    """Names of what an answer holds, each once, in the order of `FINDINGS`; never the text."""
    kinds = {span.kind for span in find_personal(answer)}
    return tuple(name for kind, name in FINDINGS.items() if kind in kinds)
