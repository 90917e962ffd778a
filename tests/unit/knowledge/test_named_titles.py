"""Which titles are asked about, and how many of the answers must be right."""

from __future__ import annotations

import pytest

from twin_assets.knowledge.named_titles import (
    MAX_QUESTIONS,
    MIN_FOUND_FIRST_SHARE,
    TitleSearchResult,
    count_found_first,
    make_title_questions,
)


def test_titles_of_the_same_words_are_one_and_nameless_posts_have_none() -> None:
    named = make_title_questions(["The Heap", "the heap!", "On bread", "", "…"])
    assert set(named) == {"the heap", "on bread"}
    assert named["on bread"] == "Can you tell me more about “On bread”?"
    assert make_title_questions(["Über Brot"], language="de")["über brot"].startswith("Was ")


def test_many_titles_are_a_sample_that_stays_while_posts_are_added() -> None:
    titles = [f"Post number {number}" for number in range(5_000)]
    named = make_title_questions(titles)
    assert len(named) == MAX_QUESTIONS
    more = make_title_questions([*titles, *(f"Later {number}" for number in range(50))])
    assert len(named.keys() & more.keys()) > 0.9 * MAX_QUESTIONS


def test_a_post_of_the_same_title_is_as_good_and_another_one_is_not() -> None:
    named = make_title_questions(["The heap", "On bread", "Rivers"])
    found = count_found_first(
        named,
        {
            "the heap": ("The Heap", "copy"),
            "on bread": ("The heap", "d1"),
            "rivers": ("Rivers", "r"),
        },
    )
    assert (found.found_first_count, found.missed) == (2, ("d1",))
    assert found.metadata()["found_instead"] == ["d1"]


@pytest.mark.parametrize(
    ("asked", "first", "holds"),
    [
        (0, 0, True),  # posts without titles
        (1, 1, True),
        (1, 0, False),
        (2, 1, True),  # 3 % of so few is none: one miss is allowed
        (2, 0, False),
        (30, 28, False),
        (40, 39, True),
        (40, 38, False),
        (100, 97, True),
        (100, 96, False),
        (150, 146, True),
        (150, 145, False),
    ],
)
def test_three_in_a_hundred_may_be_missed(asked: int, first: int, holds: bool) -> None:
    found = TitleSearchResult(asked, first)
    assert found.passes is holds
    assert found.metadata()["least_share"] == MIN_FOUND_FIRST_SHARE
