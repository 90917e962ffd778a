"""What the nearest vectors and the best words count for: one ranking of both.

Scope: the scores by which passages are ranked. Out of scope: the two searches
(`search.py`), how titles are recognised in a question (`naming.py`).

Vectors lead. A reader asks in other words than the post's, and then full text finds the posts that
share the question's usual words: fused as equals (Cormack, Clarke and Büttcher 2009,
https://doi.org/10.1145/1571941.1572114) the two rank worse than vectors alone. Full text is right
where the question holds a rare word, a name or a command, and then its scores say so: one post
stands out in them. Only that post's passages get the points of their rank there.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twin_resources.models.retrieval.naming import named_in

RANK_CONSTANT = 60  # of reciprocal rank fusion, as published
# Times the next post's best BM25 score. On readers' tuned questions to the bundled authors nDCG@10
# is .823 from 1.3 to 1.5 and .819 above, as of vectors alone; at 1.1 .794, and .789 where all words
# count always. At 1.5 no author has less than by vectors alone or by words alone.
STANDS_OUT = 1.5

Row = Mapping[str, Any]


def fused(question: str, near: Sequence[Row], said: Sequence[Row]) -> list[tuple[Row, float]]:
    """Rows of either search with their scores, best first; of equally good ones the nearer vector.

    A passage gets 1 / (60 + rank) for its rank among vectors, among the words where its post stands
    out there, and among the posts that the question names by title. With a title in it a question
    is in the posts' own words, so all words count: the passages of a named post stand first unless
    both searches found them far behind.

    Args:
        near: rows of `nearest`, best first.
        said: rows of `by_words`, best first, each with its `_score`.
    """
    rows = {row["chunk_id"]: row for row in (*said, *near)}
    scores = dict.fromkeys(rows, 0.0)
    named = named_in(question, [row["title"] or "" for row in rows.values()])
    for ranked in (near, said if named else standing_out(said)):
        for rank, row in enumerate(ranked, start=1):
            scores[row["chunk_id"]] += 1.0 / (RANK_CONSTANT + rank)
    for chunk, row in rows.items():
        if rank := named.get(row["title"] or ""):
            scores[chunk] += 1.0 / (RANK_CONSTANT + rank)
    nearer = {row["chunk_id"]: rank for rank, row in enumerate(near)}
    order = sorted(scores, key=lambda chunk: (-scores[chunk], nearer.get(chunk, len(near)), chunk))
    return [(rows[chunk], scores[chunk]) for chunk in order]


def standing_out(said: Sequence[Row]) -> list[Row]:
    """The rows of the one post whose best score is well above every other post's; none: no such.

    Args:
        said: rows of full text, best first, with `document_id` and `_score` (BM25, from 0).
    """
    if not said:
        return []
    post, best = said[0]["document_id"], said[0]["_score"]
    other = next((row["_score"] for row in said if row["document_id"] != post), 0.0)
    if best < STANDS_OUT * other:
        return []
    return [row for row in said if row["document_id"] == post]
