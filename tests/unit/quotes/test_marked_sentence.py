"""Which sentence of a quoted passage is marked as the answer."""

from __future__ import annotations

import numpy as np

from twin_resources.models.quotes.quoter import _answering_sentence


def test_an_address_is_never_marked_although_its_words_match_best() -> None:
    text = (
        "A latch blocks until another thread releases it.\nhttps://example.org/elisp-latch-in-emacs"
    )
    prose_end = text.index("\n")
    spans = (
        {"start": 7, "end": 7 + prose_end, "first_token": 0, "end_token": 1},
        {"start": 8 + prose_end, "end": 7 + len(text), "first_token": 1, "end_token": 2},
    )
    row = {"text": text, "start": 7, "sentences": spans}
    assert _answering_sentence(row, np.array([[0.1, 0.9]])) == (7, 7 + prose_end)
