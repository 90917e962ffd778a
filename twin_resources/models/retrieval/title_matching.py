"""Find the posts that a question names by title.

Scope: normalizing titles and questions, and finding the titles in a question, longest first.
Out of scope: searching, and the score of a named post (`search.py`).

Search alone often ranks a named post below similar ones. For 7 % of 940 short notes
(jbranchaud-til), a question with the title did not find the note first. Another note contained the
words more often or had a nearer vector. With this rule, all notes except one are found first.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# Single quotation marks are omitted, because they are often apostrophes.
_QUOTED = re.compile(r"[“”„\"«»「『]([^“”„\"«»「」『』]+)[“”\"«»」』]")
_MIN_UNMISTAKABLE_WORDS = 4
_MIN_WORDS = 2  # many questions contain "Sleeping" without meaning the post with that title


def normalize_words(text: str) -> str:
    """Return the words of a text, case-folded and separated by single spaces."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def is_unmistakable_title(question: str, title: str) -> bool:
    """Return whether a question can only mean the post with this title.

    It is in quotation marks, is the whole question, or stands in it with at least four words.
    """
    words, question_words = normalize_words(title), normalize_words(question)
    phrases = {question_words, *map(normalize_words, _QUOTED.findall(question))}
    is_long = words.count(" ") + 1 >= _MIN_UNMISTAKABLE_WORDS
    return bool(words) and (words in phrases or (is_long and f" {words} " in f" {question_words} "))


def find_named_titles(question: str, titles: Iterable[str]) -> Mapping[str, int]:
    """Return the titles that a question names, with ranks from 1 by descending number of words.

    A question names a title if it contains all the title's words together and in order. Punctuation
    and capitals are ignored. A title of one word must be in quotation marks or be the whole
    question. Titles with the same number of words share a rank.
    """
    question_words = normalize_words(question)
    exact_phrases = {question_words} | {
        normalize_words(phrase) for phrase in _QUOTED.findall(question)
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
