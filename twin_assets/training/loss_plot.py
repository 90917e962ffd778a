"""The picture of a training: its loss, its learning rate, its speed, step by step.

Belongs here: drawing. Does not belong here: what is drawn (a manifest's history), Dagster.
Method: Matplotlib without a display, https://matplotlib.org/stable/users/explain/figure/backends.html
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence


def loss_plot(history: Sequence[Mapping[str, float]], *, title: str) -> str:
    """A PNG of 20 to 40 KB as a Markdown image: left the loss, right learning rate and speed.

    Args:
        history: `step, loss, lr, tokens_per_s` for each step; `margin` of a preference tuning is
            drawn beside its loss.

    Raises:
        ValueError: no step.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not history:
        raise ValueError("a training without a step has no plot")
    steps = [row["step"] for row in history]
    figure = Figure(figsize=(9.0, 3.2), dpi=80, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(steps, [row["loss"] for row in history], color="tab:blue")
    left.set_xlabel("step")
    left.set_ylabel("loss", color="tab:blue")
    if "margin" in history[0]:
        beside = left.twinx()
        beside.plot(steps, [row["margin"] for row in history], color="tab:green")
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
