"""Which of the ranked passages are shown, and what beside them: as much as the budget holds.

Scope: the order in which hits and their neighbours get their tokens.
Out of scope: ranking and reading (`search.py`).

A chunk ends where its limit ends, not where the thought does: what stands right after a hit in its
post, then right before it, is shown with it as far as hits leave tokens over.
"""
# pyright: strict

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count, takewhile

from twin_resources.models.retrieval.search import Passage

MAX_PER_POST = 2
"""Hits. What the prompt holds of the best post beyond them stands beside them; a third hit would
take the place of another post, and that may be the right one."""


def best_hits(ranked: Sequence[Passage], *, limit: int, token_budget: int) -> list[Passage]:
    """The best that fit together; one that does not fit, or is its post's third, is passed over."""
    passages: list[Passage] = []
    of_post: Counter[str] = Counter()
    left = token_budget
    for passage in ranked:
        if (
            len(passages) < limit
            and passage.token_count <= left
            and of_post[passage.document_id] < MAX_PER_POST
        ):
            passages.append(passage)
            of_post[passage.document_id] += 1
            left -= passage.token_count
    return passages


def with_neighbours(
    hits: Sequence[Passage], beside: Mapping[str, Sequence[Passage]], *, token_budget: int
) -> tuple[Passage, ...]:
    """Hits and, where tokens are left, their neighbours: those of the best hit first.

    Args:
        hits: best first, together within the budget.
        beside: neighbours by chunk id of the hit, the better first.

    Returns:
        Runs of passages that follow each other in one post, each in the post's order; the run of
        the best hit first.
    """
    left = token_budget - sum(hit.token_count for hit in hits)
    shown = {(hit.document_id, hit.position): hit for hit in hits}
    for hit in hits:
        for passage in beside.get(hit.chunk_id, ()):
            place = (passage.document_id, passage.position)
            if place not in shown and passage.token_count <= left:
                shown[place] = passage
                left -= passage.token_count
    return _in_runs(shown)


def _in_runs(shown: Mapping[tuple[str, int], Passage]) -> tuple[Passage, ...]:
    """The passages, each with what goes before and after it in its post.

    Args:
        shown: by document and position, best first.
    """
    order: dict[tuple[str, int], Passage] = {}
    for document, position in shown:
        first = next(at for at in count(position, -1) if (document, at - 1) not in shown)
        run = takewhile(shown.__contains__, ((document, at) for at in count(first)))
        order.update((place, shown[place]) for place in run)
    return tuple(order.values())
