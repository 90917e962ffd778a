"""Score an answer for the demo: it should name the question's subject and add new words.

Scope: the subjects of a question, and the score of an answer.
Out of scope: asking (`reader.py`), and judges (`twin_resources/quality/judges`). The gate and the
trial decide by embeddings, style and shared passages. This rule uses none of those and does not
depend on the version. It only counts words.

A question's subjects are its words that also occur in the author's passage and are rare: they occur
in at most a third of the author's passages and a tenth of the questions. An answer gets the full
score if it names two subjects (or the only one) and has twelve new words, which are not in the
question:

    score = min(1, named / min(2, subjects)) · min(1, new / 12)

Words are compared by their first six letters, without a plural s. The author's own passage always
names all subjects, so every question with a subject can be answered.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SUBJECTS_FOR_FULL_SCORE = 2
NEW_WORDS_FOR_FULL_SCORE = 12
MAX_PASSAGE_SHARE = 1 / 3  # 18 of 54 passages; excludes "the" and "and"
MAX_QUESTION_SHARE = 1 / 10  # excludes words of question templates: "explain", "experience"
MIN_LETTERS = 3
STEM_LETTERS = 6
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")


@dataclass(frozen=True)
class HeldOutQuestion:
    """A question on which no model was trained, and its subjects.

    Attributes:
        subjects: stems of the subjects, at least one.
    """

    question: str
    subjects: frozenset[str]


def select_questions_with_subjects(pairs: Sequence[tuple[str, str]]) -> list[HeldOutQuestion]:
    """Return the distinct questions that have a subject, in their original order.

    Args:
        pairs: held-out questions with the author's own passages.
    """
    passage_by_question = dict(reversed(pairs))  # for a repeated question, the first passage
    passage_counts = Counter(
        stem for passage in passage_by_question.values() for stem in extract_stems(passage)
    )
    question_counts = Counter(
        stem for question in passage_by_question for stem in extract_stems(question)
    )
    rare_stems = {
        stem
        for stem in question_counts
        if passage_counts[stem] <= max(1, MAX_PASSAGE_SHARE * len(passage_by_question))
        and question_counts[stem] <= max(1, MAX_QUESTION_SHARE * len(passage_by_question))
    }
    subjects_by_question = {
        question: frozenset(
            extract_stems(question) & extract_stems(passage_by_question[question]) & rare_stems
        )
        for question in dict.fromkeys(question for question, _ in pairs)
    }
    return [
        HeldOutQuestion(question, subjects)
        for question, subjects in subjects_by_question.items()
        if subjects
    ]


def score_answer(held_out_question: HeldOutQuestion, prose: str) -> float:
    """Return the score of a model's text in [0, 1], rounded to four digits; empty text scores 0."""
    answer_stems = extract_stems(prose)
    named_count = len(held_out_question.subjects & answer_stems)
    new_word_count = len(answer_stems - extract_stems(held_out_question.question))
    required_count = min(SUBJECTS_FOR_FULL_SCORE, len(held_out_question.subjects))
    return round(
        min(1.0, named_count / required_count)
        * min(1.0, new_word_count / NEW_WORDS_FOR_FULL_SCORE),
        4,
    )


def extract_stems(text: str) -> set[str]:
    """Return the stems of a text's words."""
    return set(_stem_words(_WORD.findall(text)))


def _stem_words(words: Iterable[str]) -> Iterable[str]:
    for word in words:
        normalized = word.casefold().replace("’", "'").removesuffix("'s")
        if len(normalized) >= MIN_LETTERS:
            yield (normalized.removesuffix("s") if len(normalized) > MIN_LETTERS else normalized)[
                :STEM_LETTERS
            ]
