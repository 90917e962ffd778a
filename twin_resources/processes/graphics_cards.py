"""The NVIDIA cards of this machine, and whether a training here would use them.

Scope: asking `nvidia-smi`, and the torch that is installed.
Out of scope: what a card can hold (`model_fit.py`), processors (`processor.py`), any import
outside the standard library and syntax newer than Python 3.9 (`preflight.py` is run by whatever
Python there is).
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
WITHOUT_CUDA = "+cpu"  # how torch names its builds that can't use a card

Card = tuple[str, float]


def gpus() -> list[Card]:
    """NVIDIA GPUs as (name, memory in GB), without those that `CUDA_VISIBLE_DEVICES` hides.

    Source: https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html
    """
    cards: list[tuple[str, Card]] = []
    for line in _listing().splitlines():
        uuid, _, rest = line.partition(",")
        name, _, mebibytes = rest.rpartition(",")
        if name and mebibytes.strip().isdigit():
            cards.append((uuid.strip(), (name.strip(), round(int(mebibytes) * MIB / 1e9, 1))))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [card for _, card in cards]
    return _shown(cards, [part.strip() for part in visible.split(",")])


def usable_gpus() -> list[Card]:
    """`gpus`, or none where the torch that is installed was built without CUDA.

    Before anything is installed all count: the installation brings the build with CUDA then.
    """
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        version = ""
    return [] if version.endswith(WITHOUT_CUDA) else gpus()


def _shown(cards: Sequence[tuple[str, Card]], names: Sequence[str]) -> list[Card]:
    """In the order of `names`, numbers or beginnings of a UUID; the first wrong one ends it."""
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
def _listing() -> str:
    """What `nvidia-smi` prints; empty when it is not there, fails or takes too long.

    Asked once a process: cards do not come and go, and what is trained must not follow a hiccup.
    """
    try:
        ran = subprocess.run(QUERY, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout if ran.returncode == 0 else ""
