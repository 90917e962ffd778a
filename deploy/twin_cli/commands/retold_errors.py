"""Errors that another process worded for people, told on without wrapping them twice.

Belongs here: finding the sentence of a `TwinError` in an answer or a run's log.
Does not belong here: wording errors (`errors.py`).
"""
# pyright: strict

from __future__ import annotations

import re

from twin_resources.errors import TwinError

_SENTENCE = re.compile(
    r"Tried to (?P<tried>.+?)\. Found: (?P<found>.+?)\. Next: (?P<next_step>.+?)\.?\s*$", re.DOTALL
)


def retold(text: str) -> TwinError | None:
    """The error that `text` ends with; None when it holds no such sentence."""
    match = _SENTENCE.search(text)
    if match is None:
        return None
    return TwinError(match["tried"], found=match["found"], next_step=match["next_step"])
