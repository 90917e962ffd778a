from __future__ import annotations

import re

import pytest

from twin_assets.instructions.answer_passages import AnswerPassage, passages_of
from twin_assets.instructions.back_translation import (
    PLAIN_TEMPLATES,
    TEMPLATES,
    subjects_of,
    write_questions,
)
from twin_assets.instructions.similar_keys import words_of

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
colour of chestnuts and the bottom of the loaf sounds hollow.
"""


def questions(language: str = "en", text: str = TEXT, title: str = "Baking at home") -> list[str]:
    return [
        instruction.question
        for instruction in write_questions(
            passages_of(text), document_id="d", title=title, text=text, language=language
        )
    ]


def test_every_passage_gets_a_question_about_what_stands_in_it() -> None:
    passages = passages_of(TEXT)
    asked = questions()
    assert len(asked) == len(passages) == 3
    for passage, question in zip(passages, asked, strict=True):
        subjects = subjects_of(passage.plain, title="", text=TEXT.lower(), language="en")
        assert any(subject.lower() in question.lower() for subject in subjects), question


def test_subjects_are_what_the_post_keeps_coming_back_to() -> None:
    passages = passages_of(TEXT)
    best = [
        subjects_of(passage.plain, title="Baking", text=TEXT.lower(), language="en")[:3]
        for passage in passages
    ]
    assert "starter" in {word for phrase in best[0] for word in words_of(phrase)}
    assert {"loaf", "oven"} <= set(best[1])
    assert {"loaf", "crust"} & set(best[2])


def test_questions_of_a_document_differ() -> None:
    same = "\n\n".join(TEXT.split("\n\n")[1:2] * 12)
    asked = questions(text=same)
    assert len(asked) == 12
    different = [question for question in asked if not question.startswith("You once wrote")]
    assert len(set(different)) == len(different) > 8


def test_many_wordings_are_used() -> None:
    sources = {
        instruction.source
        for number in range(40)
        for instruction in write_questions(
            passages_of(TEXT),
            document_id=f"d{number}",
            title="How to bake bread at home",
            text=TEXT,
            language="en",
        )
    }
    assert {f"template:{name}" for name in TEMPLATES} <= sources


def test_a_question_is_the_same_every_time() -> None:
    assert questions() == questions()


def test_without_title_and_subjects_the_opening_is_quoted() -> None:
    passage = AnswerPassage(0, 10, "", "It is what it is, and so on and on.", 10)
    (instruction,) = write_questions(
        [passage], document_id="d", title="", text=passage.plain, language="en"
    )
    assert instruction.source == "template:opening"
    assert "It is what it is, and so on" in instruction.question


@pytest.mark.parametrize("language", ["de", "ja", "xx"])
def test_other_languages_get_no_english_sentence(language: str) -> None:
    asked = questions(language=language)
    english = {"what", "your", "do", "you", "does", "tell", "about", "explain"}
    for question in asked:
        outside = re.sub(r"“[^”]*”", "", question)
        assert not english & set(words_of(outside)), question
    assert len(PLAIN_TEMPLATES) >= 3


def test_braces_in_a_title_are_text() -> None:
    assert all("{x}" in question or "“" not in question for question in questions(title="A {x} b"))
