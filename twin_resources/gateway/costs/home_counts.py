"""Share counters between the gateway processes of a home.

Scope: one small table in a file, read, changed and written under a lock. Out of scope: the counters
themselves (`admission.py`, `cost.py`).

A single process needs no file. With several processes and separate counters, a key could exceed its
limit of concurrent requests several times over, and a machine's tokens would be divided by the
seconds of one process. The table lasts until the gateway ends: if one process dies, the others
stop, and the next start creates a new table.
"""
# pyright: strict

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

COUNTS_VARIABLE = "TWIN_GATEWAY_COUNTS"  # set by the listening process for its workers
_MAX_BYTES = 4 * 1024 * 1024

Numbers = dict[str, float]


def create_counts_file(home: Path) -> Path:
    """Create an empty table for the processes of one gateway."""
    path = home / "gateway" / "counts.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # a process that has a former gateway's file open keeps that file
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return path


@dataclass
class HomeCounts:
    """A table of numbers by name.

    Attributes:
        path: the file that several processes share, or None for a single process.
    """

    path: Path | None = None
    _local_table: dict[str, Numbers] = field(default_factory=dict[str, Numbers])
    _lock: Lock = field(default_factory=Lock)
    _file: int = -1

    @property
    def is_shared(self) -> bool:
        return self.path is not None

    @contextmanager
    def lock_table(self) -> Generator[dict[str, Numbers]]:
        """Lock the table and write it back at the end, in about 40 microseconds if it is shared."""
        if self.path is None:
            yield self._local_table
            return
        with self._lock:
            if self._file < 0:
                self._file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                content_before = os.pread(self._file, _MAX_BYTES, 0)
                table: dict[str, Any] = json.loads(content_before) if content_before else {}
                try:
                    yield table
                finally:
                    content = json.dumps(table).encode()
                    # Blanks overwrite the rest of a longer table, in the same call.
                    os.pwrite(self._file, content.ljust(len(content_before)), 0)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
