"""Test the selection and order of the passages that are shown."""

from __future__ import annotations

from twin_resources.models.retrieval.search import Passage
from twin_resources.models.retrieval.selection import add_neighbors, select_hits


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
    assert list_ids(tuple(select_hits(passages, limit=4, token_budget=300))) == ["a0", "c0", "d0"]
    assert list_ids(tuple(select_hits(passages, limit=2, token_budget=300))) == ["a0", "c0"]
    assert select_hits(passages, limit=4, token_budget=99) == []


def test_a_post_has_at_most_two_hits() -> None:
    passages = [*(build_passage("a", position) for position in (1, 5, 9)), build_passage("b", 0)]
    assert list_ids(tuple(select_hits(passages, limit=3, token_budget=1000))) == ["a1", "a5", "b0"]


def test_passages_keep_the_order_of_their_post() -> None:
    hits = [
        build_passage("a", 5),
        build_passage("b", 2),
        build_passage("a", 4),
        build_passage("a", 9),
    ]
    neighbors = {
        "a5": [build_passage("a", 6), build_passage("a", 4)],
        "b2": [build_passage("b", 3), build_passage("b", 1)],
    }
    passages = add_neighbors(hits, neighbors, token_budget=1000)
    assert list_ids(passages) == ["a4", "a5", "a6", "b1", "b2", "b3", "a9"]
    assert add_neighbors(hits, {}, token_budget=1000)[0] is hits[2], "a neighbor replaced the hit"


def test_neighbors_of_the_best_hits_fill_the_remaining_budget() -> None:
    hits = [build_passage("a", 5), build_passage("b", 2)]
    neighbors = {
        "a5": [build_passage("a", 6), build_passage("a", 4)],
        "b2": [build_passage("b", 3), build_passage("b", 1)],
    }
    assert list_ids(add_neighbors(hits, neighbors, token_budget=299)) == ["a5", "b2"]
    assert list_ids(add_neighbors(hits, neighbors, token_budget=300)) == ["a5", "a6", "b2"]
    assert list_ids(add_neighbors(hits, neighbors, token_budget=500)) == [
        "a4",
        "a5",
        "a6",
        "b2",
        "b3",
    ]
