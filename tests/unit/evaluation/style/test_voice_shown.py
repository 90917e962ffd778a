"""Test the counted habits of a voice."""

from __future__ import annotations

import pytest

from twin_assets.evaluation.measures.measure import DocumentText
from twin_assets.evaluation.measures.visible_voice import (
    OTHER_WORD,
    measure_visible_voice,
)
from twin_resources.quality.judges.voice_shown import VoiceFigures, VoiceHabit

OWN = "And there it was, the lamp; and nobody spoke. They went on."
BASE = "The lamp was lit. The people were quiet. The walk was resumed by the people."


def own_texts(count: int = 24, *, rare: str = "") -> list[DocumentText]:
    return [
        DocumentText(f"post-{n}", f"{OWN} {rare}" if rare and n < count // 3 else OWN)
        for n in range(count)
    ]


def find_habit(shown: VoiceFigures, name: str) -> VoiceHabit:
    return next(each for each in shown.habits if each.name == name)


def test_rates_are_counted_from_the_texts() -> None:
    shown = measure_visible_voice(own_texts(), base=[BASE] * 20, tuned=[OWN] * 20)
    assert shown is not None
    words = {trait.name: trait for trait in find_habit(shown, "function words").traits}
    assert words["and"].author == pytest.approx(100 * 2 / 12, abs=0.01)  # two of twelve words
    assert words["and"].base == 0
    marks = {trait.name: trait for trait in find_habit(shown, "punctuation").traits}
    assert marks[";"].author == pytest.approx(100 / 12, abs=0.01)
    lengths = [trait.author for trait in find_habit(shown, "sentence length").traits]
    assert lengths == [50.0, 50.0, 0.0, 0.0]  # three words and nine
    openings = {trait.name: trait for trait in find_habit(shown, "openings").traits}
    assert openings["and"].author == 100
    assert openings["the"].base == 100


def test_the_tuned_model_is_closer_if_it_writes_like_the_author() -> None:
    alike = measure_visible_voice(own_texts(), base=[BASE] * 20, tuned=[OWN] * 20)
    unlike = measure_visible_voice(own_texts(), base=[OWN] * 20, tuned=[BASE] * 20)
    assert alike is not None
    assert unlike is not None
    assert all(each.is_tuned_closer and each.tuned_apart == 0 for each in alike.habits)
    assert not any(each.is_tuned_closer for each in unlike.habits)
    assert "in 4 of 4 habits" in alike.verdict
    assert unlike.verdict.endswith("in 0 of 4 habits")


def test_words_of_few_posts_are_not_named() -> None:
    """The event log keeps the figures when a post is erased."""
    shown = measure_visible_voice(
        own_texts(rare="Quibblestone sweated."),
        base=["Quibblestone is wet."] * 20,
        tuned=[OWN] * 20,
    )
    assert shown is not None
    assert "quibblestone" not in str(shown).casefold()
    openings = {trait.name: trait for trait in find_habit(shown, "openings").traits}
    assert openings[OTHER_WORD].base == 100


@pytest.mark.parametrize("few", ["own", "base", "tuned"])
def test_too_few_texts_are_not_counted(few: str) -> None:
    found = measure_visible_voice(
        own_texts(3) if few == "own" else own_texts(),
        base=[BASE] * (3 if few == "base" else 20),
        tuned=[OWN] * 3 + [" "] * 30 if few == "tuned" else [OWN] * 20,
    )
    assert found is None
