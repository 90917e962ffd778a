"""Whether bf16 is the faster precision on this processor: one answer for training, gate, embedder.

Scope: that rule, and the person's word against it. Out of scope: GPUs, what a
precision costs (`model_fit.py`), timing it (`twin doctor` does), any import outside the standard
library and syntax newer than Python 3.9 (`preflight.py` is run by whatever Python there is).

To have the instruction is not enough. `avx512_bf16` takes two products at a time, and AMD's cores
(Zen 4 on) run as many of them as of fp32's; Intel's run half as many, so nothing is won and the
conversions are lost: on a Xeon that shows the flag and no AMX a linear layer takes bf16 at 84
GFLOP/s and fp32 at 150, and the embedder needs 1.7 times as long in bf16. Intel's gain is AMX.
It is a rule and no measurement at the start: vectors and likelihoods are kept by precision, and
one that changed with what else the machine happens to do would have them computed again.

`TWIN_BF16=on` and `off` say it whatever the processor is: virtual machines hide what they are.
oneDNN has a switch of its own for the rest: `ONEDNN_MAX_CPU_ISA=AVX2`.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

ON, OFF = "on", "off"
ALWAYS = r"\b(amx_bf16|bf16)\b"  # tiles of Intel's; matrix products of Arm's
OF_AMD = r"\bavx512_bf16\b"


def bf16_is_faster() -> bool:
    """On Linux by what /proc/cpuinfo says of maker and instructions, else no."""
    said = os.environ.get("TWIN_BF16", "").lower()
    if said in (ON, OFF):
        return said == ON
    if platform.system() != "Linux":
        return False
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False  # a container may hide it: slower, and right
    return bool(re.search(ALWAYS, told) or ("AuthenticAMD" in told and re.search(OF_AMD, told)))
