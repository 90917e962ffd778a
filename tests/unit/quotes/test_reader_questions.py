"""Test that the readers' questions match their README."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.bench.questions.questions import SAMPLES, authors, read_questions


def test_every_bundled_author_has_questions() -> None:
    assert authors() == sorted(path.parent.name for path in SAMPLES.glob("*/author.toml"))


@pytest.mark.parametrize("author", authors())
def test_kinds_and_halves(author: str) -> None:
    questions = read_questions(author)
    assert len({question.id for question in questions}) == len(questions) == 80
    kinds = Counter(question.kind for question in questions)
    assert kinds == {"own": 40, "near": 20, "foreign": 20}
    halves = Counter((question.kind, question.half) for question in questions)
    assert halves == {
        (kind, half): size // 2
        for kind, size in (("own", 40), ("near", 20), ("foreign", 20))
        for half in ("tuned", "held_out")
    }


@pytest.mark.parametrize("author", authors())
def test_answers_are_verbatim_in_the_posts(author: str) -> None:
    posts = {
        path.name: " ".join(path.read_text(encoding="utf-8").split())
        for path in (SAMPLES / author).rglob("*.md")
    }
    for question in read_questions(author):
        assert bool(question.answers) == (question.kind == "own"), question.id
        for post, sentence in question.answers:
            assert sentence in posts[post], (question.id, sentence)
