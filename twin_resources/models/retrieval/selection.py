"""Select the ranked passages to show, and their neighbors, within the token budget.

Scope: dividing the token budget among hits and their neighbors.
Out of scope: ranking and reading passages (`search.py`).

A chunk ends at its token limit, often in the middle of a thought. If enough tokens remain after the
hits, the passage after each hit is therefore also shown, and then the passage before it.
"""
# pyright: strict

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count, takewhile

from twin_resources.models.retrieval.search import Passage

MAX_PER_POST = 2
"""Maximum number of hits per post; a third hit could displace the right post."""


def select_hits(
    ranked_passages: Sequence[Passage], *, limit: int, token_budget: int
) -> list[Passage]:
    """Select the best passages that fit, with at most `MAX_PER_POST` from each post."""
    passages: list[Passage] = []
    hits_by_post: Counter[str] = Counter()
    remaining_tokens = token_budget
    for passage in ranked_passages:
        if (
            len(passages) < limit
            and passage.token_count <= remaining_tokens
            and hits_by_post[passage.document_id] < MAX_PER_POST
        ):
            passages.append(passage)
            hits_by_post[passage.document_id] += 1
            remaining_tokens -= passage.token_count
    return passages


def add_neighbors(
    hits: Sequence[Passage],
    neighbors_by_hit: Mapping[str, Sequence[Passage]],
    *,
    token_budget: int,
) -> tuple[Passage, ...]:
    """Add neighbors of the hits while tokens remain, starting with those of the best hit.

    Args:
        hits: hits within the budget, best first.
        neighbors_by_hit: neighbors by the hit's chunk id, best first.

    Returns:
        Runs of adjacent passages in the order of their post, starting with the best hit's run.
    """
    remaining_tokens = token_budget - sum(hit.token_count for hit in hits)
    passages_by_position = {(hit.document_id, hit.position): hit for hit in hits}
    for hit in hits:
        for passage in neighbors_by_hit.get(hit.chunk_id, ()):
            position = (passage.document_id, passage.position)
            if position not in passages_by_position and passage.token_count <= remaining_tokens:
                passages_by_position[position] = passage
                remaining_tokens -= passage.token_count
    return _group_adjacent(passages_by_position)


def _group_adjacent(selected_passages: Mapping[tuple[str, int], Passage]) -> tuple[Passage, ...]:
    """Order the passages so that each post's adjacent passages are together.

    Args:
        selected_passages: passages by document and position, best first.
    """
    grouped_passages: dict[tuple[str, int], Passage] = {}
    for document, position in selected_passages:
        first_position = next(
            i for i in count(position, -1) if (document, i - 1) not in selected_passages
        )
        run = takewhile(
            selected_passages.__contains__, ((document, i) for i in count(first_position))
        )
        grouped_passages.update((key, selected_passages[key]) for key in run)
    return tuple(grouped_passages.values())
