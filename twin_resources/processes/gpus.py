"""List the NVIDIA GPUs of this machine that training would use.

Scope: querying `nvidia-smi`, and the installed build of torch.
Out of scope: the models that fit a GPU (`model_fit.py`), processors (`processor.py`), imports
outside the standard library, syntax newer than Python 3.9 (`preflight.py` runs with any Python).
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata

from twin_resources.errors import TwinError

COMMAND = ("nvidia-smi", "--query-gpu=uuid,name,memory.total", "--format=csv,noheader,nounits")
MIB = 1.048576e6
TIMEOUT_S = 60.0
CPU_BUILD_SUFFIX = "+cpu"  # suffix of torch builds that cannot use a GPU
CPU_BUILD_REMEDY = (
    "install torch without an index of CPU builds (`pip install --force-reinstall torch`), or set "
    "CUDA_VISIBLE_DEVICES to nothing to do without the card"
)

Gpu = tuple[str, float]


def list_gpus() -> list[Gpu]:
    """List the NVIDIA GPUs that `CUDA_VISIBLE_DEVICES` does not hide, as (name, memory in GB).

    Source: https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html
    """
    gpus_by_uuid: dict[str, Gpu] = {}
    for line in _query_nvidia_smi().splitlines():
        uuid, _, name_and_memory = line.partition(",")
        name, _, mebibytes = name_and_memory.rpartition(",")
        if name and mebibytes.strip().isdigit():
            memory_gb = round(int(mebibytes) * MIB / 1e9, 1)
            gpus_by_uuid[uuid.strip()] = (name.strip(), memory_gb)
    visible_devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible_devices is None:
        return list(gpus_by_uuid.values())
    return list(_select_visible_gpus(gpus_by_uuid, visible_devices.split(",")))


def list_usable_gpus() -> list[Gpu]:
    """Return the GPUs of `list_gpus`.

    Before torch is installed, all GPUs count, because the build with CUDA will be installed.

    Raises:
        TwinError: the installed torch was built without CUDA, so that training and imports would
            run on the processor of a machine whose GPU is paid for.
    """
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        version = ""
    gpus = list_gpus()
    if gpus and version.endswith(CPU_BUILD_SUFFIX):
        raise TwinError(
            "use the GPU",
            found=f"{describe_gpus(gpus)}, which torch {version} cannot use",
            next_step=CPU_BUILD_REMEDY,
        )
    return gpus


def describe_gpus(gpus: Sequence[Gpu]) -> str:
    """Return names and memory sizes for a message."""
    return ", ".join(f"{name} ({memory:.0f} GB)" for name, memory in gpus)


def _select_visible_gpus(gpus_by_uuid: Mapping[str, Gpu], names: Sequence[str]) -> Iterator[Gpu]:
    """Yield GPUs by number or by the beginning of a UUID, up to the first invalid name."""
    for name in map(str.strip, names):
        matches = [
            gpu
            for number, (uuid, gpu) in enumerate(gpus_by_uuid.items())
            if name == str(number) or (name.startswith("GPU-") and uuid.startswith(name))
        ]
        if not matches:
            return
        yield matches[0]


@functools.cache
def _query_nvidia_smi() -> str:
    """Return the output of `nvidia-smi`, or "" if it is missing, fails or takes too long.

    The command runs once per process, so that a temporary failure does not change the choice of
    model.
    """
    try:
        completed = subprocess.run(
            COMMAND, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return completed.stdout if completed.returncode == 0 else ""
