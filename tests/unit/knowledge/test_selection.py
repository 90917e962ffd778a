"""Test the selection and order of the passages that are shown."""

from __future__ import annotations

from twin_resources.models.retrieval.search import Passage
from twin_resources.models.retrieval.selection import select_hits


def build_passage(
    document: str, position: int, *, token_count: int = 100, title: str = "T", text: str = "text"
) -> Passage:
    chunk_id = f"{document}{position}"
    return Passage(chunk_id, document, title, "", None, text, 1.0, token_count, position)


def list_ids(passages: tuple[Passage, ...]) -> list[str]:
    return [passage.chunk_id for passage in passages]


def test_passages_beyond_the_budget_are_skipped() -> None:
    passages = [
        build_passage("a", 0),
        build_passage("b", 0, token_count=250),
        build_passage("c", 0),
        build_passage("d", 0),
    ]
    assert list_ids(select_hits(passages, limit=4, token_budget=300)) == ["a0", "c0", "d0"]
    assert list_ids(select_hits(passages, limit=2, token_budget=300)) == ["a0", "c0"]
    assert select_hits(passages, limit=4, token_budget=99) == ()


def test_a_post_has_at_most_two_hits() -> None:
    passages = [*(build_passage("a", position) for position in (1, 5, 9)), build_passage("b", 0)]
    assert list_ids(select_hits(passages, limit=3, token_budget=1000)) == ["a1", "a5", "b0"]


def test_passages_that_continue_one_another_stand_together() -> None:
    passages = [
        build_passage("a", 5),
        build_passage("b", 2),
        build_passage("a", 4),
        build_passage("b", 9),
    ]
    selected = select_hits(passages, limit=6, token_budget=1000)
    assert list_ids(selected) == ["a4", "a5", "b2", "b9"]
