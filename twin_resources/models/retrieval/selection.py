"""Select the ranked passages that a prompt shows, within its token budget."""
# pyright: strict

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from twin_resources.models.retrieval.search import Passage

MAX_PER_POST = 2
"""Maximum number of hits per post; a third hit could displace the right post."""


def select_hits(
    ranked_passages: Sequence[Passage], *, limit: int, token_budget: int
) -> tuple[Passage, ...]:
    """Select the best passages that fit, with at most `MAX_PER_POST` from each post.

    Passages that continue one another stand together, in their post's order.
    """
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
    runs: list[list[Passage]] = []
    for passage in passages:
        for run in runs:
            if run[0].document_id == passage.document_id:
                if passage.position == run[-1].position + 1:
                    run.append(passage)
                    break
                if passage.position == run[0].position - 1:
                    run.insert(0, passage)
                    break
        else:
            runs.append([passage])
    return tuple(passage for run in runs for passage in run)
