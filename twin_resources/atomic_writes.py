"""Replacing a file that others read: they see the old one or the new one, never a part.

Scope: the one function that does it, for several threads and processes at once. Out of
scope: what a file holds, files that are made once and kept (`weights/`, `backup/`).
"""
# pyright: strict

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace_file(path: Path, content: str | bytes) -> Path:
    """Write a file under a name that no other writer has, then move it to its place.

    It is readable by its owner alone from its first byte on, and on the disk before it has its
    name: a power failure leaves the old file. Folders that are missing are made.

    Returns:
        `path`.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=".partial")
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content.encode("utf-8") if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return path
