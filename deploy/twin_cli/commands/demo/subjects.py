"""Score an answer for the demo: does it name the question's subject, and say more?

Scope: the subject of a question, and the score of an answer.
Out of scope: asking (`reader.py`), judges (`twin_resources/quality/judges`): gate and trial decide
by embeddings, style and shared passages. This rule counts words and uses none of those, nor the
answering version.

A question's subjects are its words that are also in the author's own passage and are not common,
neither in the author's passages (over a third of them) nor in the questions (over a tenth). An
answer has full marks if it names two subjects (or the only one) and has twelve further words:

    score = min(1, named / min(2, subjects)) · min(1, further / 12)

Words are compared by their first six letters, without a plural's s. The author's own passage names
all subjects by construction, so every question with a subject can be answered.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NAMED_FOR_FULL_MARKS = 2
FURTHER_WORDS = 12
USUAL_IN_PASSAGES = 1 / 3  # "the", "and"; 18 of 54 passages
USUAL_IN_QUESTIONS = 1 / 10  # "explain", "experience": words from the questions' patterns
MIN_LETTERS = 3
STEM_LETTERS = 6
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")


@dataclass(frozen=True)
class HeldOutQuestion:
    """A question on which no model was trained, and its subjects.

    Attributes:
        subjects: the stems of the subjects, at least one.
    """

    question: str
    subjects: frozenset[str]


def questions_with_subjects(pairs: Sequence[tuple[str, str]]) -> list[HeldOutQuestion]:
    """Return the questions with a subject that the rule can find, each once, in the given order.

    Args:
        pairs: the held-out questions with the author's own passages.
    """
    passage_of = dict(reversed(pairs))  # for a repeated question, the first passage
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
    """Return the score of a model's text, in [0, 1], to four digits; empty text scores 0."""
    said = stems(prose)
    named = len(asked.subjects & said)
    further = len(said - stems(asked.question))
    enough = min(NAMED_FOR_FULL_MARKS, len(asked.subjects))
    return round(min(1.0, named / enough) * min(1.0, further / FURTHER_WORDS), 4)


def stems(text: str) -> set[str]:
    """Return the distinct words of a text in the form in which they are compared."""
    return set(_stems(_WORD.findall(text)))


def _stems(words: Iterable[str]) -> Iterable[str]:
    for word in words:
        plain = word.casefold().replace("’", "'").removesuffix("'s")
        if len(plain) >= MIN_LETTERS:
            yield (plain.removesuffix("s") if len(plain) > MIN_LETTERS else plain)[:STEM_LETTERS]
