"""Where tests keep their temporary files: in memory when the machine has room for them.

Scope: that decision. Out of scope: fixtures (`conftest.py`).
Source: https://man7.org/linux/man-pages/man5/tmpfs.5.html

A graph test waits for the disk more than it computes: a home is a handful of SQLite files that
flush every commit, and a busy disk gave 12 flushes a second where memory gave 220,000. What a
killed process had written survives it in either.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
ON_DISK = Path(tempfile.gettempdir())  # for what outlives a run: logs of failed tests
NEEDED = 8 << 30  # bytes; all tests together left 3.4 GB when passed ones kept their folders


def available_memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes that programs may take without others being pushed out; 0 where nobody says."""
    if not meminfo.exists():
        return 0
    for line in meminfo.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) << 10
    return 0


def is_fit(folder: Path, *, needed: int = NEEDED) -> bool:
    """Whether the folder takes this many bytes, lets programs start, and memory has as much."""
    if not os.access(folder, os.W_OK):
        return False
    room = os.statvfs(folder)
    may_start = not room.f_flag & os.ST_NOEXEC
    return may_start and min(room.f_bavail * room.f_frsize, available_memory()) >= needed


def keep_in_memory() -> None:
    """Let this process and all that it starts use memory; a TMPDIR that somebody set stays.

    The folder goes when this process ends. Pytest's own lie beside it: it keeps those of failed
    tests until its next run.
    """
    if "TMPDIR" in os.environ or not is_fit(MEMORY):
        return
    folder = tempfile.mkdtemp(prefix="twin-tests-", dir=MEMORY)
    Path(folder).chmod(0o711)  # PostgreSQL, which refuses root, runs as nobody in a folder of it
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)
    atexit.register(_remove, folder, os.getpid())


def _remove(folder: str, made_by: int) -> None:
    if os.getpid() == made_by:  # not in a fork of it
        shutil.rmtree(folder, ignore_errors=True)  # what a dying child holds goes at the next boot
