"""Test the base's prompt that contains posts of the author."""

from __future__ import annotations

from twin_assets.evaluation.served.posts_in_prompt import (
    MAX_WORDS,
    add_posts_to_prompt,
    select_posts,
)
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, render
from twin_resources.quality.judges.judge_kind import TopicPair


def make_pair(document: int, word_count: int) -> TopicPair:
    return TopicPair(
        "A question?", " ".join(f"w{document}" for _ in range(word_count)), f"d{document}"
    )


def test_five_documents_contribute_their_longest_passages() -> None:
    pairs = [make_pair(document, count) for count in (20, 50, 30) for document in range(8)]

    posts = select_posts(pairs)

    assert [post.split()[0] for post in posts] == ["w0", "w1", "w2", "w3", "w4"]
    assert {len(post.split()) for post in posts} == {50}


def test_long_posts_are_cut() -> None:
    [post] = select_posts([make_pair(0, 1000)])

    assert len(post.split()) == MAX_WORDS


def test_questions_differ_only_after_the_posts() -> None:
    posts = ["First post.", "Second post."]
    first, second = (
        add_posts_to_prompt(render(DEFAULT_TEMPLATE, author_name="Ada", question=question), posts)
        for question in ("About clocks?", "About rivers?")
    )

    assert first[0] == second[0]
    assert first[0]["content"].startswith("You answer readers in the voice of Ada")
    assert first[0]["content"].index("First post.") < first[0]["content"].index("Second post.")
    assert first[1:] == [{"role": "user", "content": "Question: About clocks?"}]
    assert second[1:] != first[1:]
