"""Find the posts that a question names by their titles.

Scope: titles and questions as words, and the titles that a question contains, longest
first. Out of scope: searching, and the score of a named post (`fusion.py`).

Search alone ranks a title badly among many similar ones. For 7 % of 940 short notes
(jbranchaud-til) a question with the title did not find the note first, because another note had the
words more often or the nearer vector. With this rule it finds all but one.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# Single marks are apostrophes too often.
_QUOTED = re.compile(r"[“”„\"«»「『]([^“”„\"«»「」『』]+)[“”\"«»」』]")
_MIN_WORDS = 2  # "Sleeping" occurs in many questions that are not about that post


def normalize_words(text: str) -> str:
    """Return a text's words in order, case-folded and separated by single spaces."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def find_named_titles(question: str, titles: Iterable[str]) -> Mapping[str, int]:
    """Return the titles that a question names, with ranks from 1; the title of most words is first.

    A question names a title if it contains all its words together and in order, whatever the
    punctuation and capitals. A title of one word must be in quotation marks or be the whole
    question. Titles with the same number of words share a rank.
    """
    question_words = normalize_words(question)
    exact_phrases = {question_words} | {
        normalize_words(quoted) for quoted in _QUOTED.findall(question)
    }
    lengths: dict[str, int] = {}
    for title in dict.fromkeys(titles):
        words = normalize_words(title)
        length = words.count(" ") + 1
        if words and (
            words in exact_phrases
            or (length >= _MIN_WORDS and f" {words} " in f" {question_words} ")
        ):
            lengths[title] = length
    ranks = {length: rank for rank, length in enumerate(sorted({*lengths.values()})[::-1], start=1)}
    return {title: ranks[length] for title, length in lengths.items()}
