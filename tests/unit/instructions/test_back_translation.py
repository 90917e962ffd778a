"""Test questions written from titles, headings and the author's own sentences."""

from __future__ import annotations

import re

import pytest

from twin_assets.corpus.shingles import jaccard, split_words
from twin_assets.instructions.answer_passages import AnswerPassage, find_passages
from twin_assets.instructions.back_translation import (
    Instruction,
    is_fluent_question,
    write_questions,
)
from twin_assets.instructions.leakage import QUESTION_SIMILARITY_THRESHOLD
from twin_assets.instructions.question_wordings import WORDINGS, find_wordings, is_distinctive

TEXT = """# Keeping a sourdough starter

A sourdough starter wants flour, water and patience. The starter lives in a glass jar on the
kitchen shelf, and the jar wants a loose lid, since the yeast makes gas all night long. I feed
the starter every morning before the coffee is ready, and when I forget it for a day it forgives
me, as long as the kitchen is warm and the flour in the bowl is the dark kind from the mill.

## The oven

My oven is an old gas oven with a weak bottom heat. A pizza stone helps, because the stone keeps
its heat while the oven door stands open, and the crust of the loaf becomes darker. I preheat the
pizza stone for an hour, which sounds like a waste and is not, since the loaf needs the heat from
below in its first minutes more than it needs anything else that I could do for it.

The loaf goes in with a bowl of boiling water below it. Steam keeps the crust soft during the
first ten minutes, so that the loaf can rise before the crust sets. After that I take the bowl of
water out and turn the gas down a little, and I leave the loaf alone until the crust has the
color of chestnuts and the bottom of the loaf sounds hollow.
"""


def write_all_questions(
    text: str = TEXT, *, title: str = "Baking at home", language: str = "en", name: str = "d"
) -> list[Instruction]:
    return write_questions(
        find_passages(text), document_id=name, title=title, text=text, language=language
    )


def write_first_question(
    plain: str, *, title: str = "", language: str = "en", heading: str = ""
) -> Instruction:
    passage = AnswerPassage(0, len(plain), heading, plain, len(plain.split()))
    (instruction,) = write_questions(
        [passage], document_id="d", title=title, text=plain, language=language
    )
    return instruction


def test_questions_use_the_title_then_headings_then_continuations() -> None:
    first, second, third = write_all_questions(title="How to bake bread at home")
    assert (first.source, first.question) == ("template:title", "How do I bake bread at home?")
    assert second.source == "template:heading"
    assert "“The oven”" in second.question
    assert third.source == "template:continuation"


def test_questions_of_a_document_differ_or_are_continuations() -> None:
    repeated_text = "\n\n".join(TEXT.split("\n\n")[1:2] * 12)
    questions = [
        instruction.question
        for instruction in write_all_questions(repeated_text)
        if instruction.source != "template:continuation"
    ]
    assert len(set(questions)) == len(questions) == 1


def test_the_authors_own_question_is_used() -> None:
    instruction = write_first_question(
        "So why do clocks stop on cold nights? Because oil thickens when it is old."
    )
    assert instruction.question == "Why do clocks stop on cold nights?"
    assert instruction.source == "template:own_question"


@pytest.mark.parametrize(
    "plain",
    [
        "If it does that again, we will see. It did, and then so did they.",
        "To it and fro, he went. But then why did he? They never said.",
        "I do not know how this works, nor why it does. He did, and said so.",
        "When I was there, it was so. And then it was not, as they said.",
    ],
)
def test_dependent_passages_get_continuations(plain: str) -> None:
    instruction = write_first_question(plain)
    assert instruction.source == "template:continuation"
    assert instruction.question == instruction.continuation
    assert plain.split(",", maxsplit=1)[0] in instruction.question


def test_a_long_first_sentence_is_cut() -> None:
    instruction = write_first_question(
        "So it was then as it is now and as it will be when all of it is over again."
    )
    assert instruction.question.endswith("“So it was then as it is now and as it will …”")


@pytest.mark.parametrize(
    ("language", "plain", "question"),
    [
        ("de", "Warum stehen Uhren in kalten Nächten? Weil Öl altert.", "Warum stehen Uhren"),
        ("fr", "Pourquoi les horloges gèlent-elles ici ? Oui.", ""),
        ("es", "Nada. ¿Por qué paran los relojes viejos? El aceite envejece.", "¿Por qué"),
    ],
)
def test_questions_are_in_the_authors_language(language: str, plain: str, question: str) -> None:
    first = write_first_question(plain, language=language)
    assert first.question.startswith(question or find_wordings(language).continuation[:8])
    english = {"what", "your", "do", "you", "does", "tell", "about", "explain", "write", "the"}
    for title in ("Brot und Spiele", ""):
        for instruction in write_all_questions(title=title, language=language):
            unquoted = re.sub(r"“[^”]*”|„[^“]*“|«[^»]*»", "", instruction.question)
            assert not english & set(split_words(unquoted)), instruction.question


@pytest.mark.parametrize("language", ["ja", "xx"])
def test_a_language_without_wordings_gets_quotations_only(language: str) -> None:
    for instruction in write_all_questions(language=language):
        unquoted = set(split_words(re.sub(r"“[^”]*”", "", instruction.question)))
        assert not unquoted & {"what", "your", "do", "you", "tell", "about", "write"}


@pytest.mark.parametrize("language", WORDINGS)
def test_every_language_has_every_wording(language: str) -> None:
    wordings = find_wordings(language)
    assert "{opening}" in wordings.continuation
    assert wordings.question_words
    assert wordings.referring_words
    for group, field in ((wordings.title, "{title}"), (wordings.heading, "{heading}")):
        assert group
        assert all(field in wording for wording in group)


def test_a_wording_gives_different_questions_for_different_titles() -> None:
    """Similar questions in different splits would cause a training sample to be left out."""
    pair_count = 0
    for language in WORDINGS:
        for wording in find_wordings(language).title:
            for left, right in (("brass", "dust"), ("hide glue", "night gulls")):
                if is_distinctive(wording, title=left):
                    questions = [wording.format(title=title) for title in (left, right)]
                    pair_count += 1
                    assert (
                        jaccard(*(frozenset(split_words(question)) for question in questions))
                        < QUESTION_SIMILARITY_THRESHOLD
                    ), questions
    assert pair_count > 10


@pytest.mark.parametrize(
    "question",
    ["Why?", "Account, command, videos", "What is is the oven?", "What does {x} do?", "a b c d"],
)
def test_non_questions_are_rejected(question: str) -> None:
    assert not is_fluent_question(question)


def test_braces_in_a_title_are_text() -> None:
    for instruction in write_all_questions(title="A {x} b"):
        assert "{x}" not in re.sub(r"“[^”]*”", "", instruction.question)
