"""List the NVIDIA GPUs of this machine that training would use.

Scope: querying `nvidia-smi`, and the installed build of torch.
Out of scope: the models that fit a GPU (`model_fit.py`), processors (`processor.py`), imports
outside the standard library, syntax newer than Python 3.9 (`preflight.py` runs with any Python).
"""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
from importlib import metadata

QUERY = ("nvidia-smi", "--query-gpu=uuid,name,memory.total", "--format=csv,noheader,nounits")
MIB = 1.048576e6
TIMEOUT_S = 60.0
CPU_BUILD_SUFFIX = "+cpu"  # suffix of torch builds that cannot use a GPU

Gpu = tuple[str, float]


def list_gpus() -> list[Gpu]:
    """List the NVIDIA GPUs that `CUDA_VISIBLE_DEVICES` does not hide, as (name, memory in GB).

    Source: https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html
    """
    gpus: list[Gpu] = []
    gpu_by_name: dict[str, Gpu] = {}  # by number and by UUID
    for line in _query_nvidia_smi().splitlines():
        uuid, _, name_and_memory = line.partition(",")
        name, _, mebibytes = name_and_memory.rpartition(",")
        if name and mebibytes.strip().isdigit():
            gpu = (name.strip(), round(int(mebibytes) * MIB / 1e9, 1))
            gpu_by_name[str(len(gpus))] = gpu_by_name[uuid.strip()] = gpu
            gpus.append(gpu)
    visible_devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible_devices is None:
        return gpus
    names = [part.strip() for part in visible_devices.split(",")]
    # CUDA ignores an invalid name and all names after it.
    valid_names = itertools.takewhile(gpu_by_name.__contains__, names)
    return [gpu_by_name[name] for name in valid_names]


def list_usable_gpus() -> list[Gpu]:
    """Return the GPUs of `list_gpus`, or none if the installed torch was built without CUDA.

    Before torch is installed, all GPUs count, because the build with CUDA will be installed.
    """
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        version = ""
    return [] if version.endswith(CPU_BUILD_SUFFIX) else list_gpus()


@functools.cache
def _query_nvidia_smi() -> str:
    """Return the output of `nvidia-smi`, or "" if it is missing, fails or takes too long.

    The command runs once per process, so that a temporary failure does not change the choice of
    model.
    """
    try:
        completed = subprocess.run(
            QUERY, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return completed.stdout if completed.returncode == 0 else ""
