"""What became of the answers: every value is drawn, under a plain name."""

from __future__ import annotations

import re

import pytest

from twin_resources.gateway.chat.figures import score_figures
from twin_resources.observability.langfuse.trace_reading import DailyScore, ScoreHistory


@pytest.mark.parametrize(("means", "highest"), [((0.2, 0.9), "1"), ((2.0, 4.5), "4.5")])
def test_a_score_above_one_is_drawn_inside_its_axis(
    means: tuple[float, float], highest: str
) -> None:
    days = tuple(
        DailyScore(f"2026-09-0{number}", "v3", "judge:stars@26fd8413b998", mean, 1)
        for number, mean in enumerate(means, start=1)
    )
    html = score_figures(ScoreHistory(days, names=("judge:stars@26fd8413b998",)), days=30)
    assert "stars (judge), daily mean" in html
    assert "version 3" in html
    assert "26fd" not in html
    assert f">{highest}</text>" in html
    low, high = (float(y) for y in re.findall(r'<circle[^>]* cy="([\d.]+)"', html))
    assert low > high, "the higher value is further up"
