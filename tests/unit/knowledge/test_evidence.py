"""Test which questions the evidence takes for questions about other subjects."""

from __future__ import annotations

from typing import Any

import pytest

from twin_resources.models.retrieval.search import (
    RetrievalQuery,
    measure_missing_words,
    rank_candidates,
)
from twin_resources.models.retrieval.stop_words import load_stop_words

TEXTS = ("Calculating what a repair costs\nI had dirty movements.", "One clock’s hands are cut.")
ROW: dict[str, Any] = {
    "chunk_id": "a", "document_id": "a", "title": "", "url": "", "published_at": None,
    "text": TEXTS[0], "token_count": 12, "position": 0, "start": 0, "end": len(TEXTS[0]),
    "fence": "", "cosine": 0.5, "lexical": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("question", "missing"),
    [
        ("Is a dirty movement bad?", 0.0),
        ("How do you calculate the cost of a repair?", 0.0),
        ("How do I calculate my pension?", 0.5),  # names what the posts do not
        ("Which clocks' hands, and which dial?", 1 / 3),
        ("What is it?", 0.0),
        ("Wie viel kostet eine Rente?", 0.0),  # in another language, its words tell nothing
        ("Kubernetes?", 0.0),
    ],
)
def test_words_that_stand_in_none_of_the_best_passages(question: str, missing: float) -> None:
    share = measure_missing_words(question, TEXTS, load_stop_words("en"))
    assert share == pytest.approx(missing)


def test_a_missing_word_and_more_posts_make_the_same_cosine_less_sure() -> None:
    def measure(question: str, row_count: int) -> float:
        return rank_candidates(
            RetrievalQuery(question),
            [ROW],
            row_count=row_count,
            stop_words=load_stop_words("en"),
            to_common_scale=float,
        )[0].evidence

    assert measure("How do I calculate it?", 1) == pytest.approx(0.446)
    assert measure("How do I calculate my pension?", 1) == pytest.approx(0.446 - 0.15 / 2)
    assert measure("How do I calculate it?", 3_000) < measure("How do I calculate it?", 100) - 0.05


def test_a_language_without_a_list_has_no_stop_words() -> None:
    assert load_stop_words("ja") == frozenset()
    assert "nicht" in load_stop_words("de")
