"""Test which sentence of a quoted passage is marked as the answer."""

from __future__ import annotations

import numpy as np
import pytest

from twin_resources.models.quotes.quoter import _find_answering_sentence

ANSWER = "A latch blocks until another thread releases it."


@pytest.mark.parametrize(
    "nearer_sentence",
    ["https://example.org/a-latch-in-emacs-lisp", "This is how a latch works in Emacs Lisp today:"],
)
def test_neither_an_address_nor_an_announcement_is_marked(nearer_sentence: str) -> None:
    text, offset = f"{ANSWER}\n{nearer_sentence}", 7
    end = offset + len(ANSWER)
    spans = (
        {"start": offset, "end": end, "first_token": 0, "end_token": 1},
        {"start": end + 1, "end": offset + len(text), "first_token": 1, "end_token": 2},
    )
    row = {"text": text, "start": offset, "sentences": spans}
    assert _find_answering_sentence(row, np.array([[0.1, 0.9]])) == (offset, end)
