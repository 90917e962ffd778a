"""The picture of a policy: what an answer costs against what it loses, with the point in force.

Scope: drawing. Out of scope: the steps (`router/fixed_order.py`), Dagster.
Method: Matplotlib without a display, https://matplotlib.org/stable/users/explain/figure/backends.html
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twin_resources.router.fixed_order import PriceStep


def frontier_plot(
    steps: Sequence[PriceStep], *, margin: float, in_force: PriceStep | None, title: str
) -> str:
    """A PNG of about 20 KB as a Markdown image: a point a step, its lower bound, the margin."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6), dpi=80, layout="constrained")
    axes = figure.subplots()
    cost = [1_000 * step.usd for step in steps]
    axes.plot(cost, [step.value for step in steps], marker=".", label="loss on the labels")
    axes.plot(cost, [step.lower for step in steps], linestyle=":", label="its 95 % lower bound")
    axes.axhline(-margin, linestyle="--", color="tab:red", label=f"margin {margin:g}")
    if in_force is not None:
        axes.plot(
            [1_000 * in_force.usd],
            [in_force.value],
            marker="o",
            markersize=9,
            label="in force",
            linestyle="",
            color="tab:green",
        )
    axes.set_xlabel("US dollars for 1,000 answers")
    axes.set_ylabel("score against all paid")
    axes.legend(loc="lower right", fontsize="small")
    axes.set_title(title, fontsize="medium")
    written = io.BytesIO()
    FigureCanvasAgg(figure).print_png(written)
    return f"![{title}](data:image/png;base64,{base64.b64encode(written.getvalue()).decode()})"
