"""Test the record of voice figures: writing it, reading it, and its bar chart."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin_resources.errors import TwinError
from twin_resources.quality.judges.voice_shown import (
    BAR_CELLS,
    VOICE_FIGURES_FILE,
    Trait,
    VoiceFigures,
    VoiceHabit,
    read_checkpoint_voice_figures,
    read_voice_figures,
    render_bars,
    write_voice_figures,
)

FIGURES = VoiceFigures(
    habits=(
        VoiceHabit(
            "function words",
            "per 100 words",
            (Trait("and", 4.4, 2.2, 3.3), Trait("there", 1.4, 0.0, 0.01)),
            base_apart=1.8,
            tuned_apart=1.2,
        ),
        VoiceHabit(
            "openings",
            "% of texts",
            (Trait("the", 10.0, 40.0, 50.0),),
            base_apart=30,
            tuned_apart=40,
        ),
    )
)


def write_record(checkpoints: Path, checkpoint: str) -> Path:
    path = checkpoints / "ann" / checkpoint / "evaluation" / VOICE_FIGURES_FILE
    path.parent.mkdir(parents=True)
    write_voice_figures(path, FIGURES, author="ann", checkpoint=checkpoint)
    return path


def test_a_record_is_read_as_written(tmp_path: Path) -> None:
    assert read_checkpoint_voice_figures(tmp_path, "ann", "c1") is None
    path = write_record(tmp_path, "c1")
    assert (
        read_voice_figures(path) == read_checkpoint_voice_figures(tmp_path, "ann", "c1") == FIGURES
    )


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 99}', '{"schema": 1, "habits": 3}'])
def test_a_damaged_or_newer_record_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / VOICE_FIGURES_FILE
    path.write_text(text)
    with pytest.raises(TwinError, match=VOICE_FIGURES_FILE):
        read_voice_figures(path)


def test_bars_of_a_habit_have_one_scale_and_name_the_closer_model() -> None:
    lines = render_bars(FIGURES)
    assert lines[0] == "function words, per 100 words"
    assert lines[1].split() == ["author", "base", "tuned"]
    assert lines[2].count("█") == BAR_CELLS + BAR_CELLS // 2 + BAR_CELLS * 3 // 4
    assert "▏" in lines[3], "a small value has no bar"
    assert all(len(line) < 80 for line in lines[:-1])
    assert lines[-1] == "closer to the author than the base model in 1 of 2 habits: function words"
    assert lines[2].index("4.4") == lines[3].index("1.4")
