"""A thin safety check: topics that the author refuses, and things in an answer that look like
secrets.

Belongs here: the patterns and two pure functions; their findings become attributes of the trace.
Does not belong here: a judgement of meaning. This finds words and shapes, it does not understand
text: a paraphrase of a refused topic passes, and an answer with a finding is recorded, not
withheld.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

OUTPUT_PATTERNS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "email": re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.-]*[a-zA-Z]{2,}\b"),
        "phone": re.compile(r"(?<![\w+])\+\d{1,3}(?:[ .()/-]{1,2}\d{2,4}){2,5}(?!\w)"),
        "iban": re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"),
        "private_key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
        "api_key": re.compile(
            r"\b(?:sk-[\w-]{16,}|gh[pousr]_\w{20,}|AKIA[0-9A-Z]{16}|xox[baprs]-[\w-]{10,})"
        ),
        "json_web_token": re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"),
    }
)


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
    """Names of the patterns that occur in an answer; never the text that matched."""
    return tuple(name for name, pattern in OUTPUT_PATTERNS.items() if pattern.search(answer))
