"""The picture of a training is one, and shows what the history has."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from twin_assets.training.loss_plot import loss_plot, smoothed


def history(**more: float) -> list[dict[str, float]]:
    return [
        {"step": step, "loss": 3.0 / step, "lr": 0.001, "tokens_per_s": 700.0 + step} | more
        for step in range(1, 30)
    ]


def png_of(markdown: str) -> bytes:
    start, _, rest = markdown.partition("(data:image/png;base64,")
    assert start == "![ann, sft]"
    return base64.b64decode(rest.removesuffix(")"), validate=True)


def test_it_is_a_png_that_follows_the_numbers() -> None:
    drawn = png_of(loss_plot(history(), title="ann, sft"))
    assert drawn.startswith(b"\x89PNG")
    assert len(drawn) < 60_000  # the event log keeps it
    other: list[dict[str, Any]] = [row | {"loss": 9.0} for row in history()]
    assert png_of(loss_plot(other, title="ann, sft")) != drawn
    assert png_of(loss_plot(history(margin=0.4), title="ann, sft")) != drawn


def test_the_held_out_curve_is_drawn() -> None:
    curve = [{"step": 0, "loss": 4.0}, {"step": 29, "loss": 2.0}]
    with_it = loss_plot(history(), title="ann, sft", held_out=curve)
    assert png_of(with_it) != png_of(loss_plot(history(), title="ann, sft"))
    assert len(png_of(with_it)) < 60_000


def test_smoothing_keeps_what_is_even_and_evens_out_what_is_not() -> None:
    assert smoothed([2.0] * 30) == pytest.approx([2.0] * 30)
    zigzag = [1.0, 3.0] * 15
    found = smoothed(zigzag)
    assert len(found) == len(zigzag)
    assert max(abs(value - 2.0) for value in found) < 0.3
    assert smoothed([5.0]) == [5.0]


def test_without_a_step_there_is_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="without a step"):
        loss_plot([], title="ann, sft")
