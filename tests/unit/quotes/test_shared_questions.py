"""Test that the questions to the shared authors match their README."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.bench.questions.questions import (
    QUESTIONS_EACH,
    SHARED_AUTHORS,
    SharedQuestion,
    drawn_halves,
    drawn_posts,
    read_shared_questions,
)

PHRASE = 5  # words


def phrases(text: str) -> set[tuple[str, ...]]:
    """Return every run of `PHRASE` words, ignoring punctuation and case."""
    words = re.findall(r"\w+", text.casefold())
    return set(zip(*(words[start:] for start in range(PHRASE)), strict=False))


def find_copied_phrases(question: SharedQuestion, folder: Path) -> set[tuple[str, ...]]:
    """Return the question's phrases that occur in one of its posts."""
    post_phrases: set[tuple[str, ...]] = set()
    for post in question.posts:
        text = (folder / post).read_text(encoding="utf-8", errors="replace")
        post_phrases |= phrases(text) | phrases(Path(post).stem.replace("-", " "))
    return phrases(question.question) & post_phrases


@pytest.mark.parametrize("author", SHARED_AUTHORS)
def test_sixty_questions_are_in_two_halves(author: str) -> None:
    questions = read_shared_questions(author)
    assert len({question.id for question in questions}) == len(questions) == QUESTIONS_EACH == 60
    assert len({question.question for question in questions}) == len(questions)
    assert len({question.posts[0] for question in questions}) == len(questions)
    assert [question.half for question in questions] == drawn_halves(author)
    assert Counter(drawn_halves(author)) == {"tuned": 30, "held_out": 30}


@pytest.mark.parametrize("author", SHARED_AUTHORS)
def test_the_seed_determines_the_first_posts(author: str, shared_posts: Path) -> None:
    questions = read_shared_questions(author)
    first_posts = [question.posts[0] for question in questions]
    assert first_posts == drawn_posts(author, shared_posts / author)
    for question in questions:
        assert len(set(question.posts)) == len(question.posts), question.id
        for post in question.posts:
            assert (shared_posts / author / post).is_file(), (question.id, post)


@pytest.mark.parametrize("author", SHARED_AUTHORS)
def test_questions_contain_no_phrase_of_their_posts(author: str, shared_posts: Path) -> None:
    for question in read_shared_questions(author):
        assert not find_copied_phrases(question, shared_posts / author), question.id


def test_copied_phrases_are_found(tmp_path: Path) -> None:
    (tmp_path / "a-short-name.md").write_text("It is, as they say, a long Way home.", "utf-8")
    item = SharedQuestion("x-01", "x", "tuned", "Is that a long way home?", ("a-short-name.md",))
    assert not find_copied_phrases(item, tmp_path)
    item = SharedQuestion("x-02", "x", "tuned", "They say: a long way!", ("a-short-name.md",))
    assert find_copied_phrases(item, tmp_path) == {("they", "say", "a", "long", "way")}
