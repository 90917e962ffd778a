"""Test the measured habits of a voice."""

from __future__ import annotations

import pytest

from twin_assets.evaluation.measures.visible_voice import OTHER_WORD, measure_visible_voice
from twin_resources.quality.judges.voice_figures import VoiceFigures, VoiceHabit

OWN = "And there it was, the lamp; and nobody spoke. They went on."
BASE = "The lamp was lit. The people were quiet. The walk was resumed by the people."


def make_own_texts(count: int = 24, *, rare_text: str = "") -> list[tuple[str, str]]:
    return [
        (f"post-{n}", f"{OWN} {rare_text}" if rare_text and n < count // 3 else OWN)
        for n in range(count)
    ]


def find_habit(voice: VoiceFigures, name: str) -> VoiceHabit:
    return next(habit for habit in voice.habits if habit.name == name)


def test_rates_are_counted_from_the_texts() -> None:
    voice = measure_visible_voice(make_own_texts(), base=[BASE] * 20, tuned=[OWN] * 20)
    assert voice is not None
    words = {trait.name: trait for trait in find_habit(voice, "function words").traits}
    assert words["and"].author == pytest.approx(100 * 2 / 12, abs=0.01)  # two of twelve words
    assert words["and"].base == 0
    marks = {trait.name: trait for trait in find_habit(voice, "punctuation").traits}
    assert marks[";"].author == pytest.approx(100 / 12, abs=0.01)
    lengths = [trait.author for trait in find_habit(voice, "sentence length").traits]
    assert lengths == [50.0, 50.0, 0.0, 0.0]  # sentences of three and of nine words
    openings = {trait.name: trait for trait in find_habit(voice, "openings").traits}
    assert openings["and"].author == 100
    assert openings["the"].base == 100


def test_the_tuned_model_is_closer_if_it_writes_like_the_author() -> None:
    closer = measure_visible_voice(make_own_texts(), base=[BASE] * 20, tuned=[OWN] * 20)
    farther = measure_visible_voice(make_own_texts(), base=[OWN] * 20, tuned=[BASE] * 20)
    assert closer is not None
    assert farther is not None
    assert all(habit.is_tuned_closer and habit.tuned_apart == 0 for habit in closer.habits)
    assert not any(habit.is_tuned_closer for habit in farther.habits)
    assert "in 4 of 4 habits" in closer.verdict
    assert farther.verdict.endswith("in 0 of 4 habits")


def test_words_of_few_posts_are_not_named() -> None:
    """Figures stay in the event log after a post is erased, so they must not name rare words."""
    voice = measure_visible_voice(
        make_own_texts(rare_text="Quibblestone sweated."),
        base=["Quibblestone is wet."] * 20,
        tuned=[OWN] * 20,
    )
    assert voice is not None
    assert "quibblestone" not in str(voice).casefold()
    openings = {trait.name: trait for trait in find_habit(voice, "openings").traits}
    assert openings[OTHER_WORD].base == 100


@pytest.mark.parametrize("short_input", ["own", "base", "tuned"])
def test_too_few_texts_are_not_counted(short_input: str) -> None:
    voice = measure_visible_voice(
        make_own_texts(3) if short_input == "own" else make_own_texts(),
        base=[BASE] * (3 if short_input == "base" else 20),
        tuned=[OWN] * 3 + [" "] * 30 if short_input == "tuned" else [OWN] * 20,
    )
    assert voice is None
