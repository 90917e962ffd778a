"""Test the selection and the order of the passages that are shown."""

from __future__ import annotations

from twin_resources.models.retrieval.search import Passage
from twin_resources.models.retrieval.selection import add_neighbours, select_hits


def make_passage(
    document: str, position: int, *, tokens: int = 100, title: str = "T", text: str = "text"
) -> Passage:
    name = f"{document}{position}"
    return Passage(name, document, title, "", None, text, 1.0, tokens, position)


def list_ids(passages: tuple[Passage, ...]) -> list[str]:
    return [passage.chunk_id for passage in passages]


def test_passages_beyond_the_budget_are_skipped() -> None:
    ranked = [
        make_passage("a", 0),
        make_passage("b", 0, tokens=250),
        make_passage("c", 0),
        make_passage("d", 0),
    ]
    assert list_ids(tuple(select_hits(ranked, limit=4, token_budget=300))) == ["a0", "c0", "d0"]
    assert list_ids(tuple(select_hits(ranked, limit=2, token_budget=300))) == ["a0", "c0"]
    assert select_hits(ranked, limit=4, token_budget=99) == []


def test_a_post_has_at_most_two_hits() -> None:
    ranked = [*(make_passage("a", index) for index in (1, 5, 9)), make_passage("b", 0)]
    assert list_ids(tuple(select_hits(ranked, limit=3, token_budget=1000))) == ["a1", "a5", "b0"]


def test_passages_keep_the_order_of_their_post() -> None:
    hits = [make_passage("a", 5), make_passage("b", 2), make_passage("a", 4), make_passage("a", 9)]
    neighbours = {
        "a5": [make_passage("a", 6), make_passage("a", 4)],
        "b2": [make_passage("b", 3), make_passage("b", 1)],
    }
    passages = add_neighbours(hits, neighbours, token_budget=1000)
    assert list_ids(passages) == ["a4", "a5", "a6", "b1", "b2", "b3", "a9"]
    assert add_neighbours(hits, {}, token_budget=1000)[0] is hits[2], "a neighbour replaced the hit"


def test_neighbours_of_the_best_hits_fill_the_remaining_budget() -> None:
    hits = [make_passage("a", 5), make_passage("b", 2)]
    neighbours = {
        "a5": [make_passage("a", 6), make_passage("a", 4)],
        "b2": [make_passage("b", 3), make_passage("b", 1)],
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
