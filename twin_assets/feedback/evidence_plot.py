"""Draw the plot of a stream: scores by readers or a judge, their bound, and the evidence.

Scope: drawing. Out of scope: computing a day's values (`twin_resources/quality/retraining`).
Method: Matplotlib without a display, https://matplotlib.org/stable/users/explain/figure/backends.html
"""

from __future__ import annotations

import base64
import io
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twin_resources.quality.retraining.score_watch import StreamDays
    from twin_resources.statistics.detector import StreamEvidence

PLOTTED_DAYS = 90


def draw(days: StreamDays, *, until: int, threshold: float) -> bytes:
    """Draw a PNG of about 30 KB: each day's mean and its bound above, the evidence against its
    threshold on a log scale below.

    Args:
        until: sequence number of the last value to include; the newest 90 days up to it are
            drawn.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    at = [end for end in days.ends_after(0) if end <= until]
    known = [days.evidence(until=end) for end in at]
    shown = [
        day_of(days, evidence, after=after)
        for after, evidence in zip([0, *at], known, strict=False)
    ][-PLOTTED_DAYS:]
    at, known = at[-PLOTTED_DAYS:], known[-PLOTTED_DAYS:]
    figure = Figure(figsize=(7.2, 4.4), dpi=80, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(at, [mean for mean, _ in shown], label="mean of a day")
    above.plot(at, [bound for _, bound in shown], linestyle="--", label="held to")
    above.set_ylim(-0.02, 1.02)
    above.set_ylabel("value")
    below.plot(at, [max(one.e_value, 0.01) for one in known], label="likelihood ratio")
    below.axhline(threshold, linestyle="--", color="tab:red", label="threshold")
    below.set_yscale("log")
    below.set_ylabel("likelihood ratio")
    below.set_xlabel("last value of the day (sequence number)")
    above.legend(loc="lower left", fontsize="small")
    below.legend(loc="upper left", fontsize="small")
    figure.suptitle(f"{days.author} {days.version}, {days.stream}")
    written = io.BytesIO()
    FigureCanvasAgg(figure).print_png(written)
    return written.getvalue()


def day_of(days: StreamDays, evidence: StreamEvidence, *, after: int) -> tuple[float, float]:
    """Return the mean of the last day in `evidence`, and the bound of its classes, weighted by
    their values; NaN while the detector is arming.

    Args:
        after: sequence number of the last value of the day before.
    """
    mine = [
        one
        for one in days.sums
        if after < one.last <= evidence.last and one.version == days.version
    ]
    held = [one for one in mine if one.prompt_class in evidence.held_to]
    total = math.fsum(one.count * evidence.held_to[one.prompt_class] for one in held)
    bound = total / sum(one.count for one in held) if held else math.nan
    return math.fsum(one.total for one in mine) / sum(one.count for one in mine), bound


def inline(png: bytes, *, title: str) -> str:
    """Return the picture embedded in Markdown."""
    return f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})"
