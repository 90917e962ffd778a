"""List the NVIDIA GPUs of this machine that training would use.

Scope: querying `nvidia-smi`, and the installed build of torch.
Out of scope: the models that fit a card (`model_fit.py`), processors (`processor.py`), any import
outside the standard library and syntax newer than Python 3.9 (`preflight.py` runs under any
Python).
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Sequence
from importlib import metadata

QUERY = ("nvidia-smi", "--query-gpu=uuid,name,memory.total", "--format=csv,noheader,nounits")
MIB = 1.048576e6
TIMEOUT_S = 60.0
CPU_BUILD_SUFFIX = "+cpu"  # suffix of torch builds that cannot use a GPU

Card = tuple[str, float]


def list_gpus() -> list[Card]:
    """List NVIDIA GPUs as (name, memory in GB), without those that `CUDA_VISIBLE_DEVICES` hides.

    Source: https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html
    """
    cards: list[tuple[str, Card]] = []
    for line in _query_nvidia_smi().splitlines():
        uuid, _, rest = line.partition(",")
        name, _, mebibytes = rest.rpartition(",")
        if name and mebibytes.strip().isdigit():
            cards.append((uuid.strip(), (name.strip(), round(int(mebibytes) * MIB / 1e9, 1))))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [card for _, card in cards]
    return _select_visible_gpus(cards, [part.strip() for part in visible.split(",")])


def list_usable_gpus() -> list[Card]:
    """Return `list_gpus`, or none if the installed torch was built without CUDA.
    Before the installation, all GPUs count, because the build with CUDA will be installed.
    """
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        version = ""
    return [] if version.endswith(CPU_BUILD_SUFFIX) else list_gpus()


def _select_visible_gpus(cards: Sequence[tuple[str, Card]], names: Sequence[str]) -> list[Card]:
    """Select cards by number or UUID prefix in the order of `names`, up to an invalid name."""
    shown: list[Card] = []
    for name in names:
        if name.isdigit() and int(name) < len(cards):
            shown.append(cards[int(name)][1])
            continue
        matching = [
            card for uuid, card in cards if name.startswith("GPU-") and uuid.startswith(name)
        ]
        if not matching:
            break
        shown.append(matching[0])
    return shown


@functools.cache
def _query_nvidia_smi() -> str:
    """Return the output of `nvidia-smi`, or "" if it is missing, fails or takes too long.
    It runs once per process, so that a temporary failure does not change the trained model.
    """
    try:
        completed = subprocess.run(
            QUERY, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return completed.stdout if completed.returncode == 0 else ""
