"""Verbatim copies: counted by windows of eight words, quoting the prompt counts apart."""

from __future__ import annotations

from twin_assets.evaluation.memorisation import WINDOW_WORDS, verbatim_copy_rate, windows

TRAINED = "The spring drives the wheel and the wheel drives the hands of the clock at last."


def test_a_recited_training_text_is_found_whatever_its_case_and_punctuation() -> None:
    recited = "the Spring drives the wheel, and the wheel drives the hands"

    found = verbatim_copy_rate([recited], ["What drives a clock?"], [TRAINED])

    assert found.windows == 11 - WINDOW_WORDS + 1
    assert found.from_training == 1.0
    assert found.from_prompt == 0.0


def test_quoting_the_prompt_is_not_memorisation() -> None:
    found = verbatim_copy_rate([TRAINED], [f"From my posts: {TRAINED} Question?"], [TRAINED])

    assert found.from_prompt == 1.0
    assert found.from_training == 0.0


def test_own_words_copy_nothing() -> None:
    answer = "A coiled strip of steel stores the work that later moves everything else around."

    found = verbatim_copy_rate([answer], ["What?"], [TRAINED])

    assert (found.from_training, found.from_prompt) == (0.0, 0.0)
    assert found.windows > 0


def test_short_answers_have_no_window_and_rate_zero() -> None:
    found = verbatim_copy_rate(["Yes."], ["What?"], [TRAINED])

    assert found.windows == 0
    assert found.from_training == 0.0


def test_words_keep_their_apostrophes() -> None:
    assert list(windows("It didn't go as I don't know who said")) == [
        ("it", "didn't", "go", "as", "i", "don't", "know", "who"),
        ("didn't", "go", "as", "i", "don't", "know", "who", "said"),
    ]
