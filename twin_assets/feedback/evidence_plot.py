"""The picture of a stream: what readers or a judge said, what it is held to, and the evidence.

Scope: drawing. Out of scope: computing
(`twin_resources/quality/retraining/evidence_history.py`).
Method: Matplotlib without a display, https://matplotlib.org/stable/users/explain/figure/backends.html
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twin_resources.quality.retraining.evidence_history import StreamHistory


def draw(history: StreamHistory) -> bytes:
    """A PNG of about 30 KB: above, the mean of each day and what it is held to; below, the evidence
    against its threshold on a log scale; alarms as vertical lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps = history.steps
    at = [step.sequence for step in steps]
    figure = Figure(figsize=(7.2, 4.4), dpi=80, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(at, [step.mean for step in steps], label="mean of a day")
    bounds = [float("nan") if step.bound is None else step.bound for step in steps]
    above.plot(at, bounds, linestyle="--", label="held to")
    above.set_ylim(-0.02, 1.02)
    above.set_ylabel("value")
    below.plot(at, [max(step.e_value, 0.01) for step in steps], label="likelihood ratio")
    below.axhline(history.threshold, linestyle="--", color="tab:red", label="threshold")
    below.set_yscale("log")
    below.set_ylabel("likelihood ratio")
    below.set_xlabel("last value of the day (sequence number)")
    for step in steps:
        if step.alarm is not None:
            for part in (above, below):
                part.axvline(step.sequence, color="tab:red", alpha=0.5)
    above.legend(loc="lower left", fontsize="small")
    below.legend(loc="upper left", fontsize="small")
    watch = history.watch
    figure.suptitle(f"{watch.author} {watch.version}, {watch.stream}: {watch.seen:,} values")
    written = io.BytesIO()
    FigureCanvasAgg(figure).print_png(written)
    return written.getvalue()


def inline(png: bytes, *, title: str) -> str:
    """The picture as Markdown that holds it."""
    return f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})"
