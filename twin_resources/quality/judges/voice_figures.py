"""Store figures that compare the writing of the author, the base model and the tuned model.

Scope: the record, its file, and its bar chart for a terminal.
Out of scope: counting (`twin_assets/evaluation/measures/visible_voice.py`), the plot
(`evaluation/report/plots.py`), scores that decide on a release (`voice.py`).

    <home>/checkpoints/<author>/<checkpoint>/evaluation/voice_shown.json, voice_shown.svg

The page and the command read the record without importing an asset. It contains rates of function
words, punctuation marks and lengths, but no text. Erasing a post therefore keeps the record;
erasing a checkpoint removes it.
"""
# pyright: strict

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from twin_resources.atomic_writes import replace_file
from twin_resources.errors import TwinError

SCHEMA_VERSION = 1
VOICE_FIGURES_FILE, VOICE_PLOT_FILE = "voice_shown.json", "voice_shown.svg"
WRITERS = ("author", "base", "tuned")
MAX_TRAITS = 4  # traits shown per habit; sentence lengths always show all bins
BAR_CELLS = 8
_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True)
class Trait:
    """One figure per writer, in the unit of the habit. `name` is a word, a mark or a length bin."""

    name: str
    author: float
    base: float
    tuned: float


@dataclass(frozen=True)
class VoiceHabit:
    """A group of traits.

    Attributes:
        name: `function words`, `sentence length`, `punctuation` or `openings`.
        unit: `per 100 words`, `% of sentences` or `% of texts`.
        traits: the traits, most distinctive first or in the order of the bins.
        base_apart, tuned_apart: the mean difference from the author over all traits, in `unit`.
    """

    name: str
    unit: str
    traits: tuple[Trait, ...]
    base_apart: float
    tuned_apart: float

    @property
    def is_tuned_closer(self) -> bool:
        return self.tuned_apart < self.base_apart


@dataclass(frozen=True)
class VoiceFigures:
    """The figures of all habits in one evaluation."""

    habits: tuple[VoiceHabit, ...]

    @property
    def verdict(self) -> str:
        """One line naming the habits in which the tuned model is closer than the base model."""
        names = [habit.name for habit in self.habits if habit.is_tuned_closer]
        return (
            f"closer to the author than the base model in {len(names)} of {len(self.habits)} "
            f"habits{': ' if names else ''}{', '.join(names)}"
        )


def write_voice_figures(path: Path, figures: VoiceFigures, *, author: str, checkpoint: str) -> None:
    """Write the record.

    Args:
        path: the path of `voice_shown.json`.
        author: the author's slug.
        checkpoint: the checkpoint's hash.
    """
    header = {"schema": SCHEMA_VERSION, "author": author, "checkpoint": checkpoint}
    replace_file(path, json.dumps(header | asdict(figures), indent=1, ensure_ascii=False) + "\n")


def read_voice_figures(path: Path) -> VoiceFigures | None:
    """Read a record, or return None if the file does not exist.

    Raises:
        TwinError: the record is damaged or has a different schema.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] == SCHEMA_VERSION:
            fields = {name: document[name] for name in VoiceFigures.__dataclass_fields__}
            return TypeAdapter(VoiceFigures).validate_python(fields)
        reason = "a schema that this version does not support"
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        reason = f"{type(error).__name__}: {error}"[:200]
    raise TwinError(
        f"read {path}",
        found=reason,
        next_step="delete the file; the next evaluation rewrites it",
    )


def read_checkpoint_voice_figures(
    checkpoints: Path, author: str, checkpoint: str
) -> VoiceFigures | None:
    """Return the record of one checkpoint, or None if its evaluation wrote no record.

    Args:
        checkpoints: `Settings.checkpoints_dir`.
        checkpoint: the checkpoint's hash.

    Raises:
        TwinError: as in `read_voice_figures`.
    """
    return read_voice_figures(checkpoints / author / checkpoint / "evaluation" / VOICE_FIGURES_FILE)


def render_bars(figures: VoiceFigures) -> list[str]:
    """Return the record as lines for a terminal. All bars of a habit share one scale."""
    lines: list[str] = []
    width = max((len(trait.name) for habit in figures.habits for trait in habit.traits), default=0)
    for habit in figures.habits:
        displayed_traits = (
            habit.traits if habit.unit == "% of sentences" else habit.traits[:MAX_TRAITS]
        )
        values_by_trait = [(trait.author, trait.base, trait.tuned) for trait in displayed_traits]
        scale_max = max(map(max, values_by_trait), default=0.0)
        header = "".join(f"{name:<{BAR_CELLS + 7}}" for name in WRITERS).rstrip()
        lines += [f"{habit.name}, {habit.unit}", f"  {'':<{width}}  {header}"]
        for trait, values in zip(displayed_traits, values_by_trait, strict=True):
            cells = (f"{_render_bar(value, scale_max)} {value:<5.1f} " for value in values)
            lines.append(f"  {trait.name:<{width}}  {' '.join(cells)}".rstrip())
    return [*lines, figures.verdict]


def _render_bar(value: float, largest: float) -> str:
    """Return a bar of `BAR_CELLS` cells in steps of 1/8; a positive value fills at least one."""
    eighths = round(8 * BAR_CELLS * value / largest) if largest > 0 else 0
    if value > 0:
        eighths = max(1, eighths)
    full_cells, partial_eighths = divmod(eighths, 8)
    bar = _EIGHTHS[8] * full_cells + (_EIGHTHS[partial_eighths] if partial_eighths else "")
    return f"{bar:<{BAR_CELLS}}"
