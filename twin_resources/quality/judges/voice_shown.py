"""How author, base model and tuned model write, as figures to look at: a record beside the report.

Scope: the record, its file, finding the newest of an author, its lines with small bars.
Out of scope: counting (`twin_assets/evaluation/measures/visible_voice.py`), the picture
(`evaluation/report/plots.py`), scores that decide (`voice.py`).

    <home>/checkpoints/<author>/<checkpoint>/evaluation/voice_shown.json, voice_shown.svg

Page and command read it, and import no asset. It holds rates of function words, marks and lengths,
no text: whoever forgets a post leaves it, and a forgotten checkpoint takes it along.
"""
# pyright: strict

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from twin_resources.atomic_writes import replace_file
from twin_resources.errors import TwinError

SCHEMA = 1
FILE, PICTURE = "voice_shown.json", "voice_shown.svg"
WRITERS = ("author", "base", "tuned")
BAR_CELLS = 8
_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True)
class Trait:
    """One figure of each writer, in the unit of its habit; `name`: a word, a mark or a bin."""

    name: str
    author: float
    base: float
    tuned: float


@dataclass(frozen=True)
class ShownHabit:
    """Traits that belong together.

    Attributes:
        name: `function words`, `sentence length`, `punctuation` or `openings`.
        unit: `per 100 words`, `% of sentences` or `% of texts`.
        traits: the most telling first, or in the order of the bins.
        base_apart, tuned_apart: mean difference from the author over all traits, in the unit.
    """

    name: str
    unit: str
    traits: tuple[Trait, ...]
    base_apart: float
    tuned_apart: float

    @property
    def tuned_is_nearer(self) -> bool:
        return self.tuned_apart < self.base_apart


@dataclass(frozen=True)
class VoiceShown:
    """All habits."""

    habits: tuple[ShownHabit, ...]

    @property
    def verdict(self) -> str:
        """One line: in how many habits the tuned model is nearer to the author than the base."""
        nearer = [habit.name for habit in self.habits if habit.tuned_is_nearer]
        return (
            f"nearer to the author than the base model in {len(nearer)} of {len(self.habits)} "
            f"habits{': ' if nearer else ''}{', '.join(nearer)}"
        )


def write_voice_shown(path: Path, shown: VoiceShown, *, author: str, checkpoint: str) -> None:
    """Write the record.

    Args:
        path: of `voice_shown.json`.
        author: slug; checkpoint: hash.
    """
    document = {"schema": SCHEMA, "author": author, "checkpoint": checkpoint} | asdict(shown)
    replace_file(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def read_voice_shown(path: Path) -> VoiceShown | None:
    """Read a record; None when there is none.

    Raises:
        TwinError: it is damaged, or of a newer schema.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] == SCHEMA:
            fields = {name: document[name] for name in VoiceShown.__dataclass_fields__}
            return TypeAdapter(VoiceShown).validate_python(fields)
        reason = "another schema than this version knows"
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        reason = f"{type(error).__name__}: {error}"[:200]
    raise TwinError(
        f"read {path}",
        found=reason,
        next_step="delete the file; the next evaluation rewrites it ",
    )


def voice_shown_of(checkpoints: Path, author: str, checkpoint: str) -> VoiceShown | None:
    """The record of one checkpoint; None: its evaluation wrote none (yet).

    Args:
        checkpoints: `Settings.checkpoints_dir`.
        checkpoint: hash.

    Raises:
        TwinError: as `read_voice_shown`.
    """
    return read_voice_shown(checkpoints / author / checkpoint / "evaluation" / FILE)


def newest_voice_shown(checkpoints: Path, author: str) -> Path | None:
    """The newest record of an author's checkpoints; None: no evaluation has written one yet.

    Args:
        checkpoints: `Settings.checkpoints_dir`.
    """
    files = (checkpoints / author).glob(f"*/evaluation/{FILE}")
    return max(files, key=lambda path: path.stat().st_mtime, default=None)


def bars(shown: VoiceShown, *, most: int = 4) -> list[str]:
    """The record as lines of a terminal, bars of each habit on one scale.

    Args:
        most: traits of a habit; sentence lengths have all of their bins.
    """
    lines: list[str] = []
    width = max((len(trait.name) for habit in shown.habits for trait in habit.traits), default=0)
    for habit in shown.habits:
        bar_lines = habit.traits if habit.unit == "% of sentences" else habit.traits[:most]
        largest = max((_largest(trait) for trait in bar_lines), default=0.0)
        head = "".join(f"{name:<{BAR_CELLS + 7}}" for name in WRITERS).rstrip()
        lines += [f"{habit.name}, {habit.unit}", f"  {'':<{width}}  {head}"]
        for trait in bar_lines:
            cells = (
                f"{_bar(value, largest)} {value:<5.1f} "
                for value in (trait.author, trait.base, trait.tuned)
            )
            lines.append(f"  {trait.name:<{width}}  {' '.join(cells)}".rstrip())
    return [*lines, shown.verdict]


def _largest(trait: Trait) -> float:
    return max(trait.author, trait.base, trait.tuned)


def _bar(value: float, largest: float) -> str:
    """`BAR_CELLS` cells, filled by eighths; something that is there is never nothing."""
    eighths = round(8 * BAR_CELLS * value / largest) if largest > 0 else 0
    if value > 0:
        eighths = max(1, eighths)
    whole, rest = divmod(eighths, 8)
    filled = _EIGHTHS[8] * whole + (_EIGHTHS[rest] if rest else "")
    return f"{filled:<{BAR_CELLS}}"
