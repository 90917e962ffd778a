"""Rank the passages for a follow-up, which is searched alone and with the turns before it.

    score(passage) = score alone + score with the turns before
                     - .3 if shown before + .15 if of the post that was quoted last

Of 19 follow-ups in the tuning conversations, 16 get a useful passage in the first place; 10 with
the better one of the two searches, and 12 without the two adjustments.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from twin_resources.models.retrieval.search import Passage, order_passages

SHOWN_PENALTY = 0.3  # .15 and .2 find one fewer of 19 in the first place, .5 three fewer
LAST_POST_BONUS = 0.15  # so does .1
_QUOTATION_MARKUP = re.compile(r"[>*\s]+")


def rank_follow_up(
    question: str, searches: Sequence[Sequence[Passage]], earlier_answers: tuple[str, ...]
) -> tuple[Passage, ...]:
    """Return the passages of all searches in one order, best first.

    Args:
        question: the newest turn; a post that it names by its title comes first.
        searches: the ranked passages of the search for the question alone, and of the search with
            the turns before it; only the first if both texts are the same.
        earlier_answers: the conversation's earlier answers, oldest first.

    Returns:
        Each passage with the sum of its scores, and the larger evidence. A search that did not find
        a passage counts as that search's lowest score.
    """
    alone, joined = searches[0], searches[-1]
    answers = [remove_quotation_markup(answer) for answer in earlier_answers]
    passages = {passage.chunk_id: passage for passage in [*joined, *alone]}
    texts = {
        chunk_id: remove_quotation_markup(passage.text) for chunk_id, passage in passages.items()
    }
    places = {
        passage.document_id: place
        for chunk_id, passage in reversed(passages.items())
        if answers and (place := answers[-1].find(texts[chunk_id])) >= 0
    }
    last_quoted = min(places, key=lambda document: places[document], default="")
    scored: list[Passage] = []
    for chunk_id, passage in passages.items():
        score, evidence = 0.0, 0.0
        for ranked in (alone, joined):
            found = {item.chunk_id: item for item in ranked}.get(chunk_id)
            score += found.score if found else min((item.score for item in ranked), default=0.0)
            evidence = max(evidence, found.evidence if found else 0.0)
        if any(texts[chunk_id] in answer for answer in answers):
            score -= SHOWN_PENALTY
        if passage.document_id == last_quoted:
            score += LAST_POST_BONUS
        scored.append(replace(passage, score=score, evidence=evidence))
    return tuple(order_passages(question, scored))


def remove_quotation_markup(text: str) -> str:
    """Replace quotation markup (`>`, asterisks) and white space with single spaces."""
    return _QUOTATION_MARKUP.sub(" ", text).strip()
