"""Test that platform buttons and repeated lines are removed, and the author's words are kept."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_assets.corpus.boilerplate import (
    MIN_POSTS,
    find_repeated_lines,
    hash_lines,
    is_platform_line,
    remove_platform_lines,
    remove_repeated_lines,
)

BUTTONS = [
    "Open in app",
    "Sign up Sign in",
    "Member-only story",
    "5 min read",
    "5 min read · Jan 3, 2024",
    "Listen",
    "Share",
    "Listen Share More",
    "Follow",
    "Subscribe now",
    "Leave a comment",
    "Share this post",
    "Thanks for reading Clocks! Subscribe for free to receive new posts and support my work.",
    "Clocks is a reader-supported publication. To receive new posts and support my work, consider "
    "becoming a free or paid subscriber.",
    "This post is public so feel free to share it.",
    "**Share this:**",
    "Like Loading...",
    "- Click to share on X (Opens in new window) X",
    "The post On clocks appeared first on Workshop.",
    "*Originally published at https://a.example on May 1, 2020.*",
    "Report this post",
    "…see more",
    "Like Comment Share",
    "Powered by Ghost",
    "Get more from Ann Lee in the Substack app",
]
AUTHOR_LINES = [
    "Share what you know, and you will know it better.",
    "I listen to it every day.",
    "- Share",
    "Follow the wire to the left.",
    "It took 5 minutes to read the manual.",
    "Subscribe to nothing, that is my advice.",
    "## Share",
    "| Share | Follow |",
    "Like most people, I own a clock.",
    "The post on the left is the taller one.",
    "About",
    "Continue reading the tape until it is blank, then rewind.",
]


@pytest.mark.parametrize("line", BUTTONS)
def test_buttons_are_platform_lines(line: str) -> None:
    assert is_platform_line(line)
    text = f"It's a clock.\n\n{line}\n\nIt ticks."
    assert remove_platform_lines(text) == "It's a clock.\n\nIt ticks."


@pytest.mark.parametrize("line", AUTHOR_LINES)
def test_the_authors_lines_are_not_platform_lines(line: str) -> None:
    text = f"It's a clock.\n\n{line}\n\nIt ticks."
    if line != "## Share":
        assert not is_platform_line(line)
        assert remove_platform_lines(text) == text


def test_code_is_not_changed() -> None:
    text = "A page:\n\n```html\nShare\nSubscribe now\n```"
    assert remove_platform_lines(text) == text


def find_repeated_hashes(texts: list[str]) -> frozenset[int]:
    lines = pl.Series([hash_lines(text) for text in texts], dtype=pl.List(pl.Int64))
    return frozenset(find_repeated_lines(lines).to_list())


FOOTER = "Ann builds clocks in Bern. Write to her, she reads it all."


def build_distinct_posts(count: int) -> list[str]:
    """Build posts that share no line."""
    numerals = (
        *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
        *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
        *("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"),
    )
    return [
        f"The {word} clock runs {word} times slower.\n\nNobody knows why {word} is {word}.\n\n"
        f"I shall ask {word} people about {word}."
        for word in numerals[:count]
    ]


def test_a_line_under_every_post_is_removed() -> None:
    texts = build_distinct_posts(8)
    repeated = find_repeated_hashes([f"{text}\n\n{FOOTER}" for text in texts])
    assert len(repeated) == 1
    for text in texts:
        assert remove_repeated_lines(f"{text}\n\n{FOOTER}", repeated) == text
        assert remove_repeated_lines(f"{FOOTER}\n\n{text}", repeated) == text


def test_no_line_counts_as_repeated_in_fewer_than_five_posts() -> None:
    texts = [f"{text}\n\n{FOOTER}" for text in build_distinct_posts(MIN_POSTS - 1)]
    assert find_repeated_hashes(texts) == frozenset()


def test_emphasis_marks_do_not_hide_a_repeated_line() -> None:
    texts = [
        f"{mark}My letter about clocks{mark}\n\n{text}"
        for mark, text in zip("*_*_*_*_", build_distinct_posts(8), strict=True)
    ]
    repeated = find_repeated_hashes(texts)
    assert [remove_repeated_lines(text, repeated) for text in texts] == build_distinct_posts(8)


def test_lines_with_different_numbers_are_different_lines() -> None:
    texts = [
        f"{text}\n\nI ran {n + 3} kilometers in {5 * n + 20} minutes, and it was {n} degrees."
        for n, text in enumerate(build_distinct_posts(16))
    ]
    assert find_repeated_hashes(texts) == frozenset()


def test_no_line_counts_as_repeated_in_copies_of_one_post() -> None:
    texts = [build_distinct_posts(1)[0]] * 6 + build_distinct_posts(8)[2:]
    assert find_repeated_hashes(texts) == frozenset()


def test_a_short_line_is_removed_only_when_it_is_everywhere() -> None:
    texts = build_distinct_posts(8)
    assert find_repeated_hashes([f"{text}\n\nEnjoy!" for text in texts]) == frozenset()
    posts = [f"{text}\n\nEnjoy!" for text in build_distinct_posts(16)]
    assert len(find_repeated_hashes(posts)) == 1


def test_only_long_lines_are_removed_from_the_middle() -> None:
    short_line, long_line = (
        "Here is how it goes",
        "Buy my book about clocks, it is in every shop in Bern.",
    )
    texts = [
        "\n\n".join(
            [
                *(parts := text.split("\n\n")),
                short_line,
                long_line,
                f"{parts[0]} So.",
                f"{parts[1]} Then.",
                f"{parts[2]} End.",
            ]
        )
        for text in build_distinct_posts(8)
    ]
    repeated = find_repeated_hashes(texts)
    for text in texts:
        cleaned = remove_repeated_lines(text, repeated)
        assert short_line in cleaned
        assert long_line not in cleaned


def test_headings_stay_unless_nothing_is_left_below() -> None:
    texts = [f"## Notes\n\n{text}\n\n## About Ann\n\n{FOOTER}" for text in build_distinct_posts(8)]
    repeated = find_repeated_hashes(texts)
    assert remove_repeated_lines(texts[0], repeated) == f"## Notes\n\n{build_distinct_posts(1)[0]}"


def test_repeated_code_and_tables_stay() -> None:
    code = "```\nimport clocks as the_only_module_that_we_need_here_today\n```"
    table = "| name of the wheel | number of teeth that it has today |"
    texts = [f"{code}\n\n{text}\n\n{table}" for text in build_distinct_posts(8)]
    assert find_repeated_hashes(texts) == frozenset()


def test_a_footer_of_many_lines_is_removed_completely() -> None:
    """The footer is longer than the number of last lines that are compared."""
    footer = "\n\n".join(
        f"{word} to Bern it is then" for word in ("On", "Off", "Up", "Down", "Home")
    )
    texts = [f"{text}\n\n{footer}" for text in build_distinct_posts(16)]
    repeated = find_repeated_hashes(texts)
    assert [remove_repeated_lines(text, repeated) for text in texts] == build_distinct_posts(16)


def test_a_post_with_less_than_a_quarter_of_new_text_is_a_copy() -> None:
    """Ten reposts of a post do not count as ten posts with a common footer."""
    post = "\n\n".join(build_distinct_posts(4))
    reposts = [f"Again, for the {n}th time{' now' * n}:\n\n{post}" for n in range(10)]
    assert find_repeated_hashes(reposts) == frozenset()
    common_text = "\n\n".join(build_distinct_posts(1))
    posts = [f"{text}\n\n{common_text}" for text in build_distinct_posts(10)[1:]]
    assert len(find_repeated_hashes(posts)) == 3


lines = st.one_of(
    st.sampled_from([*BUTTONS, *AUTHOR_LINES, "```", FOOTER, "", "# A"]), st.text(max_size=30)
)


@pytest.mark.long
@given(st.lists(lines, max_size=30).map("\n".join))
def test_removing_lines_is_idempotent_and_adds_nothing(text: str) -> None:
    repeated = frozenset(hash_lines(FOOTER))
    remaining = remove_repeated_lines(remove_platform_lines(text), repeated)
    assert set(remaining.split("\n")) <= {*text.split("\n"), ""}
    assert remove_repeated_lines(remaining, repeated) == remaining
