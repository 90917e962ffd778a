"""Select the ranked passages to show, and their neighbours, within the token budget.

Scope: the order in which hits and their neighbours are added.
Out of scope: ranking and reading (`search.py`).

A chunk ends at its token limit, which may be in the middle of an argument. If the budget allows it,
the passage after each hit is therefore also shown, and then the one before it.
"""
# pyright: strict

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count, takewhile

from twin_resources.models.retrieval.search import Passage

MAX_PER_POST = 2
"""Maximum number of hits in a post; a third hit could displace a more relevant post."""


def select_hits(ranked: Sequence[Passage], *, limit: int, token_budget: int) -> list[Passage]:
    """Select the best passages that fit the budget, at most `MAX_PER_POST` from one post."""
    passages: list[Passage] = []
    hits_by_post: Counter[str] = Counter()
    remaining_tokens = token_budget
    for passage in ranked:
        if (
            len(passages) < limit
            and passage.token_count <= remaining_tokens
            and hits_by_post[passage.document_id] < MAX_PER_POST
        ):
            passages.append(passage)
            hits_by_post[passage.document_id] += 1
            remaining_tokens -= passage.token_count
    return passages


def add_neighbours(
    hits: Sequence[Passage],
    neighbours_by_hit: Mapping[str, Sequence[Passage]],
    *,
    token_budget: int,
) -> tuple[Passage, ...]:
    """Add neighbours of the hits while tokens remain, starting with those of the best hit.

    Args:
        hits: hits within the budget, best first.
        neighbours_by_hit: neighbours by the hit's chunk id, best first.

    Returns:
        Runs of adjacent passages in a post's order, starting with the run of the best hit.
    """
    remaining_tokens = token_budget - sum(hit.token_count for hit in hits)
    selected_passages = {(hit.document_id, hit.position): hit for hit in hits}
    for hit in hits:
        for passage in neighbours_by_hit.get(hit.chunk_id, ()):
            position = (passage.document_id, passage.position)
            if position not in selected_passages and passage.token_count <= remaining_tokens:
                selected_passages[position] = passage
                remaining_tokens -= passage.token_count
    return _group_adjacent(selected_passages)


def _group_adjacent(selected: Mapping[tuple[str, int], Passage]) -> tuple[Passage, ...]:
    """Group adjacent passages of a post.

    Args:
        selected: passages by document and position, best first.
    """
    ordered_passages: dict[tuple[str, int], Passage] = {}
    for document_id, position in selected:
        first = next(
            index for index in count(position, -1) if (document_id, index - 1) not in selected
        )
        run = takewhile(selected.__contains__, ((document_id, index) for index in count(first)))
        ordered_passages.update((key, selected[key]) for key in run)
    return tuple(ordered_passages.values())
