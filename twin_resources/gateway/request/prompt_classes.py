"""Classify a question; the detector and the router's table group questions by this class.

Scope: the rule and its class names.
Out of scope: the use of a class (`routing/`, the detector).

The rule is a list of patterns, and the first match wins. It takes microseconds, is readable, and
does not depend on a model. Changing it changes the meaning of a class, so every trace names
`CLASSIFIER`.
"""
# pyright: strict

from __future__ import annotations

import re

CLASSIFIER = "rules-2"  # 2: answers in JSON are a class

_RULES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "small_talk",
        re.compile(r"^\W*(hi|hello|hey|thanks|thank you|good (morning|evening))\b[\w\s]{0,20}\W*$"),
    ),
    (
        "how_to",
        re.compile(r"\b(how (do|can|should|would|to)|what is the best way|steps? to|show me)\b"),
    ),
    (
        "comparison",
        re.compile(
            r"\b(versus|vs\.?|compared? (to|with)|better than|difference between|rather than)\b"
        ),
    ),
    (
        "opinion",
        re.compile(
            r"\b(do you (think|like|prefer|use|recommend)|your (opinion|view|favou?rite|advice)"
            r"|should (i|we|one))\b"
        ),
    ),
    ("explanation", re.compile(r"^\W*(why|explain|what (is|are|does)|how (does|is|are|did))\b")),
    (
        "fact",
        re.compile(r"^\W*(when|where|who|which|is|are|does|did|was|were|have)\b"),
    ),
)

STRUCTURED = "structured"


def classify_question(question: str, *, is_structured: bool = False) -> str:
    """Return the class of a question: the class of a rule, `structured`, or `other`.

    Args:
        is_structured: whether the answer must be JSON. JSON is not prose and would lower the scores
            of a class of prose.
    """
    if is_structured:
        return STRUCTURED
    text = question.strip().lower()
    return next((name for name, pattern in _RULES if pattern.search(text)), "other")
