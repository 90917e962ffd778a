"""Numbers that all gateway processes of a home count together.

Scope: one small table in a file, read, changed and written under a lock. Out of
scope: what is counted (`admission.py`, `cost.py`).

One process needs no file. Of several each would count its own: a key could have the limit's
multiple under way, and a machine's tokens would be divided by the seconds of one process. The table
lives as long as the gateway: a process that dies ends the others, and the next start restarts.
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

COUNTS_VARIABLE = "TWIN_GATEWAY_COUNTS"  # from the process that listens to those that answer
_MAX_BYTES = 4 * 1024 * 1024

Numbers = dict[str, float]


def new_counts(home: Path) -> Path:
    """An empty table for the processes of one gateway."""
    path = home / "gateway" / "counts.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # of a gateway before; who still has it open counts for itself
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return path


@dataclass
class HomeCounts:
    """A table of numbers by name.

    Attributes:
        path: of the file that several processes share; None: one process counts for itself.
    """

    path: Path | None = None
    _own: dict[str, Numbers] = field(default_factory=dict[str, Numbers])
    _lock: Lock = field(default_factory=Lock)
    _file: int = -1

    @property
    def is_shared(self) -> bool:
        return self.path is not None

    @contextmanager
    def changing(self) -> Generator[dict[str, Numbers]]:
        """The table, which nobody else changes meanwhile, written back at the end. Takes some 40
        microseconds where it is shared."""
        if self.path is None:
            yield self._own
            return
        with self._lock:
            if self._file < 0:
                self._file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                written = os.pread(self._file, _MAX_BYTES, 0)
                table: dict[str, Any] = json.loads(written) if written else {}
                try:
                    yield table
                finally:
                    content = json.dumps(table).encode()
                    # Blanks over what a longer table has left: one call, so never half of it.
                    os.pwrite(self._file, content.ljust(len(written)), 0)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
