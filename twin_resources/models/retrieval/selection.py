"""Which of the ranked passages are shown, and what beside them: as much as the budget holds.

Belongs here: the order in which hits and their neighbours get their tokens.
Does not belong here: ranking and reading (`search.py`).

A chunk ends where the embedder's limit ends, not where the thought does: what stands right after a
hit in its post, then right before it, is shown with it as far as hits leave tokens over.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twin_resources.models.retrieval.search import Passage


def best_hits(ranked: Sequence[Passage], *, limit: int, token_budget: int) -> list[Passage]:
    """The best that fit together; one that does not fit is passed over for the next best."""
    passages: list[Passage] = []
    left = token_budget
    for passage in ranked:
        if len(passages) < limit and passage.token_count <= left:
            passages.append(passage)
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
        Best hit first, each followed by its own neighbours.
    """
    left = token_budget - sum(hit.token_count for hit in hits)
    shown = {hit.chunk_id for hit in hits}
    order: list[Passage] = []
    for hit in hits:
        order.append(hit)
        for passage in beside.get(hit.chunk_id, ()):
            if passage.chunk_id not in shown and passage.token_count <= left:
                order.append(passage)
                shown.add(passage.chunk_id)
                left -= passage.token_count
    return tuple(order)
