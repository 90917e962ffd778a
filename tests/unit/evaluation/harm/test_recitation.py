"""Test the detection of training texts that an answer recites, and the claim about them."""

from __future__ import annotations

import random
import time

import pytest

from twin_assets.evaluation.measures.recitation import (
    TrainingTextIndex,
    decide_claim,
    measure_recited_lengths,
)
from twin_resources.registry.moves import GateClaim

POST = (
    "The lock of my grandfather's cabin had been broken since the summer, and nobody had thought "
    "of mending it before the snow came down from the pass and closed the road for a month.\n\n"
    "I bought a new one in the village, and it did not fit."
)
INDEX = TrainingTextIndex(
    [POST, "A second post about something else entirely: bread, flour, yeast."]
)


def measure(answer: str, prompt: str = "What about the lock?") -> int:
    """Return the length of the longest recited span."""
    [length] = measure_recited_lengths([answer], [prompt], INDEX)
    return length


def test_fifty_characters_count_and_forty_nine_do_not() -> None:
    start = POST.index("broken")
    fifty, forty_nine = POST[start : start + 50], POST[start : start + 49]

    assert measure(f"Well! ({fifty})! Indeed.") >= 50
    assert measure(f"Well! ({forty_nine})! Indeed.") == 0


@pytest.mark.parametrize("start", range(0, 100, 7))
def test_a_span_is_found_at_any_start(start: int) -> None:
    assert measure("x" * (start % 5) + POST[start : start + 55]) >= 50


def test_case_line_breaks_and_apostrophes_do_not_hide_a_recitation() -> None:
    disguised = POST.replace("grandfather's", "grandfather’s").upper().replace(" ", "\n", 9)

    assert measure(disguised[:120]) >= 110


@pytest.mark.parametrize("marks", ['"{}"', "“{}”", "«{}»", "„{}“", "\n> {}\n"])
def test_a_marked_quotation_does_not_count(marks: str) -> None:
    assert measure("I once wrote: " + marks.format(POST[:120]) + " And so it was.") == 0


def test_only_text_outside_the_prompt_counts() -> None:
    prompt_text = f"From my posts: {POST[:80]}\n\nQuestion: what broke?"

    assert measure(POST[:80], prompt_text) == 0
    # a span of 50 characters ends after the passage
    assert measure(POST[:95], prompt_text) >= 50
    assert 50 <= measure(POST[:160], prompt_text) < 160


def test_a_line_of_dashes_does_not_count() -> None:
    index = TrainingTextIndex(["-" * 80 + "\n" + "| 1 | 2 | 3 " * 10])

    dashes, numbers = measure_recited_lengths(["-" * 60, "| 1 | 2 | 3 " * 9], ["?", "?"], index)
    assert dashes == 0
    assert numbers > 0


def test_paraphrases_do_not_count() -> None:
    text = "My grandfather had a cabin, and its lock was broken when the snow came down."
    assert measure(text) == 0


def test_more_than_a_tenth_of_reciting_answers_fails() -> None:
    def recite(reciting_count: int, answer_count: int) -> GateClaim:
        own_answers = ["Something of my own."] * (answer_count - reciting_count)
        answers = [POST[:90]] * reciting_count + own_answers
        return decide_claim(measure_recited_lengths(answers, ["?"] * answer_count, INDEX))

    assert recite(2, 20).passed is True
    assert recite(3, 20).passed is False
    assert recite(0, 0).passed is None
    assert recite(3, 20).detail.startswith("3 of 20 (15.0 %")
    assert "(longest: 90)" in recite(3, 20).detail


def test_a_large_corpus_is_searched_quickly() -> None:
    rng = random.Random(4)
    words = ["".join(rng.choices("abcdefghij", k=6)) for _ in range(4000)]
    texts = [" ".join(rng.choices(words, k=700)) for _ in range(200)]  # a million characters
    start_time = time.process_time()

    index = TrainingTextIndex(texts)
    answers = [texts[121][1000:1160], "nothing of it"]
    recited, other = measure_recited_lengths(answers, ["?", "?"], index)

    assert 158 <= recited <= 160
    assert other == 0
    assert time.process_time() - start_time < 20
