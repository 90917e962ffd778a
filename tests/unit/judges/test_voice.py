"""The voice score on two invented hands that write about the same things."""

from __future__ import annotations

import random

import pytest

from twin_resources.errors import TwinError
from twin_resources.quality.judges.judge import JudgedAnswer
from twin_resources.quality.judges.style_features import (
    common_words,
    mask_words,
    split_into_windows,
)
from twin_resources.quality.judges.texts import WriterSample
from twin_resources.quality.judges.voice import VoiceJudge, calibrate_voice

THINGS = ("clock", "river", "bread", "lamp", "tower", "garden", "boat", "letter")


def terse(chance: random.Random) -> str:
    thing, other = chance.sample(THINGS, 2)
    return f"I fixed the {thing}. Took an hour. The {other} can wait; it always does. "


def ornate(chance: random.Random) -> str:
    thing, other = chance.sample(THINGS, 2)
    return f"One might say, perhaps, that the {thing} was, in its way, very like the {other}, and "


def hand(write: object, name: str, seed: int, documents: int = 30) -> WriterSample:
    chance = random.Random(seed)
    texts = tuple(
        (f"{name}-{n}", "".join(write(chance) for _ in range(5)))  # type: ignore[operator]
        for n in range(documents)
        for _ in range(2)
    )
    return WriterSample(name, texts)


def test_it_tells_two_hands_apart_on_texts_it_has_not_seen() -> None:
    calibrated = calibrate_voice(hand(terse, "terse", 1), [hand(ornate, "ornate", 2)])
    judge = VoiceJudge(calibrated)
    own, other = hand(terse, "new", 3, 5), hand(ornate, "new", 4, 5)

    mine = judge.score_all([JudgedAnswer("q", text) for _, text in own.passages])
    theirs = judge.score_all([JudgedAnswer("q", text) for _, text in other.passages])

    assert calibrated.auc == 1.0
    assert min(mine) > 0.9
    assert max(theirs) < 0.1
    assert judge.score_all([JudgedAnswer("q", "")]) == [0.0]


def test_the_same_texts_give_the_same_judge() -> None:
    first, second = (
        calibrate_voice(hand(terse, "terse", 1), [hand(ornate, "ornate", 2)]) for _ in range(2)
    )

    assert first == second
    assert VoiceJudge(first).revision == VoiceJudge(second).revision


def test_what_a_text_is_about_is_masked() -> None:
    subjects = [f"{first}{second}le" for first in "bcdfghjklm" for second in "aeiouywhrn"]
    ours = [f"the {subject} is old" for subject in subjects]
    theirs = [f"here's a crucial {subject}x" for subject in subjects]

    words = common_words([ours, theirs])

    # what one side alone says all the time is how it writes
    assert words == {"the", "is", "old", "here's", "a", "crucial"}
    assert mask_words("The Clock is 1804 “old”,  isn’t it", words) == 'The X is 0 "old", x x'


def test_long_texts_are_cut_to_one_length_and_short_ones_kept() -> None:
    assert [len(part.split()) for part in split_into_windows("word " * 150)] == [60, 60, 30]
    assert [len(part.split()) for part in split_into_windows("word " * 130)] == [60, 60]
    assert split_into_windows("one two") == ["one two"]


def test_too_little_text_is_said() -> None:
    with pytest.raises(TwinError, match="import more posts"):
        calibrate_voice(hand(terse, "terse", 1, 5), [hand(ornate, "ornate", 2)])
