"""Lines and bars as SVG: inside of their box, told in words, escaped."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from twin_resources.gateway.chat.charts import HEIGHT, WIDTH, ChartLine, bar, line_chart

SVG = re.compile(r"<svg.*</svg>", re.DOTALL)


def drawn(html: str) -> ElementTree.Element:
    found = SVG.search(html)
    assert found
    return ElementTree.fromstring(found[0])


def points(svg: ElementTree.Element) -> list[tuple[float, float]]:
    return [
        (float(x), float(y))
        for line in svg.iter("polyline")
        for x, y in (pair.split(",") for pair in line.attrib["points"].split())
    ]


@pytest.mark.parametrize("logarithmic", [False, True])
def test_higher_is_further_up_and_all_is_inside(logarithmic: bool) -> None:
    line = ChartLine("v1", [(0, 0.01), (1, 0.5), (2, 1.0), (3, 9.0)])
    svg = drawn(
        line_chart("x", [line], ends=("a", "b"), low=0.01, high=1.0, logarithmic=logarithmic)
    )
    found = points(svg)
    assert [y for _, y in found] == sorted((y for _, y in found), reverse=True)
    assert found[2][1] == found[3][1]  # what lies above ends at the edge
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in found)


def test_who_does_not_see_it_is_told() -> None:
    html = line_chart(
        "support",
        [ChartLine("v1", [(0, 0.25)]), ChartLine("base", [])],
        ends=("a", "b"),
        low=0,
        high=1,
        limit=("alarm at", 0.9),
    )
    assert drawn(html).attrib["aria-label"] == "support, newest: v1 0.25, alarm at 0.9"
    assert "base" not in html


def test_nothing_yet() -> None:
    assert "nothing yet" in line_chart(
        "support", [ChartLine("v1", [])], ends=("", ""), low=0, high=1
    )


def test_names_are_text() -> None:
    html = line_chart("<b>", [ChartLine('"><i>', [(0, 1)])], ends=("<u>", ""), low=0, high=1)
    assert not re.search(r"<(b|i|u)>", html)
    drawn(html)


@pytest.mark.parametrize(
    ("spent", "budget", "width", "full"),
    [(0.5, 2.0, "25.0", False), (1.9, 2.0, "95.0", True), (5, 2.0, "100.0", True)],
)
def test_a_bar_is_the_share(spent: float, budget: float, width: str, full: bool) -> None:
    html = bar("Paid", spent, budget)
    assert f"width:{width}%" in html
    assert ("twin-full" in html) == full
    assert "meter" not in bar("Paid", spent, None)
