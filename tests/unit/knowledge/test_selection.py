"""Test the selection and the order of the passages that are shown."""

from __future__ import annotations

from twin_resources.models.retrieval.search import Passage
from twin_resources.models.retrieval.selection import add_neighbours, select_hits


def passage(
    document: str, position: int, *, tokens: int = 100, title: str = "T", text: str = "text"
) -> Passage:
    name = f"{document}{position}"
    return Passage(name, document, title, "", None, text, 1.0, tokens, position)


def list_ids(passages: tuple[Passage, ...]) -> list[str]:
    return [passage.chunk_id for passage in passages]


def test_passages_beyond_the_budget_are_skipped() -> None:
    ranked = [passage("a", 0), passage("b", 0, tokens=250), passage("c", 0), passage("d", 0)]
    assert list_ids(tuple(select_hits(ranked, limit=4, token_budget=300))) == ["a0", "c0", "d0"]
    assert list_ids(tuple(select_hits(ranked, limit=2, token_budget=300))) == ["a0", "c0"]
    assert select_hits(ranked, limit=4, token_budget=99) == []


def test_a_post_has_at_most_two_hits() -> None:
    ranked = [*(passage("a", index) for index in (1, 5, 9)), passage("b", 0)]
    assert list_ids(tuple(select_hits(ranked, limit=3, token_budget=1000))) == ["a1", "a5", "b0"]


def test_passages_keep_the_order_of_their_post() -> None:
    hits = [passage("a", 5), passage("b", 2), passage("a", 4), passage("a", 9)]
    neighbours = {
        "a5": [passage("a", 6), passage("a", 4)],
        "b2": [passage("b", 3), passage("b", 1)],
    }
    passages = add_neighbours(hits, neighbours, token_budget=1000)
    assert list_ids(passages) == ["a4", "a5", "a6", "b1", "b2", "b3", "a9"]
    assert add_neighbours(hits, {}, token_budget=1000)[0] is hits[2], "a neighbour replaced the hit"


def test_neighbours_of_the_best_hits_fill_the_remaining_budget() -> None:
    hits = [passage("a", 5), passage("b", 2)]
    neighbours = {
        "a5": [passage("a", 6), passage("a", 4)],
        "b2": [passage("b", 3), passage("b", 1)],
    }
    assert list_ids(add_neighbours(hits, neighbours, token_budget=299)) == ["a5", "b2"]
    assert list_ids(add_neighbours(hits, neighbours, token_budget=300)) == ["a5", "a6", "b2"]
    assert list_ids(add_neighbours(hits, neighbours, token_budget=500)) == [
        "a4",
        "a5",
        "a6",
        "b2",
        "b3",
    ]
