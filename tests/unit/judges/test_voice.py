"""Test the voice score on two invented writers with the same subjects."""

from __future__ import annotations

import random

from twin_resources.quality.judges.judge import JudgedAnswer
from twin_resources.quality.judges.style_features import (
    common_words,
    mask_words,
    split_into_windows,
)
from twin_resources.quality.judges.texts import WriterSample
from twin_resources.quality.judges.voice import VoiceJudge, calibrate_voice

OBJECTS = ("clock", "river", "bread", "lamp", "tower", "garden", "boat", "letter")


def write_tersely(generator: random.Random) -> str:
    first, second = generator.sample(OBJECTS, 2)
    return f"I fixed the {first}. Took an hour. The {second} can wait; it always does. "


def write_ornately(generator: random.Random) -> str:
    first, second = generator.sample(OBJECTS, 2)
    return f"One might say, perhaps, that the {first} was, in its way, very like the {second}, and "


def make_writer(write: object, name: str, seed: int, document_count: int = 30) -> WriterSample:
    generator = random.Random(seed)
    texts = tuple(
        (f"{name}-{n}", "".join(write(generator) for _ in range(5)))  # type: ignore[operator]
        for n in range(document_count)
        for _ in range(2)
    )
    return WriterSample(name, texts)


def test_the_judge_distinguishes_two_writers_on_new_texts() -> None:
    calibration, repeated = (
        calibrate_voice(
            make_writer(write_tersely, "terse", 1), [make_writer(write_ornately, "ornate", 2)]
        )
        for _ in range(2)
    )
    judge = VoiceJudge(calibration)
    assert calibration == repeated
    assert judge.revision == VoiceJudge(repeated).revision
    own, other = make_writer(write_tersely, "new", 3, 5), make_writer(write_ornately, "new", 4, 5)

    own_scores = judge.score_all([JudgedAnswer("q", text) for _, text in own.passages])
    other_scores = judge.score_all([JudgedAnswer("q", text) for _, text in other.passages])

    assert calibration.auc == 1.0
    assert min(own_scores) > 0.9
    assert max(other_scores) < 0.1
    assert judge.score_all([JudgedAnswer("q", "")]) == [0.0]


def test_the_subjects_of_texts_are_masked() -> None:
    subjects = [f"{first}{second}le" for first in "bcdfghjklm" for second in "aeiouywhrn"]
    own_texts = [f"the {subject} is old" for subject in subjects]
    other_texts = [f"here's a crucial {subject}x" for subject in subjects]

    words = common_words([own_texts, other_texts])

    # A word that only one writer repeats belongs to that writer's style.
    assert words == {"the", "is", "old", "here's", "a", "crucial"}
    assert mask_words("The Clock is 1804 “old”,  isn’t it", words) == 'The X is 0 "old", x x'


def test_long_texts_are_split_and_short_texts_stay_whole() -> None:
    assert [len(window.split()) for window in split_into_windows("word " * 150)] == [60, 60, 30]
    assert [len(window.split()) for window in split_into_windows("word " * 130)] == [60, 60]
    assert split_into_windows("one two") == ["one two"]
