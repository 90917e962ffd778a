"""Fuse the rankings of vector search and full-text search into one.

Scope: the scores that rank passages. Out of scope: the two searches (`search.py`),
recognizing titles in a question (`title_matching.py`).

Vector search has priority. Readers and posts use different words, so full-text search also finds
posts that share only the question's common words. With equal weights (Cormack, Clarke and Büttcher
2009, https://doi.org/10.1145/1571941.1572114), the fused ranking is worse than vector search alone.
Full-text search is reliable if the question contains a rare word, a name or a command. One post
then scores far above the others, and only that post's passages score by their full-text rank.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twin_resources.models.retrieval.title_matching import find_named_titles

RANK_CONSTANT = 60  # the published constant of reciprocal rank fusion
# Minimum ratio of a post's BM25 score to the next post's best score. On readers' tuning questions
# to the bundled authors, nDCG@10 is .823 at 1.3 to 1.5. Above 1.5, it is .819, the same as with
# vectors alone. At 1.1, it is .794; if full text always counts, it is .789. At 1.5, no author
# scores lower than with either search alone.
STANDOUT_RATIO = 1.5

Row = Mapping[str, Any]


def fuse_rankings(
    question: str, vector_rows: Sequence[Row], full_text_rows: Sequence[Row]
) -> list[tuple[Row, float]]:
    """Rank the rows of both searches by their scores, best first; the nearer vector breaks ties.

    A passage scores 1 / (60 + rank) for its rank in vector search. It also scores for its full-text
    rank if its post stands out there, and for its post's rank among the titles in the question. A
    question with a title uses the post's own words, so all full-text rows then count. Passages of a
    named post come first unless both searches rank them low.

    Args:
        vector_rows: rows of `search_vectors`, best first.
        full_text_rows: rows of `search_full_text`, best first, each with its `_score`.
    """
    rows = {row["chunk_id"]: row for row in (*full_text_rows, *vector_rows)}
    scores = dict.fromkeys(rows, 0.0)
    title_ranks = find_named_titles(question, [row["title"] or "" for row in rows.values()])
    for ranking in (
        vector_rows,
        full_text_rows if title_ranks else select_standout_rows(full_text_rows),
    ):
        for rank, row in enumerate(ranking, start=1):
            scores[row["chunk_id"]] += 1.0 / (RANK_CONSTANT + rank)
    for chunk_id, row in rows.items():
        if rank := title_ranks.get(row["title"] or ""):
            scores[chunk_id] += 1.0 / (RANK_CONSTANT + rank)
    vector_ranks = {row["chunk_id"]: rank for rank, row in enumerate(vector_rows)}
    order = sorted(
        scores,
        key=lambda chunk_id: (
            -scores[chunk_id],
            vector_ranks.get(chunk_id, len(vector_rows)),
            chunk_id,
        ),
    )
    return [(rows[chunk_id], scores[chunk_id]) for chunk_id in order]


def select_standout_rows(full_text_rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the post that scores far above all others, or [] if there is none.

    Args:
        full_text_rows: full-text rows, best first, with `document_id` and `_score` (BM25).
    """
    if not full_text_rows:
        return []
    post, best_score = full_text_rows[0]["document_id"], full_text_rows[0]["_score"]
    next_score = next((row["_score"] for row in full_text_rows if row["document_id"] != post), 0.0)
    if best_score < STANDOUT_RATIO * next_score:
        return []
    return [row for row in full_text_rows if row["document_id"] == post]
