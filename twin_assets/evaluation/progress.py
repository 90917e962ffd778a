"""Time a measurement: seconds by part, and the expected seconds for one step of each part.

Scope: wall time and expected durations of steps. Out of scope: the measurements and writing the
lines (`twin_resources/processes/progress_lines.py`).
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from twin_resources.models.model_fit import SLOWDOWN_WITHOUT_BF16

# Seconds per step of SmolLM2-135M on two otherwise idle cores with bf16. Only their ratios matter,
# because finished parts correct the estimates of the others.
READ_S, REPEATED_ANSWER_S, REFERENCE_S = 0.3, 0.3, 1.0
ANSWER_S, ANSWER_WITH_PASSAGES_S = 0.6, 2.4


def expected_read_s(precision: str) -> float:
    """Return the expected seconds to read a passage, in `bf16` or `fp32`.

    The speed of servers does not depend on bf16. With a single expected speed, slow reading
    inflated the estimate for the later answers ("6:02 left" instead of 1:28).
    """
    return READ_S if precision == "bf16" else READ_S * SLOWDOWN_WITHOUT_BF16


@dataclass
class Clock:
    """Wall seconds by part; a repeated part adds to its earlier time."""

    seconds: dict[str, float] = field(default_factory=dict[str, float])

    @contextmanager
    def time_part(self, name: str) -> Generator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            total = self.seconds.get(name, 0.0) + time.monotonic() - start
            self.seconds[name] = round(total, 2)
