"""Whether this processor multiplies bf16 itself: one answer for training, gate and embedder.

Belongs here: that look, and the person's word against it. Does not belong here: GPUs, what a
precision costs (`model_fit.py`), any import outside the standard library and syntax newer than
Python 3.9 (`preflight.py` is run by whatever Python there is).

`TWIN_BF16=off` says no whatever the processor says: for virtual machines whose instructions are
slow, and to measure what a machine without them does. oneDNN has a switch of its own for the rest:
`ONEDNN_MAX_CPU_ISA=AVX2`.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

OFF = "off"


def multiplies_bf16() -> bool:
    """On Linux as /proc/cpuinfo says (x86 `avx512_bf16`, `amx_bf16`, Arm `bf16`), else no."""
    if os.environ.get("TWIN_BF16", "").lower() == OFF or platform.system() != "Linux":
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False  # a container may hide it: slower, and right
    return bool(re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", flags))
