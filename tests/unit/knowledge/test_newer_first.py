"""Test when the newer of two passages stands before a better one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from twin_resources.models.retrieval.search import Passage, order_passages


def build_passage(name: str, day: str, score: float, evidence: float) -> Passage:
    published_at = datetime.fromisoformat(day).replace(tzinfo=UTC) if day else None
    return Passage(
        name, name, f"On {name} clocks", "", published_at, "", score, 50, evidence=evidence
    )


@pytest.mark.parametrize(
    ("question", "day", "score", "evidence", "is_first"),
    [
        ("Which oil?", "2020-05-01", 0.72, 0.5, True),
        ("Which oil?", "2020-05-01", 0.68, 0.5, False),  # less near
        ("Which oil?", "2020-05-01", 0.84, 0.3, False),  # as near, but not surely an answer
        ("Which oil?", "2016-01-01", 0.84, 0.5, False),  # months apart
        ("Which oil?", "2011-05-01", 0.84, 0.5, False),  # older
        ("Which oil?", "", 0.84, 0.5, False),
        ("What says “On old clocks”?", "2020-05-01", 0.84, 0.5, False),  # names the other post
        ("What do you say on old clocks?", "2020-05-01", 0.84, 0.5, True),  # names a subject
    ],
)
def test_the_newer_of_equally_near_passages_is_first(
    question: str, day: str, score: float, evidence: float, is_first: bool
) -> None:
    rows = [("old", "2015-05-01", 0.87, 0.6), ("far", "2021-05-01", 0.3, 0.1)]
    rows += [("newer", "2018-05-01", 0.75, 0.45)] * is_first
    passages = [build_passage(*row) for row in (*rows, ("other", day, score, evidence))]
    names = [passage.chunk_id for passage in order_passages(question, passages)]
    assert names == (["other", "old", "newer", "far"] if is_first else ["old", "other", "far"])
