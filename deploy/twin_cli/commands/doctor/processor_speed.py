"""What `twin doctor` finds of the processor: the faster precision, timed, against the one in use.

Belongs here: that measurement of a few hundredths of a second and its words. Does not belong here:
the rule by which a precision is taken (`processor.py`), graphics cards.
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from twin_cli.commands.doctor.findings import Diagnostic, ok, warn
from twin_resources.processes.processor import bf16_is_faster
from twin_resources.settings import Settings

ROWS, INPUTS, OUTPUTS = 512, 576, 1536  # a layer of the default model, a sample's tokens
REPEATS = 9
CLEARLY = 1.2  # what is nearer is left to the rule: clocks differ by as much


@dataclass(frozen=True)
class ProcessorSpeed:
    """10⁹ floating-point operations a second of one thread in a linear layer, the best of nine."""

    bf16: float
    fp32: float


def time_precisions() -> ProcessorSpeed:
    """Both in turns, by the thread's own time, so that what else runs slows neither much."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        dtypes = (torch.bfloat16, torch.float32)
        best = dict.fromkeys(dtypes, float("inf"))
        for _ in range(REPEATS):
            for dtype in dtypes:
                rows = torch.ones(ROWS, INPUTS, dtype=dtype)
                weights = torch.ones(OUTPUTS, INPUTS, dtype=dtype)
                began = time.thread_time()
                torch.nn.functional.linear(rows, weights)
                best[dtype] = min(best[dtype], time.thread_time() - began)
    finally:
        torch.set_num_threads(threads)
    billions = 2 * ROWS * INPUTS * OUTPUTS / 1e9
    return ProcessorSpeed(billions / best[torch.bfloat16], billions / best[torch.float32])


def look_at_processor(_settings: Settings) -> Iterator[Diagnostic]:
    """Whether the precision that is computed in is the faster one here."""
    speed = time_precisions()
    gain = speed.bf16 / speed.fp32
    used, wrong = ("bf16", gain < 1 / CLEARLY) if bf16_is_faster() else ("fp32", gain > CLEARLY)
    found = f"bf16 {speed.bf16:.0f}, fp32 {speed.fp32:.0f} GFLOP/s a thread; {used} is used"
    if not wrong:
        yield ok("processor", found)
        return
    yield warn(
        "processor",
        found,
        f"set TWIN_BF16={'off' if used == 'bf16' else 'on'}; what is kept by precision is "
        "computed anew then",
    )
