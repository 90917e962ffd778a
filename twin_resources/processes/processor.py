"""Count usable cores and memory, and decide whether bf16 is faster than fp32 on this processor.

Scope: the rule for training, gate and embedder.
Out of scope: GPUs, the memory that a precision needs (`model_fit.py`), benchmarks (`twin doctor`),
imports outside the standard library, syntax newer than Python 3.9 (`preflight.py` runs with any
Python).

The presence of the instruction is not enough. `avx512_bf16` computes two products at a time. AMD
cores (Zen 4 and later) execute it at the rate of fp32. Intel cores execute it at half that rate, so
bf16 gains nothing, and the conversions cost time. On a Xeon with the flag and without AMX, a linear
layer runs at 84 GFLOP/s in bf16 and at 150 in fp32. The embedder takes 1.7 times as long in bf16.
AMX makes bf16 faster on Intel.

The decision uses a rule instead of a measurement at the start, because vectors and likelihoods are
stored by precision. If the result varied with the load, they would have to be computed again. A
recipe can name another precision for training (`mixed_precision`). oneDNN has its own switch for
other instructions: `ONEDNN_MAX_CPU_ISA=AVX2`.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

FAST_BF16_FLAGS = r"\b(amx_bf16|bf16)\b"  # Intel's tiles; Arm's matrix products
AMD_BF16_FLAG = r"\bavx512_bf16\b"


def is_bf16_faster() -> bool:
    """Return whether bf16 is faster, from the flags in /proc/cpuinfo; False outside Linux."""
    if platform.system() != "Linux":
        return False
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False  # a container may hide the file; fp32 is slower but correct
    return bool(
        re.search(FAST_BF16_FLAGS, cpuinfo)
        or ("AuthenticAMD" in cpuinfo and re.search(AMD_BF16_FLAG, cpuinfo))
    )


def read_memory_gb() -> float:
    """Return the usable memory in GB within the container's limit, or 0 if it is not reported."""
    try:
        total = float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 0.0
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        limit = ""  # other operating systems and some containers have no such file
    if limit.isdigit():
        total = min(total, float(limit))
    return round(total / 1e9, 1)


def count_usable_cores() -> int:
    """Return the number of cores that this process may use; on macOS all of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
