"""Plots of an evaluation as SVG.

Belongs here: drawing intervals of figures that belong together. Does not belong here: which figures
decide (`gate.py`), the text around them (`markdown.py`).
"""
# pyright: strict

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from twin_assets.evaluation.measures import (
    author_control,
    author_voice,
    general_instructions,
    held_out_perplexity,
    other_authors,
    visible_voice,
)
from twin_assets.evaluation.measures.measure import Measurements
from twin_resources.quality.judges.voice_shown import VoiceShown

SHOWN_PLOT = "voice_shown"
COLOURS = {"author": "#1f3a5f", "base": "#b8c2cc", "tuned": "#c8791e"}
WIDTH, ROW = 7.0, 0.34  # inches
HEADROOM = 1.2


@dataclass(frozen=True)
class IntervalBar:
    """A figure with its interval."""

    name: str
    value: float
    low: float
    high: float


def plots(measured: Measurements) -> Mapping[str, tuple[str, str]]:
    """Name → (title, SVG) of every plot for which there are figures."""
    drawn: dict[str, tuple[str, str]] = {}
    shown = measured.of(visible_voice.MEASURE)
    if shown is not None:
        title = "The voice, seen: the author, the base model, the tuned one"
        drawn[SHOWN_PLOT] = (title, _habits(title, shown))
    for name, title, bars, limit in (
        ("gains", "Perplexity / base model's (below 1 is better)", _gains(measured), 1.0),
        ("voice", "Voice score, told apart from people and base model", _voices(measured), None),
        ("basics", "Loss on general instructions / base model's", _basics(measured), 1.05),
    ):
        if bars:
            drawn[name] = (title, _intervals(title, bars, limit=limit))
    return drawn


def _habits(title: str, shown: VoiceShown) -> str:
    """A field of bars for each habit, three for each trait."""
    from matplotlib.figure import Figure

    columns = 2
    rows = -(-len(shown.habits) // columns)
    figure: Any = Figure(figsize=(9.0, 3.4 * rows), layout="constrained")
    for place, habit in enumerate(shown.habits):
        axes: Any = figure.add_subplot(rows, columns, place + 1)
        for turn, (writer, colour) in enumerate(COLOURS.items()):
            axes.barh(
                [row + 0.27 * (turn - 1) for row in range(len(habit.traits))],
                [getattr(trait, writer) for trait in habit.traits],
                height=0.25,
                color=colour,
                label=writer,
            )
        axes.set_yticks(range(len(habit.traits)), [trait.name for trait in habit.traits])
        axes.invert_yaxis()
        axes.set_title(f"{habit.name}, {habit.unit}", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(axis="x", alpha=0.3)
        if place == 0:
            axes.legend(fontsize=8)
    figure.suptitle(f"{title}\n{shown.verdict}", fontsize=10)
    return _svg(figure)


def _gains(measured: Measurements) -> list[IntervalBar]:
    held_out = measured.of(held_out_perplexity.MEASURE)
    compared = (held_out.base, held_out.incumbent) if held_out is not None else ()
    bars = [
        IntervalBar(f"held-out, against {other.name}", other.ratio, other.low, other.high)
        for other in compared
        if other is not None
    ]
    control = measured.of(author_control.MEASURE)
    if control is not None:
        bars += [
            IntervalBar("the author's, no context", control.own, control.own_low, control.own_high),
            IntervalBar("another author's", control.other, control.other_low, control.other_high),
        ]
    beside = measured.of(other_authors.MEASURE)
    if beside is not None:
        floor = beside.adapter_to_base
        name = "the author's, by other authors' adapter"
        bars.append(IntervalBar(name, floor.value, floor.low, floor.high))
    return bars


def _voices(measured: Measurements) -> list[IntervalBar]:
    voice = measured.of(author_voice.MEASURE)
    compared = voice.against_all if voice is not None else None
    if compared is None:
        return []
    named = (
        ("author", compared.own),
        ("candidate", compared.candidate),
        ("base with posts", compared.base_with_posts),
        ("base", compared.base),
    )
    return [
        IntervalBar(name, scores.value, scores.low, scores.high)
        for name, scores in named
        if scores is not None
    ]


def _basics(measured: Measurements) -> list[IntervalBar]:
    basics = measured.of(general_instructions.MEASURE)
    if basics is None:
        return []
    return [
        IntervalBar(name, ratio.value, ratio.low, ratio.high)
        for name, ratio in (("all", basics.ratio), *((one.kind, one.ratio) for one in basics.kinds))
    ]


def _intervals(title: str, bars: Sequence[IntervalBar], *, limit: float | None) -> str:
    """Dots with their intervals, one below the other; `limit` as a dashed line."""
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(WIDTH, HEADROOM + ROW * len(bars)), layout="constrained")
    axes: Any = figure.add_subplot()
    for row, bar in enumerate(reversed(bars)):
        low, high = (min(max(end, -10.0), 10.0) for end in (bar.low, bar.high))  # ±inf of one post
        axes.plot([low, high], [row, row], color="#7a8ba0", linewidth=3, solid_capstyle="round")
        axes.plot(bar.value, row, "o", color="#1f3a5f")
        axes.annotate(
            f"{bar.value:.2f}",
            (bar.value, row),
            (0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    if limit is not None:
        axes.axvline(limit, linestyle="--", color="#b03a2e", linewidth=1)
    axes.set_yticks(range(len(bars)), [bar.name for bar in reversed(bars)])
    axes.set_ylim(-0.6, len(bars) - 0.2)
    axes.set_title(title, fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    return _svg(figure)


def _svg(figure: Any) -> str:
    """Letters stay letters: drawn as outlines a plot has 30 KB, and the event log keeps it."""
    import matplotlib as mpl

    stream, settings = io.StringIO(), cast("Any", mpl)
    with settings.rc_context({"svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()
