"""Draw the plot of an evaluation as SVG: the voice of author, base and tuned model.

Scope: drawing. Out of scope: the plotted values (`visible_voice.py`) and the text around the plot
(`markdown.py`).
"""
# pyright: strict

from __future__ import annotations

import io
from typing import Any, cast

from twin_resources.quality.judges.voice_figures import VoiceFigures

TITLE = "The voice of the author, the base model and the tuned model"
COLORS = {"author": "#1f3a5f", "base": "#b8c2cc", "tuned": "#c8791e"}


def draw_voice_plot(voice: VoiceFigures) -> str:
    """Draw a bar chart for each habit, with three bars per trait."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    columns = 2
    rows = -(-len(voice.habits) // columns)
    figure: Any = Figure(figsize=(9.0, 3.4 * rows), layout="constrained")
    for index, habit in enumerate(voice.habits):
        axes: Any = figure.add_subplot(rows, columns, index + 1)
        for bar_index, (writer, color) in enumerate(COLORS.items()):
            axes.barh(
                [row + 0.27 * (bar_index - 1) for row in range(len(habit.traits))],
                [getattr(trait, writer) for trait in habit.traits],
                height=0.25,
                color=color,
                label=writer,
            )
        axes.set_yticks(range(len(habit.traits)), [trait.name for trait in habit.traits])
        axes.invert_yaxis()
        axes.set_title(f"{habit.name}, {habit.unit}", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(axis="x", alpha=0.3)
        if index == 0:
            axes.legend(fontsize=8)
    figure.suptitle(f"{TITLE}\n{voice.verdict}", fontsize=10)
    # If letters were outlines instead of text, a plot would take 30 KB of the event log.
    stream, settings = io.StringIO(), cast("Any", mpl)
    with settings.rc_context({"svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()
