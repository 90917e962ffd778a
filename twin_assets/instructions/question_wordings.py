"""Define the wordings of questions in each supported language.

Scope: the wordings, and the words that identify questions in a language. Out of scope: choosing
among the questions (`back_translation.py`).

A wording adds few words, because two questions in different splits that share 70 % of their words
count as one (`leakage.QUESTION_SIMILARITY_THRESHOLD`).
"""
# pyright: strict

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from twin_assets.corpus.shingles import split_words

WORDINGS_FILE = Path(__file__).with_name("question_wordings.toml")
_WORD_CLASSES = ("question_words", "referring_words", "first_person_words", "empty_headings")
_MAX_WORD_SIMILARITY = 0.7  # the value of `leakage.QUESTION_SIMILARITY_THRESHOLD`


@dataclass(frozen=True)
class QuestionWordings:
    """The wordings and closed word classes of one language.

    Attributes:
        title: wordings with `{title}`, in addition to those of `corpus.title_questions`.
        heading: wordings with `{heading}` and `{title}`.
        continuation: wording with `{opening}`, the first words of the answer.
        teacher_request: request to a teacher for a question, in this language, because a small
            model answers English requests in English.
        question_words: words that begin the author's own questions.
        referring_words: words that refer to earlier text.
        first_person_words: words that authors use for themselves.
        empty_headings: headings that name no subject.
    """

    title: tuple[str, ...]
    heading: tuple[str, ...]
    continuation: str
    teacher_request: str
    question_words: frozenset[str]
    referring_words: frozenset[str]
    first_person_words: frozenset[str]
    empty_headings: frozenset[str]


def _read_wordings() -> dict[str, QuestionWordings]:
    """Read the file, which stores each word class as one string."""
    documents = tomllib.loads(WORDINGS_FILE.read_text(encoding="utf-8"))
    return {
        language: QuestionWordings(
            title=tuple(document["title"]),
            heading=tuple(document["heading"]),
            continuation=document["continuation"],
            teacher_request=document["teacher_request"],
            **{name: frozenset(document[name].split()) for name in _WORD_CLASSES},
        )
        for language, document in documents.items()
    }


WORDINGS = _read_wordings()
_LANGUAGE_NEUTRAL_WORDINGS = QuestionWordings(
    title=("“{title}”?",),
    heading=("“{title}”: “{heading}”?",),
    continuation="“{opening}” …",
    teacher_request=WORDINGS["en"].teacher_request,
    **dict.fromkeys(_WORD_CLASSES, frozenset[str]()),
)
"""Wordings for unsupported languages: quoted text without a sentence around it."""


def find_wordings(language: str) -> QuestionWordings:
    """Return the wordings of an ISO 639-1 language; English for `und` and an empty code."""
    return WORDINGS.get("en" if language in {"", "und"} else language, _LANGUAGE_NEUTRAL_WORDINGS)


def is_distinctive(wording: str, **fields: str) -> bool:
    """Return whether different values make questions with this wording dissimilar.

    Args:
        fields: the values to insert into the wording.
    """
    wording_words = set(split_words(re.sub(r"\{\w+\}", " ", wording)))
    inserted_words = {word for value in fields.values() for word in split_words(value)}
    distinct_count = len(inserted_words - wording_words)
    return distinct_count > 0 and len(wording_words) < _MAX_WORD_SIMILARITY * (
        len(wording_words) + 2 * distinct_count
    )
