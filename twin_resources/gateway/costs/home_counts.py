"""Share counters between the gateway processes of a home.

Scope: one small table in a file, which is read, changed and written under a lock.
Out of scope: the counters themselves (`admission.py`, `cost.py`).

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
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

COUNTS_VARIABLE = "TWIN_GATEWAY_COUNTS"  # set by the listening process for its workers
# The Prometheus library reads this variable when it is imported. The listening process forks its
# workers, so it must not import the library.
METRICS_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_MAX_BYTES = 4 * 1024 * 1024

CounterValues = dict[str, float]


def create_counts_file(home: Path) -> Path:
    """Create an empty table for the processes of one gateway."""
    path = home / "gateway" / "counts.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # processes of an earlier gateway keep their open file
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return path


def create_counters_folder(home: Path) -> Path:
    """Create an empty folder for the counters of one gateway's processes."""
    folder = home / "gateway" / "metrics"
    shutil.rmtree(folder, ignore_errors=True)  # counters begin at 0 when the gateway starts
    folder.mkdir(parents=True, mode=0o700)
    return folder


@dataclass
class HomeCounts:
    """A table of named counters, each with one or more numbers.

    Attributes:
        path: the file that several processes share, or None for a single process.
    """

    path: Path | None = None
    _local_table: dict[str, CounterValues] = field(default_factory=dict[str, CounterValues])
    _lock: Lock = field(default_factory=Lock)
    _file: int = -1

    @contextmanager
    def lock_table(self) -> Generator[dict[str, CounterValues]]:
        """Lock and yield the table, then write it back; this takes about 40 µs if it is shared."""
        if self.path is None:
            yield self._local_table
            return
        with self._lock:
            if self._file < 0:
                self._file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                old_content = os.pread(self._file, _MAX_BYTES, 0)
                table: dict[str, Any] = json.loads(old_content) if old_content else {}
                try:
                    yield table
                finally:
                    content = json.dumps(table).encode()
                    # In the same call, blanks overwrite the end of a longer old table.
                    os.pwrite(self._file, content.ljust(len(old_content)), 0)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
