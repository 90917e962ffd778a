"""The picture of a training: its loss smoothed, the held-out curve, learning rate and speed.

Belongs here: drawing. Does not belong here: what is drawn (a manifest's history), Dagster.
Method: Matplotlib without a display, https://matplotlib.org/stable/users/explain/figure/backends.html
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

SMOOTHED_OVER = 0.1  # of the steps, a Gaussian's standard deviation: a step's own samples vary more


def loss_plot(
    history: Sequence[Mapping[str, float]],
    *,
    title: str,
    held_out: Sequence[Mapping[str, float]] = (),
) -> str:
    """A PNG of 20 to 40 KB as a Markdown image: left the losses, right learning rate and speed.

    Args:
        history: `step, loss, lr, tokens_per_s` for each step; `margin` of a preference tuning is
            drawn beside its loss.
        held_out: `step, loss` of the same few held-out samples (`held_out_curve.py`).

    Raises:
        ValueError: no step.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not history:
        raise ValueError("a training without a step has no plot")
    steps = [row["step"] for row in history]
    losses = [row["loss"] for row in history]
    figure = Figure(figsize=(9.0, 3.2), dpi=80, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    if held_out:
        left.plot(
            [row["step"] for row in held_out],
            [row["loss"] for row in held_out],
            color="tab:red",
            marker="o",
            label="held out, never trained on",
        )
    left.plot(steps, smoothed(losses), color="tab:blue", label="training, smoothed")
    left.plot(steps, losses, color="tab:blue", linewidth=0.7, alpha=0.3, label="each step")
    left.set_xlabel("step")
    left.set_ylabel("loss", color="tab:blue")
    left.legend(fontsize=7, frameon=False)
    if "margin" in history[0]:
        beside = left.twinx()
        beside.plot(steps, smoothed([row["margin"] for row in history]), color="tab:green")
        beside.set_ylabel("reward margin", color="tab:green")
    right.plot(steps, [row["lr"] for row in history], color="tab:orange")
    right.set_xlabel("step")
    right.set_ylabel("learning rate", color="tab:orange")
    speed = right.twinx()
    speed.plot(steps, [row["tokens_per_s"] for row in history], color="tab:gray", linewidth=0.8)
    speed.set_ylim(bottom=0)
    speed.set_ylabel("tokens/s", color="tab:gray")
    figure.suptitle(title)
    written = io.BytesIO()
    FigureCanvasAgg(figure).print_png(written)
    return f"![{title}](data:image/png;base64,{base64.b64encode(written.getvalue()).decode()})"


def smoothed(values: Sequence[float]) -> list[float]:
    """Gaussian-weighted means, as wide as `SMOOTHED_OVER` of the values; the ends lean inwards."""
    import numpy as np

    at = np.arange(len(values), dtype=np.float64)
    width = max(SMOOTHED_OVER * len(values), 0.5)
    weights: Any = np.exp(-0.5 * ((at[:, None] - at[None, :]) / width) ** 2)
    return (weights @ np.asarray(values, dtype=np.float64) / weights.sum(axis=1)).tolist()
