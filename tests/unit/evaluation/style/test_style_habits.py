"""Style habits: each one moves its own figure, and as many own texts stay at chance."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from twin_assets.evaluation.style import style_habits
from twin_assets.evaluation.style.style_habits import Habit, StyleHabits, measure_style_habits

WORDS = ("clock", "river", "bread", "lamp", "tower", "garden", "boat", "letter")


def text(chance: random.Random, *, length: int = 8, sentences: int = 5, end: str = ".") -> str:
    parts: list[str] = []
    for _ in range(sentences):
        words = [chance.choice(WORDS) for _ in range(chance.randint(length - 2, length + 2))]
        parts.append(f"{' '.join(words).capitalize()}{end}")
    return " ".join(parts)


def texts(seed: int, count: int = 60, **how: object) -> list[str]:
    chance = random.Random(seed)
    return [text(chance, **how) for _ in range(count)]  # type: ignore[arg-type]


def habit(found: StyleHabits, name: str) -> Habit:
    [one] = [habit for habit in found.habits if habit.name == name]
    return one


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("punctuation", {"end": "!"}),
        ("sentence length", {"length": 22, "sentences": 2}),
        ("answer length", {"sentences": 14}),
        ("emoji", {"end": " 😀."}),
    ],
)
def test_each_habit_shows_in_its_own_figure(name: str, how: dict[str, object]) -> None:
    own, like = texts(1, 200), texts(2)
    found = measure_style_habits(own, candidate=like, base=texts(3, **how))
    mine = habit(found, name)

    assert mine.candidate is not None
    assert mine.base is not None
    assert mine.less_than_base is not None
    assert mine.base.value > 0.05
    assert mine.base.low > mine.by_chance.high
    assert mine.candidate.low <= mine.by_chance.high
    assert mine.less_than_base.low > 0
    assert mine.less_than_base.value == pytest.approx(mine.base.value - mine.candidate.value)


def test_the_base_that_writes_the_same_is_not_told_to_be_farther() -> None:
    found = measure_style_habits(texts(1, 200), candidate=texts(2), base=texts(3))

    for one in found.habits:
        assert one.less_than_base is not None
        assert one.less_than_base.low <= 0


def test_the_divergence_is_the_square_of_scipys_distance() -> None:
    chance = np.random.default_rng(1)
    one, two = chance.integers(0, 50, 12).astype(float), chance.integers(0, 50, 12).astype(float)

    [mine] = style_habits._divergence(one[None, :], two)

    assert mine == pytest.approx(jensenshannon(one, two, base=2) ** 2)
    assert style_habits._divergence(np.array([[1.0, 0.0]]), np.array([0.0, 1.0]))[0] == 1.0
    assert style_habits._divergence(one[None, :], one)[0] == 0.0


def test_a_length_that_a_limit_cut_says_nothing() -> None:
    own, cut = texts(1, 200), texts(2)
    half = [n % 4 == 0 for n in range(60)]

    found = measure_style_habits(own, candidate=cut, base=texts(3), complete=half)

    assert habit(found, "answer length").candidate is None
    assert habit(found, "punctuation").candidate is not None
    assert "not measured" in style_habits.lines(found)[4]


def test_the_sentence_that_a_limit_cut_is_not_a_short_one() -> None:
    whole = "One two three four five six seven eight nine ten. "

    assert sum(style_habits._sentence_lengths(whole + whole + "And then")) == 2
    assert sum(style_habits._sentence_lengths("And then")) == 1


def test_a_limit_that_cuts_long_sentences_off_does_not_look_like_a_habit() -> None:
    """Long and short sentences in turn: after a cut at 20 words mostly the short ones are whole."""
    chance = random.Random(5)
    written = [
        " ".join(text(chance, length=length, sentences=1) for length in (18, 6, 18, 6, 18))
        for _ in range(280)
    ]
    own, answers = written[:200], [" ".join(one.split()[:30]) for one in written[200:]]

    mine = habit(measure_style_habits(own, candidate=answers), "sentence length")

    assert mine.candidate is not None
    assert mine.candidate.low <= mine.by_chance.high
    whole = style_habits._habit("sentence length", own, answers, [], [str(n) for n in range(80)])
    assert whole.candidate is not None
    assert whole.candidate.low > whole.by_chance.high


def test_marks_do_not_depend_on_how_a_file_was_typed() -> None:
    assert style_habits.marks("“It’s” – so...") == style_habits.marks('"It\'s" - so…')


def test_digits_are_no_emoji_and_a_heart_is() -> None:
    assert style_habits._emoji("1 # * ©") == [1, 0, 0, 0]
    assert style_habits._emoji("❤️ 👍🏽 🇸🇪") == style_habits._emoji("😀 😀 😀")


def test_too_few_texts_are_said() -> None:
    found = measure_style_habits(texts(1, 200), candidate=texts(2, 19))

    assert found.habits == ()
    assert style_habits.lines(found) == [
        "Style habits: not measured, 19 answers and 200 texts of the author, 20 are needed."
    ]
