"""Test what an answer says about its writer."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from twin_resources.authors import Author
from twin_resources.gateway.exchange.exchange import ShownForm, Writer, get_disclosure

ANN = Author("ann", "Ann Bell")


@pytest.mark.parametrize(
    ("writer", "shown_posts", "answer", "expected"),
    [
        ("tuned", True, "voice", "Written by a language model trained on Ann Bell's posts, not by"),
        ("untuned", True, "voice", "was shown some of Ann Bell's posts but not trained on them"),
        ("untuned", False, "voice", "not trained on Ann Bell's posts and was shown none of them"),
        ("paid", True, "voice", "another provider's language model that was shown some"),
        ("fixed", False, "voice", "A fixed sentence"),
        ("tuned", True, "quote", "Ann Bell's own sentences"),
        ("tuned", True, "quote_and_voice", "sentences are Ann Bell's own; the others were written"),
        ("untuned", True, "not_found", "found no answer in Ann Bell's posts"),
    ],
)
def test_each_kind_of_writer_has_its_own_disclosure(
    writer: Writer, shown_posts: bool, answer: ShownForm, expected: str
) -> None:
    assert expected in get_disclosure(ANN, writer=writer, has_passages=shown_posts, answer=answer)


def test_only_tuned_prose_is_described_as_trained_on_the_posts() -> None:
    for writer, shown, answer in product(get_args(Writer), (True, False), get_args(ShownForm)):
        text = get_disclosure(ANN, writer=writer, has_passages=shown, answer=answer)
        says_trained = "language model trained on Ann Bell's posts" in text
        assert says_trained == (writer == "tuned" and answer in {"voice", "quote_and_voice"})
        assert "Ann Bell" in text or writer == "fixed"
