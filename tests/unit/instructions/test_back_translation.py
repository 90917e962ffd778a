from __future__ import annotations

import re

import pytest

from twin_assets.instructions.answer_passages import AnswerPassage, passages_of
from twin_assets.instructions.back_translation import (
    Instruction,
    fluent_question,
    write_questions,
)
from twin_assets.instructions.question_wordings import WORDINGS, tells_apart, wordings_of
from twin_assets.instructions.similar_keys import jaccard, words_of

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


def written(
    text: str = TEXT, *, title: str = "Baking at home", language: str = "en", name: str = "d"
) -> list[Instruction]:
    return write_questions(
        passages_of(text), document_id=name, title=title, text=text, language=language
    )


def one(plain: str, *, title: str = "", language: str = "en", heading: str = "") -> Instruction:
    passage = AnswerPassage(0, len(plain), heading, plain, len(plain.split()))
    (found,) = write_questions(
        [passage], document_id="d", title=title, text=plain, language=language
    )
    return found


def test_the_title_is_asked_about_then_headings_then_what_a_passage_turns_on() -> None:
    first, second, third = written(title="How to bake bread at home")
    assert (first.source, first.question) == (
        "template:title",
        "How do I bake bread at home?",
    )
    assert second.source == "template:heading"
    assert "the oven" in second.question
    assert third.source == "template:topic"
    assert re.search(r"loaf|crust|bowl", third.question), third.question


def test_questions_of_a_document_differ_or_are_continuations() -> None:
    same = "\n\n".join(TEXT.split("\n\n")[1:2] * 12)
    asked = [it.question for it in written(same) if it.source != "template:continuation"]
    assert len(set(asked)) == len(asked) >= 4


def test_a_question_is_the_same_every_time() -> None:
    assert written() == written()


def test_what_the_author_asks_and_answers_is_asked() -> None:
    found = one("So why do clocks stop on cold nights? Because oil thickens when it is old.")
    assert found.question == "Why do clocks stop on cold nights?"
    assert found.source == "template:own_question"


@pytest.mark.parametrize(
    "plain",
    [
        "If it does that again, we will see. It did, and then so did they.",
        "To it and fro, he went. But then why did he? They never said.",
        "I do not know how this works, nor why it does. He did, and said so.",
        "When I was there, it was so. And then it was not, as they said.",
    ],
)
def test_what_leans_on_the_text_before_it_is_gone_on_with(plain: str) -> None:
    found = one(plain)
    assert found.source == "template:continuation"
    assert found.question == found.continuation
    assert plain.split(",", maxsplit=1)[0] in found.question


def test_a_long_first_sentence_is_cut() -> None:
    found = one("So it was then as it is now and as it will be when all of it is over again.")
    assert found.question.endswith("“So it was then as it is now and as it will …”")


def test_one_thing_is_asked_about_as_a_kind_and_the_authors_as_yours() -> None:
    about = "A pizza stone is heavy. A pizza stone keeps the heat, and so I have one."
    assert "pizza stones" in one(about).question
    mine = "My copper kettle is from my mother. My copper kettle was hers before."
    assert "your copper kettle" in one(mine).question


def test_no_three_keywords() -> None:
    """What half of all questions were once."""
    for it in [*written(), *written(title="")]:
        assert not re.match(r"^[\w ]+, [\w ]+, [\w ]+: ", it.question)


LANGUAGES = {
    "de": (
        "Der Ofen heizt schlecht. Wenn der Ofen zu kalt ist, geht das Brot nicht auf, und dann "
        "hilft nur Warten. Der Ofen steht seit Jahren in der Küche.",
        "Was passiert, wenn der Ofen zu kalt ist?|Was ist, wenn der Ofen zu kalt ist?",
    ),
    "fr": (
        "Le four chauffe mal. Si le four reste trop froid, la pâte ne lève pas, et puis voilà.",
        "Que se passe-t-il si le four reste trop froid ?",
    ),
    "es": (
        "El horno calienta mal. Si el horno queda demasiado frío, la masa no sube, y ya está.",
        "¿Qué pasa si el horno queda demasiado frío?",
    ),
    "it": (
        "Il forno scalda male. Se il forno resta troppo freddo, la pasta non cresce, e basta.",
        "Che cosa succede se il forno resta troppo freddo?",
    ),
    "pt": (
        "O forno aquece mal. Se o forno fica frio demais, a massa não cresce, e pronto.",
        "O que acontece se o forno fica frio demais?",
    ),
    "nl": (
        "De oven verwarmt slecht. Als de oven te koud blijft, rijst het deeg niet, en klaar.",
        "Wat gebeurt er als de oven te koud blijft?",
    ),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_questions_are_in_the_authors_language(language: str) -> None:
    plain, question = LANGUAGES[language]
    assert one(plain, language=language).question in question.split("|")
    english = {"what", "your", "do", "you", "does", "tell", "about", "explain", "write", "the"}
    for title in ("Brot und Spiele", ""):
        for it in written(title=title, language=language):
            outside = re.sub(r"“[^”]*”|„[^“]*“|«[^»]*»", "", it.question)
            assert not english & set(words_of(outside)), it.question


@pytest.mark.parametrize(
    ("language", "plain", "topic"),
    [
        ("de", "Der alte Ofen steht in der Küche. Der alte Ofen heizt gut.", "„Ofen“"),
        ("fr", "Le vieux four chauffe mal. Avec le four vient la pierre, et le four.", "four"),
        ("es", "El horno viejo calienta mal. Con el horno vino la piedra.", "horno"),
        ("nl", "De oven verwarmt slecht. Met de oven kwam een steen.", "oven"),
    ],
)
def test_a_noun_phrase_is_asked_about_in_other_languages(
    language: str, plain: str, topic: str
) -> None:
    found = one(plain, language=language)
    assert found.source == "template:topic", found
    assert topic in found.question


@pytest.mark.parametrize("language", ["ja", "xx"])
def test_a_language_without_wordings_gets_quoted_parts_alone(language: str) -> None:
    for it in written(language=language):
        outside = set(words_of(re.sub(r"“[^”]*”", "", it.question)))
        assert not outside & {"what", "your", "do", "you", "tell", "about", "write"}


@pytest.mark.parametrize("language", WORDINGS)
def test_every_language_has_every_wording(language: str) -> None:
    wordings = wordings_of(language)
    assert "{opening}" in wordings.continuation
    assert wordings.conditions
    assert wordings.asks
    assert wordings.unclear
    for group, field in (
        (wordings.topic, "{topic}"),
        (wordings.titled_topic, "{topic}"),
        (wordings.titled_topic, "{title}"),
        (wordings.title, "{title}"),
        (wordings.heading, "{heading}"),
        (wordings.condition, "{clause}"),
    ):
        assert group
        assert all(field in wording for wording in group)


def test_two_fillings_of_a_wording_are_two_questions() -> None:
    """A pair above .7 across the splits costs a training sample (`leakage.SAME_QUESTION`)."""
    tried = 0
    for language in WORDINGS:
        for wording in wordings_of(language).topic:
            for left, right in (("brass", "dust"), ("hide glue", "night gulls")):
                if tells_apart(wording, topic=left):
                    asked = [wording.format(topic=it) for it in (left, right)]
                    tried += 1
                    assert jaccard(*(frozenset(words_of(it)) for it in asked)) < 0.7, asked
    assert tried > 20


@pytest.mark.parametrize(
    "question",
    ["Why?", "Account, command, videos", "What is is the oven?", "What does {x} do?", "a b c d"],
)
def test_what_does_not_read_as_a_question_is_none(question: str) -> None:
    assert not fluent_question(question)


def test_braces_in_a_title_are_text() -> None:
    for it in written(title="A {x} b"):
        assert "{x}" not in re.sub(r"“[^”]*”", "", it.question)
