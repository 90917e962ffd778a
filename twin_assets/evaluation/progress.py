"""Where a measurement stands: seconds by part, and what a step of each part takes about.

Scope: wall time, expected lengths of steps. Out of scope: what is measured, the
lines as such (`twin_resources/processes/progress_lines.py`).
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from twin_resources.models.model_fit import WITHOUT_BF16
from twin_resources.processes.progress_lines import ProgressLines

__all__ = ["AGAIN_S", "ANSWER_S", "REFERENCE_S", "Clock", "ProgressLines", "read_s"]

# Seconds a step of SmolLM2-135M on two cores with bf16 where nothing else runs: what counts is how
# they compare, since the parts that were made correct those that are to come.
READ_S, ANSWER_S, AGAIN_S, REFERENCE_S = 0.3, 0.9, 0.3, 1.0


def read_s(precision: str) -> float:
    """Seconds to read a passage, in `bf16` or `fp32`.

    Servers compute alike with and without bf16. Expected at one speed, slow reading made the
    answers after it look slow as well: "6:02 left" where 1:28 were.
    """
    return READ_S if precision == "bf16" else READ_S * WITHOUT_BF16


@dataclass
class Clock:
    """Wall seconds by part; one that is gone through again adds to what it took before."""

    seconds: dict[str, float] = field(default_factory=dict[str, float])

    @contextmanager
    def part(self, name: str) -> Generator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            passed = self.seconds.get(name, 0.0) + time.monotonic() - started
            self.seconds[name] = round(passed, 2)
