"""Whether a question names a post by its title.

Scope: titles and questions as words, and which titles stand in a question, the longest
first. Out of scope: searching, and what being named counts for (`search.py`).

A title among many similar ones is lost in the ranks: of 940 short notes (jbranchaud-til) 7 % were
not found first by a question with their title, because another note on the same matter had the
words oftener or the nearer vector; so all but one are. Who writes a title out means that post.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# Single marks are apostrophes too often.
_QUOTED = re.compile(r"[“”„\"«»「『]([^“”„\"«»「」『』]+)[“”\"«»」』]")
_MIN_WORDS = 2  # "Sleeping" stands in many a question that is not about that post


def words_of(text: str) -> str:
    """The words of a text, small, in their order, one space between them."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def named_in(question: str, titles: Iterable[str]) -> Mapping[str, int]:
    """The titles that a question names, with their rank from 1; the one of most words is first.

    A title is named where all its words stand in the question together and in order, whatever marks
    and capitals are between; a title of one word only where it stands in quotation marks or is the
    whole question. Titles of as many words share a rank.
    """
    question_words = words_of(question)
    alone = {question_words} | {words_of(quoted) for quoted in _QUOTED.findall(question)}
    lengths: dict[str, int] = {}
    for title in dict.fromkeys(titles):
        words = words_of(title)
        length = words.count(" ") + 1
        if words and (
            words in alone or (length >= _MIN_WORDS and f" {words} " in f" {question_words} ")
        ):
            lengths[title] = length
    ranks = {length: rank for rank, length in enumerate(sorted({*lengths.values()})[::-1], start=1)}
    return {title: ranks[length] for title, length in lengths.items()}
