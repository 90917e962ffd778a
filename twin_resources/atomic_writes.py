"""Replace a file atomically, and read whether it was replaced.

Out of scope: the contents of files, files that are created once and kept (`weights/`, `backup/`).
"""
# pyright: strict

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def replace_file(path: Path, content: str | bytes) -> Path:
    """Write a file under a unique temporary name, then rename it to `path`.

    A symbolic link stays, and its target is replaced. Only the owner can ever read the file. It is
    synced to disk before the rename, so a power failure leaves the complete old or new file.
    Missing folders are created.

    Returns:
        `path`.

    Raises:
        OSError: the file cannot be written; no partial file is left.
    """
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(
        dir=target.parent, prefix=f"{target.name}.", suffix=".partial"
    )
    partial_path = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content.encode("utf-8") if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        partial_path.replace(target)
    except BaseException:
        partial_path.unlink(missing_ok=True)
        raise
    return path


def read_status(path: Path) -> os.stat_result:
    """Return a file's status as its server has it; on NFS, `stat` alone may be a minute old.

    Raises:
        OSError: there is no such file.
    """
    with suppress(OSError), path.open("rb"):  # an open file's status is asked of the server
        pass
    return path.stat()
