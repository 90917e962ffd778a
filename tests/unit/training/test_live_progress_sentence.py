"""Test the description of a training step."""

from __future__ import annotations

from twin_assets.training.live_progress import _describe_step

STEP = {"step": 1, "steps": 95, "loss": 10.81835, "tokens_per_second": 2777.4}


def test_the_time_left_is_reported_once_it_is_known() -> None:
    assert _describe_step(STEP) == "step 1 of 95: loss 10.818, 2777 tokens/s"
    assert _describe_step(STEP | {"seconds_left": 90}).endswith(", 1.5 min left")
