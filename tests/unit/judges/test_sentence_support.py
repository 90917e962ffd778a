"""Test probe sentences and the sentence judge, which needs only the embedder."""

from __future__ import annotations

import pytest

from tests.unit.judges.word_vectors import embed
from twin_resources.quality.judges.repeated_words import find_departure
from twin_resources.quality.judges.sentence_probes import (
    SENTENCE_ERROR_KINDS,
    create_probe_sentences,
    negate,
    replace_names,
    replace_numbers,
    reword,
)
from twin_resources.quality.judges.sentence_support import SentenceSupport
from twin_resources.quality.judges.texts import bundled_writers

MARA = next(writer for writer in bundled_writers(exclude=()) if writer.name == "mara-lindqvist")
PASSAGE = (
    "The old clock from Vienna was stopped by twelve winters of dust. I have never oiled a fusee "
    "chain. The pendulum did not touch the case.",
)


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("The clock is slow.", "The clock is not slow."),
        ("The clock did not stop.", "The clock did stop."),
        ("I have never oiled it.", "I have always oiled it."),
        ("It cannot be bent.", "It can be bent."),
        ("It wasn't the spring.", "It was the spring."),
        ("Nothing holds the disc.", "everything holds the disc."),
        ("Clocks stop at night.", None),
    ],
)
def test_a_negation_is_removed_or_inserted(sentence: str, expected: str | None) -> None:
    assert negate(sentence) == expected


def test_replaced_numbers_and_names_are_in_no_passage() -> None:
    passage = "in 1750 there were seven of them, and later 14, 21"

    assert replace_numbers("There were seven in 1750.", passage) == "There were ten in 1757."
    assert replace_numbers("There was one.", passage) is None
    assert replace_numbers("Number 7 of them", passage) == "Number 28 of them"
    assert replace_names("It came from Vienna.", ["Prague"]) == "It came from Prague."
    assert replace_names("Vienna begins the sentence.", ["Prague"]) is None


def test_every_kind_of_error_occurs_and_differs_from_the_supported_sentences() -> None:
    probes = create_probe_sentences(MARA.passages, max_sentences=80)

    assert {probe.error_kind for probe in probes} == {None, *SENTENCE_ERROR_KINDS}
    assert probes == create_probe_sentences(MARA.passages, max_sentences=80)
    supported = [probe for probe in probes if probe.error_kind is None]
    sentences = {(probe.sentence, probe.document_id) for probe in supported}
    assert len(sentences) == 80
    errors = {(probe.sentence, probe.document_id) for probe in probes if probe.error_kind}
    assert sentences.isdisjoint(errors)
    assert sum(probe.sentence in probe.passages[0] for probe in supported) < 60
    assert create_probe_sentences(MARA.passages[:1], max_sentences=80) == []


def test_sentences_are_contracted_kept_or_given_an_opening() -> None:
    clocks = [f"The clock {number} is not old, and it runs very well." for number in range(40)]
    reworded = {reword(clock) for clock in clocks}

    assert any("isn't" in text for text in reworded)
    assert any(text.endswith("is not old, and it runs very well.") for text in reworded)
    assert any(text.startswith(("In my experience the", "The short answer")) for text in reworded)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (
            "The clock from Vienna was stopped by dust.",
            "The clock from Prague was stopped by dust.",
        ),
        ("Twelve winters of dust stopped it.", "Eleven winters of dust stopped it."),
        ("I never oiled a fusee chain.", "I have oiled a fusee chain."),
        ("The pendulum did not touch the case.", "The pendulum did touch the case."),
        ("The pendulum didn't touch the case.", "Readers write letters about bread."),
    ],
)
def test_supported_sentences_score_above_unsupported_ones(right: str, wrong: str) -> None:
    judge = SentenceSupport(embed, embedder="words")

    good, bad = judge.score([(right, PASSAGE), (wrong, PASSAGE)])

    assert good > bad + 0.2


def test_nothing_is_supported_without_passages_or_content_words() -> None:
    judge = SentenceSupport(embed, embedder="words")

    assert judge.score([("The clock stopped.", ()), ("It is.", PASSAGE)]) == [0.0, 0.0]


SAID = (
    "Old oil does not go away. A weight pulls as hard at the bottom as at the top. You should buy "
    "nothing in the first year. I make more from this than I thought. You do not need a level. "
    "It was dark. She had not looked. She stood in the lights. The program that writes this file "
    "is mine. Use a plane rather than sandpaper. Visitors to the shop are unwelcome before noon.",
)


@pytest.mark.parametrize(
    ("sentence", "departure"),
    [
        ("Old oil doesn't go away.", ""),
        ("No, you do not need a level.", ""),
        ("Old oil goes away.", "turned: away"),
        ("A weight does not pull as hard at the bottom as at the top.", "turned: pull"),
        ("I make less from this than I thought.", "turned: less"),
        ("Yes, you need a level.", "turned: level"),
        ("Yes, you do not need a level.", "reply: yes"),
        ("Yes, you should buy in the first year.", "turned: buy"),
        ("Yes, old oil does.", "reply: yes"),
        ("She had looked and stood in the lights.", "turned: looked"),
        ("The program that writes this file is not mine.", "turned: mine"),
        ("Use sandpaper.", "turned: sandpaper"),
        ("Use a plane instead of sandpaper.", ""),
        ("Visitors to the shop are welcome before noon.", "turned: welcome"),
        ("No.", "reply: no"),
        ("A weight pulls the great wheel twice a day.", "new: great, wheel, twice, day"),
        ("You should buy nothing in the first 2 years.", "new: 2"),
    ],
)
def test_what_a_sentence_says_that_its_passages_do_not_is_found(
    sentence: str, departure: str
) -> None:
    assert find_departure(sentence, SAID) == departure
