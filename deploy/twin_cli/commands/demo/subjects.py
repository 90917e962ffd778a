"""The rule of the demo's reader: does an answer name what was asked about, and say more?

Scope: what a question is about, and the score of an answer. Out of scope: asking
(`reader.py`), judges (`twin_resources/quality/judges`): gate and trial decide by embeddings, style
and shared passages, this rule counts words and knows none of them, nor which version answered.

A question is about those of its words that the author's own passage has as well and that are
neither usual in the author's passages nor in the questions (a third, a tenth of them). An answer
has full marks when it names two of them (one, where there is one) and says twelve further words:

    score = min(1, named / min(2, subjects)) · min(1, further / 12)

Words are compared by their first six letters, without a plural's s. The author's own passage names
all subjects by construction, so every question that has one can be answered.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NAMED_FOR_FULL_MARKS = 2
FURTHER_WORDS = 12
USUAL_IN_PASSAGES = 1 / 3  # "the", "and"; of 54 passages: in 18
USUAL_IN_QUESTIONS = 1 / 10  # "explain", "experience": words of the questions' patterns
MIN_LETTERS = 3
STEM_LETTERS = 6
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")


@dataclass(frozen=True)
class HeldOutQuestion:
    """A question that no model was trained on, and what it is about.

    Attributes:
        subjects: stems, at least one.
    """

    question: str
    subjects: frozenset[str]


def questions_with_subjects(pairs: Sequence[tuple[str, str]]) -> list[HeldOutQuestion]:
    """The questions that are about something the rule can find, each once, in the given order.

    Args:
        pairs: held-out questions with the author's own passage.
    """
    passage_of = dict(reversed(pairs))  # of a question that comes twice the first
    in_passages = Counter(stem for passage in passage_of.values() for stem in stems(passage))
    in_questions = Counter(stem for question in passage_of for stem in stems(question))
    rare = {
        stem
        for stem in in_questions
        if in_passages[stem] <= max(1, USUAL_IN_PASSAGES * len(passage_of))
        and in_questions[stem] <= max(1, USUAL_IN_QUESTIONS * len(passage_of))
    }
    about = {
        question: frozenset(stems(question) & stems(passage_of[question]) & rare)
        for question in dict.fromkeys(question for question, _ in pairs)
    }
    return [HeldOutQuestion(question, subjects) for question, subjects in about.items() if subjects]


def rated(asked: HeldOutQuestion, prose: str) -> float:
    """The score of what a model wrote, in [0, 1], four digits; 0 of nothing."""
    said = stems(prose)
    named = len(asked.subjects & said)
    further = len(said - stems(asked.question))
    enough = min(NAMED_FOR_FULL_MARKS, len(asked.subjects))
    return round(min(1.0, named / enough) * min(1.0, further / FURTHER_WORDS), 4)


def stems(text: str) -> set[str]:
    """The different words of a text as they are compared."""
    return set(_stems(_WORD.findall(text)))


def _stems(words: Iterable[str]) -> Iterable[str]:
    for word in words:
        plain = word.casefold().replace("’", "'").removesuffix("'s")
        if len(plain) >= MIN_LETTERS:
            yield (plain.removesuffix("s") if len(plain) > MIN_LETTERS else plain)[:STEM_LETTERS]
