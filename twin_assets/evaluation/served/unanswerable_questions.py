"""Questions that no post can answer, for which nothing is retrieved.

Belongs here: the bundled questions. Does not belong here: recognising that an answer declines
(`judged/grounding.py`).
"""
# pyright: strict

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

QUESTIONS = Path(__file__).with_name("unanswerable_questions.json")


@cache
def unanswerable_questions() -> tuple[str, ...]:
    """Questions about a writer's private life and about the future that no post answers."""
    return tuple(json.loads(QUESTIONS.read_text("utf-8")))
