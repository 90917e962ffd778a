"""Test the detection of training texts that an answer recites, and the claim about them."""

from __future__ import annotations

import random
import time

import pytest

from twin_assets.evaluation.measures.recitation import (
    Recitation,
    TrainingTextIndex,
    decide_claim,
    measure_recitation,
)

POST = (
    "The lock of my grandfather's cabin had been broken since the summer, and nobody had thought "
    "of mending it before the snow came down from the pass and closed the road for a month.\n\n"
    "I bought a new one in the village, and it did not fit."
)
INDEX = TrainingTextIndex(
    [POST, "A second post about something else entirely: bread, flour, yeast."]
)


def measure(answer: str, prompt: str = "What about the lock?") -> Recitation:
    return measure_recitation([answer], [prompt], INDEX)


def test_fifty_characters_count_and_forty_nine_do_not() -> None:
    start = POST.index("broken")
    fifty, forty_nine = POST[start : start + 50], POST[start : start + 49]

    recitation = measure(f"Well! ({fifty})! Indeed.")
    assert recitation.reciting.found == 1
    assert recitation.longest >= 50
    assert measure(f"Well! ({forty_nine})! Indeed.").reciting.found == 0


@pytest.mark.parametrize("start", range(0, 100, 7))
def test_a_span_is_found_at_any_start(start: int) -> None:
    assert measure("x" * (start % 5) + POST[start : start + 55]).reciting.found == 1


def test_case_line_breaks_and_apostrophes_do_not_hide_a_recitation() -> None:
    disguised = POST.replace("grandfather's", "grandfather’s").upper().replace(" ", "\n", 9)

    recitation = measure(disguised[:120])
    assert recitation.reciting.found == 1
    assert recitation.longest >= 110


@pytest.mark.parametrize("marks", ['"{}"', "“{}”", "«{}»", "„{}“", "\n> {}\n"])
def test_a_marked_quotation_does_not_count(marks: str) -> None:
    recitation = measure("I once wrote: " + marks.format(POST[:120]) + " And so it was.")

    assert recitation.reciting.found == 0


def test_only_text_outside_the_prompt_counts() -> None:
    prompt_text = f"From my posts: {POST[:80]}\n\nQuestion: what broke?"

    assert measure(POST[:80], prompt_text).reciting.found == 0
    # a span of 50 characters ends after the passage
    assert measure(POST[:95], prompt_text).reciting.found == 1
    longer = measure(POST[:160], prompt_text)
    assert longer.reciting.found == 1
    assert longer.longest < 160


def test_a_line_of_dashes_does_not_count() -> None:
    index = TrainingTextIndex(["-" * 80 + "\n" + "| 1 | 2 | 3 " * 10])

    assert measure_recitation(["-" * 60, "| 1 | 2 | 3 " * 9], ["?", "?"], index).reciting.found == 1
    assert measure_recitation(["-" * 60], ["?"], index).reciting.found == 0


def test_paraphrases_do_not_count() -> None:
    recitation = measure(
        "My grandfather had a cabin, and its lock was broken when the snow came down."
    )

    assert (recitation.reciting.found, recitation.longest) == (0, 0)


def test_more_than_a_tenth_of_reciting_answers_fails() -> None:
    def recite(reciting_count: int, answer_count: int) -> Recitation:
        own_answers = ["Something of my own."] * (answer_count - reciting_count)
        answers = [POST[:90]] * reciting_count + own_answers
        return measure_recitation(answers, ["?"] * answer_count, INDEX)

    assert decide_claim(recite(2, 20)).passed is True
    assert decide_claim(recite(3, 20)).passed is False
    assert decide_claim(recite(0, 0)).passed is None
    assert "3 of 20" in decide_claim(recite(3, 20)).detail


def test_a_large_corpus_is_searched_quickly() -> None:
    rng = random.Random(4)
    words = ["".join(rng.choices("abcdefghij", k=6)) for _ in range(4000)]
    texts = [" ".join(rng.choices(words, k=700)) for _ in range(200)]  # a million characters
    start_time = time.process_time()

    index = TrainingTextIndex(texts)
    recitation = measure_recitation([texts[121][1000:1160], "nothing of it"], ["?", "?"], index)

    assert recitation.reciting.found == 1
    assert 158 <= recitation.longest <= 160
    assert time.process_time() - start_time < 20
