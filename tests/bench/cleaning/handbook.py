"""The cleaning of the LLM Engineer's Handbook, written anew from its description: html2text, then
all but word characters and `.,!?` become spaces, then white space is collapsed.

Belongs here: this peer of the benchmark. Does not belong here: anything that the project uses.
Source: https://github.com/PacktPublishing/LLM-Engineers-Handbook (the behaviour, none of its code).
"""

from __future__ import annotations

import re

import html2text

_STRANGE = re.compile(r"[^\w\s.,!?]")
_SPACE = re.compile(r"\s+")


def clean(html: str) -> str:
    """HTML → one line of text."""
    return _SPACE.sub(" ", _STRANGE.sub(" ", html2text.html2text(html))).strip()
