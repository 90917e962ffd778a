"""Test finding titles in a question, and ignoring words that only resemble a title."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_resources.models.retrieval.title_matching import find_named_titles, normalize_words

TITLES = ["Emacs", "Emacs Lisp", "Emacs Lisp Macros", "The pupil", "Sleeping", "", "…", "火車站"]


@pytest.mark.parametrize(
    ("question", "titles"),
    [
        ("Can you tell me more about “The pupil”?", {"The pupil": 1}),
        ("what did you write about the PUPIL?", {"The pupil": 1}),
        ("The pupils of the school", {}),
        ("Which pupil, and the other?", {}),
        ("What do you think of emacs lisp macros", {"Emacs Lisp Macros": 1, "Emacs Lisp": 2}),
        ("Do you use Emacs?", {}),
        ("Emacs", {"Emacs": 1}),
        ("sleeping…", {"Sleeping": 1}),
        ("How well are you sleeping?", {}),
        ('What is "Sleeping" about?', {"Sleeping": 1}),
        ("„Sleeping“ und «Emacs»?", {"Sleeping": 1, "Emacs": 1}),
        ("「火車站」について何を書きましたか？", {"火車站": 1}),
        ("It's what you've slept, 'sleeping'", {}),
        ("", {}),
        ("?!", {}),
    ],
)
def test_titles_are_found_by_their_words_in_order(question: str, titles: dict[str, int]) -> None:
    assert find_named_titles(question, TITLES) == titles


def test_words_are_normalized() -> None:
    assert normalize_words(" C++ — and *Vim*: a Love/Hate story ") == "c and vim a love hate story"
    assert normalize_words("Straße") == normalize_words("STRASSE")


@given(title=st.text(max_size=60), before=st.text(max_size=20), after=st.text(max_size=20))
def test_a_title_of_two_words_is_found_anywhere_in_the_question(
    title: str, before: str, after: str
) -> None:
    titles = find_named_titles(f"{before} {title} {after}", [title])
    if " " in normalize_words(title):
        assert titles == {title: 1}
    elif not normalize_words(title):
        assert titles == {}
