"""The first part's own decisions, without a model."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from twin_assets.evaluation.first_part import FIRST_WAVE
from twin_assets.evaluation.measures import served_parity
from twin_assets.evaluation.measures.served_parity import PARITY_LARGEST
from twin_assets.evaluation.served.parity import Parity


def compared(mean: float, *, prompts: int = FIRST_WAVE, largest: float = 0.01) -> Parity:
    return Parity(prompts, 100 * prompts, mean, largest, 0.0, 0, by_prompt=(mean,) * prompts)


@pytest.mark.parametrize(
    ("found", "is_open"),
    [
        (compared(0.002), False),  # as measured where all is well
        (compared(0.004), True),  # near enough to the limit for eight prompts not to tell
        (compared(0.004, prompts=20), False),
        (compared(0.012), True),
        (compared(0.12, largest=0.9), False),  # an adapter whose rows are in the wrong order
        (compared(0.002, largest=PARITY_LARGEST), False),  # one such difference refuses at once
        (compared(math.nan), False),
    ],
)
def test_more_prompts_are_asked_where_eight_do_not_tell(found: Parity, is_open: bool) -> None:
    assert served_parity.is_open(found) is is_open


def test_one_prompt_far_off_does_not_decide_for_the_others() -> None:
    means = (0.04,) + (0.002,) * 7
    mixed = replace(compared(0.002), by_prompt=means)

    assert served_parity.is_open(mixed), "its mean is below the limit, and it is asked again"
