"""Test the order of the passages for a follow-up."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from twin_resources.models.retrieval.follow_ups import rank_follow_up
from twin_resources.models.retrieval.search import Passage


def build_search(scores: Mapping[str, float]) -> list[Passage]:
    """Return passages by score; a passage's name is its post's letter and its number in it."""
    return [
        Passage(
            name, name[0], f"On {name[0]} clocks", "", None, f"What passage {name} *says*\nof it.",
            score, 50, evidence=score,
        )
        for name, score in sorted(scores.items(), key=lambda item: -item[1])
    ]  # fmt: skip


def quote(*names: str) -> str:
    """Return an answer that quotes these passages."""
    return "\n\n".join(f"> What passage {name} *says*\n> of it.\n>\n> — a post" for name in names)


ALONE = {"a1": 0.5, "a2": 0.4, "b1": 0.3}


@pytest.mark.parametrize(
    ("question", "joined", "answers", "order"),
    [
        # The turn before names the subject, and the follow-up what about it.
        ("And in winter?", {"b1": 0.8, "a2": 0.6, "a1": 0.4}, (), ["b1", "a2", "a1"]),
        # A passage that one search did not find has that search's lowest score.
        ("And in winter?", {"c1": 0.7, "a1": 0.2}, (), ["c1", "a1", "a2", "b1"]),
        # What the reader has seen gives way to the rest of the post that was quoted last.
        ("And in winter?", {"a1": 0.5, "a2": 0.5, "b1": 0.75}, (quote("a1"),), ["a2", "b1", "a1"]),
        (
            "And in winter?",
            ALONE | {"b1": 0.5},
            (quote("a1"), quote("b1", "a2")),
            ["a1", "b1", "a2"],
        ),
        # A post that the follow-up names by its title comes first.
        ("What of “On b clocks”?", ALONE, (), ["b1", "a1", "a2"]),
    ],
)
def test_both_searches_and_the_earlier_answers_decide_the_order(
    question: str, joined: Mapping[str, float], answers: tuple[str, ...], order: list[str]
) -> None:
    ranked = rank_follow_up(question, [build_search(ALONE), build_search(joined)], answers)
    assert [passage.chunk_id for passage in ranked] == order


def test_the_better_search_is_the_evidence() -> None:
    ranked = rank_follow_up("Why?", [build_search({"a1": 0.2}), build_search({"a1": 0.6})], ())
    assert [passage.evidence for passage in ranked] == [0.6]
    assert rank_follow_up("Why?", [[], []], (quote("a1"),)) == ()
