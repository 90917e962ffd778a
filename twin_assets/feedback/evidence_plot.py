"""Draw the plot of a stream: the scores of readers or a judge, their bound, and the evidence.

Scope: drawing. Out of scope: computing a day's values (`twin_resources/quality/retraining`).
Method: Matplotlib without a display, https://matplotlib.org/stable/users/explain/figure/backends.html
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twin_resources.quality.retraining.score_watch import ComparedDays
    from twin_resources.statistics.detector import StreamEvidence

PLOTTED_DAYS = 90


def draw_evidence(days: ComparedDays, *, until: int, threshold: float) -> bytes:
    """Draw a PNG of about 30 KB: each day's mean and bound above, the evidence below.

    The evidence and its threshold are drawn on a log scale.

    Args:
        until: sequence number of the last value to include; the newest 90 days up to it are
            drawn.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    day_ends = [end for end in days.find_day_ends(0) if end <= until]
    evidence_by_day = [days.evidence(until=end) for end in day_ends]
    points = [
        compute_day_mean_and_bound(days, evidence, after=after)
        for after, evidence in zip([0, *day_ends], evidence_by_day, strict=False)
    ][-PLOTTED_DAYS:]
    day_ends, evidence_by_day = day_ends[-PLOTTED_DAYS:], evidence_by_day[-PLOTTED_DAYS:]
    figure = Figure(figsize=(7.2, 4.4), dpi=80, layout="constrained")
    value_axes, evidence_axes = figure.subplots(2, 1, sharex=True)
    value_axes.plot(day_ends, [mean for mean, _ in points], label="daily mean")
    value_axes.plot(day_ends, [bound for _, bound in points], linestyle="--", label="bound")
    value_axes.set_ylim(-0.02, 1.02)
    value_axes.set_ylabel("value")
    evidence_axes.plot(
        day_ends,
        [max(evidence.likelihood_ratio, 0.01) for evidence in evidence_by_day],
        label="likelihood ratio",
    )
    evidence_axes.axhline(threshold, linestyle="--", color="tab:red", label="threshold")
    evidence_axes.set_yscale("log")
    evidence_axes.set_ylabel("likelihood ratio")
    evidence_axes.set_xlabel("last value of the day (sequence number)")
    value_axes.legend(loc="lower left", fontsize="small")
    evidence_axes.legend(loc="upper left", fontsize="small")
    figure.suptitle(f"{days.author} {days.version}, {days.stream}")
    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_png(stream)
    return stream.getvalue()


def compute_day_mean_and_bound(
    days: ComparedDays, evidence: StreamEvidence, *, after: int
) -> tuple[float, float]:
    """Return the mean of the last day in `evidence`, and the bound of its classes.

    The bound is weighted by the number of values in each class, and is NaN during warm-up.

    Args:
        after: sequence number of the last value of the previous day.
    """
    day_sums = [
        day_sum
        for day_sum in days.sums
        if after < day_sum.last <= evidence.last and day_sum.version == days.version
    ]
    bounded_sums = [day_sum for day_sum in day_sums if day_sum.prompt_class in evidence.floors]
    total = math.fsum(
        day_sum.count * evidence.floors[day_sum.prompt_class] for day_sum in bounded_sums
    )
    bound = total / sum(day_sum.count for day_sum in bounded_sums) if bounded_sums else math.nan
    return math.fsum(day_sum.total for day_sum in day_sums) / sum(
        day_sum.count for day_sum in day_sums
    ), bound
