"""Test that platform buttons and repeated lines are removed, and the author's words are kept."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_assets.corpus.boilerplate import (
    MIN_POSTS,
    find_lists_of_posts,
    find_repeated_lines,
    hash_lines,
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
    "| Share | Follow |",
    "Like most people, I own a clock.",
    "The post on the left is the taller one.",
    "About",
    "Continue reading the tape until it is blank, then rewind.",
]


@pytest.mark.parametrize("line", BUTTONS)
def test_buttons_are_platform_lines(line: str) -> None:
    text = f"It's a clock.\n\n{line}\n\nIt ticks."
    assert remove_platform_lines(text) == "It's a clock.\n\nIt ticks."


@pytest.mark.parametrize("line", [*AUTHOR_LINES, "```html\nShare\nSubscribe now\n```"])
def test_the_authors_lines_and_code_are_kept(line: str) -> None:
    text = f"It's a clock.\n\n{line}\n\nIt ticks."
    assert remove_platform_lines(text) == text


def find_repeated_hashes(texts: list[str]) -> frozenset[int]:
    lines = pl.Series([hash_lines(text) for text in texts], dtype=pl.List(pl.Int64))
    return frozenset(find_repeated_lines(lines).to_list())


FOOTER = "Ann builds clocks in Bern. Write to her, she reads it all."
LONG_FOOTER = "\n\n".join(
    f"{word} to Bern it is then" for word in ("On", "Off", "Up", "Down", "Home")
)
CODE = "```\nimport clocks as the_only_module_that_we_need_here_today\n```"
TABLE = "| name of the wheel | number of teeth that it has today |"
NUMERALS = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "thirteen", "fourteen", "fifteen", "sixteen"),
)
POSTS = [
    f"The {word} clock runs {word} times slower.\n\nNobody knows why {word} is {word}.\n\n"
    f"I shall ask {word} people about {word}."
    for word in NUMERALS
]
"""Posts that share no line."""


@pytest.mark.parametrize(
    ("before", "after", "count"),
    [
        ("", f"\n\n{FOOTER}", 8),
        (f"{FOOTER}\n\n", "", 8),
        # a heading without text below it is removed too
        ("", f"\n\n## About Ann\n\n{FOOTER}", 8),
        # a short line is removed only if it is everywhere
        ("", "\n\nEnjoy!", 16),
        # a footer that is longer than the number of last lines that are compared
        ("", f"\n\n{LONG_FOOTER}", 16),
    ],
)
def test_a_line_in_every_post_is_removed(before: str, after: str, count: int) -> None:
    texts = [f"{before}{post}{after}" for post in POSTS[:count]]
    repeated = find_repeated_hashes(texts)
    assert [remove_repeated_lines(text, repeated) for text in texts] == POSTS[:count]


def test_emphasis_marks_do_not_hide_a_repeated_line() -> None:
    texts = [
        f"{mark}My letter about clocks{mark}\n\n{post}"
        for mark, post in zip("*_*_*_*_", POSTS[:8], strict=True)
    ]
    repeated = find_repeated_hashes(texts)
    assert [remove_repeated_lines(text, repeated) for text in texts] == POSTS[:8]


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param([f"{post}\n\n{FOOTER}" for post in POSTS[: MIN_POSTS - 1]], id="four posts"),
        pytest.param(
            [f"{post}\n\nI ran {n + 3} km in {n * 5} minutes." for n, post in enumerate(POSTS)],
            id="lines with different numbers",
        ),
        pytest.param([POSTS[0]] * 6 + POSTS[2:8], id="copies of one post"),
        pytest.param(
            [f"Again, time {'now ' * n}:\n\n" + "\n\n".join(POSTS[:4]) for n in range(10)],
            id="reposts with a quarter of new text",
        ),
        pytest.param([f"{post}\n\nEnjoy!" for post in POSTS[:8]], id="a short line in few posts"),
        pytest.param([f"{CODE}\n\n{post}\n\n{TABLE}" for post in POSTS[:8]], id="code and tables"),
    ],
)
def test_no_line_of_the_author_counts_as_repeated(texts: list[str]) -> None:
    assert find_repeated_hashes(texts) == frozenset()


def find_listing_names(texts: dict[str, str]) -> set[str]:
    frame = pl.DataFrame({"document_id": list(texts), "lines": map(hash_lines, texts.values())})
    return find_lists_of_posts(frame)


PARAGRAPHS = [
    f"In {word} years the clock lost {word} hours.\n\n"
    f"Nobody in Bern knows why it was {word} of them."
    for word in NUMERALS
]
BODY = (
    "\n\nThe rest of post {0} is this {0}.\n\nIt says {0} things, and each of them takes {0} words "
    "to say."
)
LONG_POSTS = {f"post {n}": text + BODY.format(n) for n, text in enumerate(PARAGRAPHS[:8])}
SHORT_POSTS = {f"post {n}": text for n, text in enumerate(PARAGRAPHS[:8])}
NOTICES = "\n\n".join(
    f"The {word} notice of this letter is the same in each of them." for word in NUMERALS[:3]
)


@pytest.mark.parametrize("posts", [LONG_POSTS, SHORT_POSTS])
def test_a_page_that_lists_posts_is_no_post(posts: dict[str, str]) -> None:
    lists = {
        "all": PARAGRAPHS[:8],
        "page 2": PARAGRAPHS[4:8],
        "tag wood": PARAGRAPHS[:3],
        "tag brass": PARAGRAPHS[1:7:2],
        "tag iron": ["May 5, 2020", PARAGRAPHS[0], "May 6, 2020", *PARAGRAPHS[5:8]],
    }
    pages = {name: "\n\n".join(texts) for name, texts in lists.items()}
    assert find_listing_names(posts | pages) == set(lists)


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param({**SHORT_POSTS, "copy": PARAGRAPHS[0]}, id="posts and a copy of one"),
        pytest.param(
            {str(n): f"{post}\n\n{NOTICES}" for n, post in enumerate(PARAGRAPHS)},
            id="short letters with the same notices",
        ),
        pytest.param(
            {**LONG_POSTS, "roundup": "\n\n".join([*PARAGRAPHS[:3], *POSTS[:8]])},
            id="a post that quotes earlier ones",
        ),
    ],
)
def test_a_post_is_no_list(texts: dict[str, str]) -> None:
    assert find_listing_names(texts) == set()


def test_posts_that_stand_only_in_lists_stay_in_one_of_them() -> None:
    months = {f"month {n}": "\n\n".join(PARAGRAPHS[n : n + 4]) for n in (0, 4, 8, 12)}
    tags = {f"tag {n}": "\n\n".join(PARAGRAPHS[n::4]) for n in range(4)}
    lists = find_listing_names(months | tags)
    kept = "\n\n".join(text for name, text in (months | tags).items() if name not in lists)
    assert all(paragraph in kept for paragraph in PARAGRAPHS)


def test_only_long_lines_are_removed_from_the_middle() -> None:
    short_line = "Here is how it goes"
    long_line = "Buy my book about clocks, it is in every shop in Bern."
    texts = [
        "\n\n".join([post, short_line, long_line, post.replace(".", ", so.")]) for post in POSTS[:8]
    ]
    repeated = find_repeated_hashes(texts)
    assert [remove_repeated_lines(text, repeated) for text in texts] == [
        text.replace(f"{long_line}\n\n", "") for text in texts
    ]


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
