"""Decide whether bf16 is the faster precision on this processor, for training, gate and embedder.

Scope: the rule, and the setting that overrides it. Out of scope: GPUs, the memory of a
precision (`model_fit.py`), timing it (`twin doctor`), any import outside the standard
library and syntax newer than Python 3.9 (`preflight.py` runs under any Python).
The instruction alone is not enough. `avx512_bf16` computes two products at a time. AMD's cores
(Zen 4 on) run it at the rate of fp32; Intel's run it at half the rate, so it gains nothing and the
conversions cost time. On a Xeon with the flag and without AMX, a linear layer runs bf16 at 84
GFLOP/s and fp32 at 150, and the embedder takes 1.7 times as long in bf16. AMX makes Intel faster.
A rule is used rather than a measurement at the start, because vectors and likelihoods are stored by
precision: a result that varied with the load would have them computed again.
`TWIN_BF16=on` and `off` override the rule, because virtual machines hide their processor.
oneDNN has its own switch for other instructions: `ONEDNN_MAX_CPU_ISA=AVX2`.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

ON, OFF = "on", "off"
FAST_BF16_FLAGS = r"\b(amx_bf16|bf16)\b"  # tiles of Intel's; matrix products of Arm's
AMD_BF16_FLAG = r"\bavx512_bf16\b"


def is_bf16_faster() -> bool:
    """Return whether bf16 is faster, by vendor and flags in /proc/cpuinfo; False outside Linux."""
    setting = os.environ.get("TWIN_BF16", "").lower()
    if setting in (ON, OFF):
        return setting == ON
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
