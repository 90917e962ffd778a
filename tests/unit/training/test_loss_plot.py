"""The picture of a training is one, and shows what the history has."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from twin_assets.training.loss_plot import loss_plot


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


def test_without_a_step_there_is_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="without a step"):
        loss_plot([], title="ann, sft")
