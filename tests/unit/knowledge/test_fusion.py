"""Test the ranking from vectors, words and titles named in the question."""

from __future__ import annotations

from typing import Any

from twin_resources.models.retrieval.fusion import (
    STANDOUT_RATIO,
    fuse_rankings,
    select_standout_rows,
)


def build_vector_rows(*names: str) -> list[dict[str, Any]]:
    """Return rows of a vector search; "a1" is passage 1 of post a, whose title is A."""
    return [{"chunk_id": name, "document_id": name[0], "title": name[0].upper()} for name in names]


def build_word_rows(**scores: float) -> list[dict[str, Any]]:
    """Return rows of a full-text search with their BM25 scores."""
    return [{**row, "_score": scores[row["chunk_id"]]} for row in build_vector_rows(*scores)]


def rank(question: str, *lists: list[dict[str, Any]]) -> list[str]:
    return [row["chunk_id"] for row, _ in fuse_rankings(question, *lists)]


def test_without_a_distinctive_post_only_vectors_decide() -> None:
    words = build_word_rows(c1=5.0, b1=4.9, a1=4.8, z1=4.7)
    assert rank("why?", build_vector_rows("a1", "b1", "c1"), words) == ["a1", "b1", "c1", "z1"]
    assert rank("why?", build_vector_rows("a1", "b1", "c1"), []) == ["a1", "b1", "c1"]


def test_only_a_post_with_distinctive_words_is_raised() -> None:
    words = build_word_rows(c1=10.0, b1=2.0, c2=1.9, z1=1.0)
    assert rank("why?", build_vector_rows("a1", "b1", "c1", "c2"), words) == [
        "c1",
        "c2",
        "a1",
        "b1",
        "z1",
    ]
    # A post found only by its words follows the nearest passage.
    assert rank("why?", build_vector_rows("a1", "b1"), build_word_rows(z1=9.0)) == [
        "a1",
        "z1",
        "b1",
    ]


def test_a_distinctive_post_leads_by_the_standout_ratio() -> None:
    chunk_ids = [
        row["chunk_id"]
        for row in select_standout_rows(build_word_rows(a1=STANDOUT_RATIO, b1=1.0, a2=0.5))
    ]
    assert chunk_ids == ["a1", "a2"]
    assert select_standout_rows(build_word_rows(a1=STANDOUT_RATIO - 0.01, b1=1.0)) == []
    # Passages of the same post are not competitors.
    assert len(select_standout_rows(build_word_rows(a1=2.0, a2=1.99, b1=1.0))) == 2
    assert select_standout_rows([]) == []


def test_a_post_named_in_the_question_ranks_first() -> None:
    rows = [{**row, "title": "The long wait"} for row in build_vector_rows("d1")]
    words = [
        *build_word_rows(b1=1.2),
        *({**row, "_score": 1.0} for row in rows),
        *build_word_rows(a1=0.9),
    ]
    ranking = rank("Tell me about the long wait", [*build_vector_rows("a1", "b1"), *rows], words)
    assert ranking == ["d1", "b1", "a1"]


def test_a_distinctive_post_does_not_displace_the_named_one() -> None:
    rows = [{**row, "title": "The long wait"} for row in build_vector_rows("d1")]
    vectors = [*build_vector_rows("a1"), *rows]
    words = [*build_word_rows(a1=9.0), *({**row, "_score": 1.0} for row in rows)]
    assert rank("Tell me about the long wait", vectors, words)[0] == "d1"
    assert rank("Tell me about waits", vectors, words)[0] == "a1"
