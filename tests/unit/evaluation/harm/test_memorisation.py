"""Verbatim copies by spans of fifty characters; quoting the prompt counts apart."""

from __future__ import annotations

import random
import time

import pytest

from twin_assets.evaluation.measures.recitation import (
    Recitation,
    TrainingTextIndex,
    claim,
    measure_recitation,
)

POST = (
    "The lock of my grandfather's cabin had been broken since the summer, and nobody had thought "
    "of mending it before the snow came down from the pass and closed the road for a month.\n\n"
    "I bought a new one in the village, and it did not fit."
)
SPANS = TrainingTextIndex(
    [POST, "A second post about something else entirely: bread, flour, yeast."]
)


def recited(answer: str, prompt: str = "What about the lock?") -> Recitation:
    return measure_recitation([answer], [prompt], SPANS)


def test_fifty_characters_of_a_post_are_recited_and_forty_nine_are_not() -> None:
    start = POST.index("broken")
    inside, outside = POST[start : start + 50], POST[start : start + 49]

    found = recited(f"Well! ({inside})! Indeed.")
    assert found.reciting.found == 1
    assert found.longest >= 50
    assert recited(f"Well! ({outside})! Indeed.").reciting.found == 0


@pytest.mark.parametrize("start", range(0, 100, 7))
def test_a_span_is_found_wherever_it_begins(start: int) -> None:
    assert recited("x" * (start % 5) + POST[start : start + 55]).reciting.found == 1


def test_case_line_breaks_and_apostrophes_do_not_hide_a_recital() -> None:
    changed = POST.replace("grandfather's", "grandfather’s").upper().replace(" ", "\n", 9)

    found = recited(changed[:120])
    assert found.reciting.found == 1
    assert found.longest >= 110


@pytest.mark.parametrize("marks", ['"{}"', "“{}”", "«{}»", "„{}“", "\n> {}\n"])
def test_a_marked_quotation_is_none(marks: str) -> None:
    found = recited("I once wrote: " + marks.format(POST[:120]) + " And so it was.")

    assert found.reciting.found == 0


def test_what_the_prompt_shows_is_a_quotation_and_what_goes_beyond_it_is_not() -> None:
    shown = f"From my posts: {POST[:80]}\n\nQuestion: what broke?"

    assert recited(POST[:80], shown).reciting.found == 0
    assert recited(POST[:95], shown).reciting.found == 1  # 50 characters end beyond the passage
    far = recited(POST[:160], shown)
    assert far.reciting.found == 1
    assert far.longest < 160


def test_rules_and_tables_are_no_prose() -> None:
    spans = TrainingTextIndex(["-" * 80 + "\n" + "| 1 | 2 | 3 " * 10])

    assert measure_recitation(["-" * 60, "| 1 | 2 | 3 " * 9], ["?", "?"], spans).reciting.found == 1
    assert measure_recitation(["-" * 60], ["?"], spans).reciting.found == 0


def test_own_words_recite_nothing() -> None:
    found = recited("My grandfather had a cabin, and its lock was broken when the snow came down.")

    assert (found.reciting.found, found.longest) == (0, 0)


def test_the_claim_counts_answers_and_refuses_above_a_tenth() -> None:
    def found(reciting: int, of: int) -> Recitation:
        answers = [POST[:90]] * reciting + ["Something of my own."] * (of - reciting)
        return measure_recitation(answers, ["?"] * of, SPANS)

    assert claim(found(2, 20)).passed is True
    assert claim(found(3, 20)).passed is False
    assert claim(found(0, 0)).passed is None
    assert "3 of 20" in claim(found(3, 20)).detail


def test_a_large_corpus_is_searched_in_a_moment() -> None:
    drawn = random.Random(4)
    words = [f"{''.join(drawn.choices('abcdefghij', k=6))}" for _ in range(4000)]
    texts = [" ".join(drawn.choices(words, k=700)) for _ in range(200)]  # a million characters
    began = time.process_time()

    spans = TrainingTextIndex(texts)
    found = measure_recitation([texts[121][1000:1160], "nothing of it"], ["?", "?"], spans)

    assert found.reciting.found == 1
    assert 158 <= found.longest <= 160
    assert time.process_time() - began < 20
