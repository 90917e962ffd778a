"""Test that near passages of the post that a page shows come first."""

from __future__ import annotations

import pytest

from twin_resources.models.retrieval.page_ranking import Page, rank_page_first
from twin_resources.models.retrieval.search import Passage

PLACE = "https://www.ann.example/2019/oil-once.html"
# Passages are named by their post; `far` is of the post on oil, and not near.
RANKED = [
    Passage(name, name[:3], title, url, None, f"What *{name}* says.", 1.0, 9, evidence=evidence)
    for name, title, url, evidence in (
        ("key", "Keys turn left", "https://ann.example/keys/", 0.4),
        ("oil-1", "On oil", PLACE, 0.3),
        ("bar", "On oil and bars", "", 0.2),
        ("wax", "On wax", "https://ann.example/?p=7", 0.2),
        ("oil-2", "On oil", PLACE, 0.1),
        ("oil-far", "On oil", PLACE, 0.04),
    )
]


@pytest.mark.parametrize(
    ("page", "answers", "first"),
    [
        # The address of the post, however its host and its end are written.
        (Page("http://ann.example/2019/oil-once/"), (), ["oil-1", "oil-2", "key", "bar"]),
        (Page("https://ann.example/2019/oil%2Donce"), (), ["oil-1", "oil-2", "key", "bar"]),
        (Page("https://ann.example/?p=7"), (), ["wax", "key"]),
        # Without it, the longest title of a post in the page's title.
        (Page("https://ann.example/a", "On oil and bars – Ann's bench"), (), ["bar", "key"]),
        # What the conversation has shown keeps its place.
        (Page(PLACE), ("> What oil-1 says.\n",), ["oil-2", "key", "oil-1"]),
        (Page("https://ann.example/", "Ann's bench"), (), ["key", "oil-1"]),
        (Page("https://[", "Oil"), (), ["key", "oil-1"]),
    ],
)
def test_near_passages_of_the_pages_post_come_first(
    page: Page, answers: tuple[str, ...], first: list[str]
) -> None:
    ranked = rank_page_first(RANKED, page, min_evidence=0.05, earlier_answers=answers)
    assert [passage.chunk_id for passage in ranked][: len(first)] == first
    assert ranked[-1].chunk_id == "oil-far"
    assert len(ranked) == len(RANKED)
