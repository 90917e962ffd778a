"""Lines over time as SVG: scores by version, evidence against its threshold.

Belongs here: drawing points that somebody else computed; axis, legend and a text for those who do
not see it. Does not belong here: which figures (`traces_tab.py`).
Source: https://www.w3.org/TR/SVG2. Colours are the style sheet's, so that dark mode keeps them
readable; nothing is loaded and no script runs.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twin_resources.gateway.chat.readable import as_text

WIDTH, HEIGHT = 420, 180  # as wide as a column of the page: a letter keeps its size
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 26
COLOURS = 6  # classes twin-line-0 … of the style sheet


@dataclass(frozen=True)
class ChartLine:
    """A named line; its points are (x, y), x ascending."""

    name: str
    points: Sequence[tuple[float, float]]


def line_chart(
    title: str,
    lines: Sequence[ChartLine],
    *,
    ends: tuple[str, str],
    low: float,
    high: float,
    limit: tuple[str, float] | None = None,
    logarithmic: bool = False,
) -> str:
    """A figure with its legend; of no points a sentence that says so.

    Args:
        ends: what stands under the first and the last x.
        low, high: of the vertical axis; points outside are drawn at its end.
        limit: a dashed line: its name and value.
    """
    known = [line for line in lines if line.points]
    if not known:
        return f'<p class="twin-empty">{as_text(title)}: nothing yet.</p>'
    xs = [x for line in known for x, _ in line.points]
    first, last = min(xs), max(xs)

    def across(x: float) -> float:
        share = 0.5 if first == last else (x - first) / (last - first)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def down(y: float) -> float:
        y = min(max(y, low), high)
        share = (
            math.log(y / low) / math.log(high / low) if logarithmic else (y - low) / (high - low)
        )
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = [_axis(low, high, down, logarithmic=logarithmic), _ends(ends)]
    if limit is not None:
        y = down(limit[1])
        parts.append(
            f'<line class="twin-limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
    svg: list[str] = []
    legend: list[str] = []
    for number, line in enumerate(known):
        kind = f"twin-line-{number % COLOURS}"
        places = [(across(x), down(y)) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline class="twin-line {kind}" points="{path}"/>')
        if len(places) <= 60:
            parts += [
                f'<circle class="twin-dot {kind}" cx="{x:.1f}" cy="{y:.1f}" r="3">'
                f"<title>{as_text(line.name)}: {value:.3g}</title></circle>"
                for (x, y), (_, value) in zip(places, line.points, strict=True)
            ]
        svg.append(f"{line.name} {line.points[-1][1]:.3g}")
        legend.append(f'<span class="twin-key {kind}">{as_text(line.name)}</span>')
    if limit is not None:
        svg.append(f"{limit[0]} {limit[1]:.3g}")
        legend.append(
            f'<span class="twin-key twin-key-limit">{as_text(limit[0])} {limit[1]:.3g}</span>'
        )
    label = as_text(f"{title}, newest: {', '.join(svg)}")
    return (
        f'<figure class="twin-chart"><figcaption>{as_text(title)} {" ".join(legend)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg></figure>"
    )


def bar(name: str, spent: float, budget: float | None) -> str:
    """What was spent of a budget, in dollars; without a budget the amount alone."""
    if budget is None:
        return f'<p class="twin-bar-name">{as_text(name)}: <strong>${spent:.4f}</strong></p>'
    share = 1.0 if budget <= 0 else min(spent / budget, 1.0)
    kind = " twin-full" if share >= 0.9 else ""
    return (
        f'<p class="twin-bar-name">{as_text(name)}: <strong>${spent:.4f}</strong> of '
        f'${budget:.2f}</p><div class="twin-bar{kind}" role="meter" aria-valuemin="0" '
        f'aria-valuemax="{budget:.2f}" aria-valuenow="{spent:.4f}" aria-label="{as_text(name)}">'
        f'<span style="width:{100 * share:.1f}%"></span></div>'
    )


def _axis(low: float, high: float, down: Callable[[float], float], *, logarithmic: bool) -> str:
    middle = math.sqrt(low * high) if logarithmic else (low + high) / 2
    made: list[str] = []
    for value in (low, middle, high):
        y = down(value)
        made.append(
            f'<line class="twin-grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>'
        )
    return "".join(made)


def _ends(ends: tuple[str, str]) -> str:
    y = HEIGHT - 6
    return (
        f'<text x="{LEFT}" y="{y}">{as_text(ends[0])}</text>'
        f'<text x="{WIDTH - RIGHT}" y="{y}" text-anchor="end">{as_text(ends[1])}</text>'
    )
