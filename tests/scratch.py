"""Choose the folder of the tests' temporary files: in memory if the machine has enough.

Scope: choosing the folder. Out of scope: fixtures (`conftest.py`).
Source: https://man7.org/linux/man-pages/man5/tmpfs.5.html

A graph test waits for the disk more than it computes: a home is a handful of SQLite files that
flush every commit. A busy disk completed 12 flushes per second, memory 220,000. On both, files that
a process wrote before it was killed survive.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

MEMORY_FOLDER = Path("/dev/shm")
DISK_TEMP = Path(tempfile.gettempdir())  # for files that outlive a run: logs of failed tests
NEEDED_BYTES = 8 << 30  # all tests together left 3.4 GB when passed tests kept their folders


def available_memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Return the bytes that programs can allocate without swapping, or 0 if they are unknown."""
    if not meminfo.exists():
        return 0
    for line in meminfo.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) << 10
    return 0


def has_room(folder: Path, *, needed_bytes: int = NEEDED_BYTES) -> bool:
    """Return whether folder and memory have that much space and the folder allows execution."""
    if not os.access(folder, os.W_OK):
        return False
    stats = os.statvfs(folder)
    can_execute = not stats.f_flag & os.ST_NOEXEC
    return can_execute and min(stats.f_bavail * stats.f_frsize, available_memory()) >= needed_bytes


def put_temporary_files_in_memory() -> None:
    """Put temporary files of this process and its children in memory, unless TMPDIR is set.

    The folder is removed when this process ends. Pytest's folders are beside it; pytest keeps those
    of failed tests until its next run.
    """
    if "TMPDIR" in os.environ or not has_room(MEMORY_FOLDER):
        return
    folder = tempfile.mkdtemp(prefix="twin-tests-", dir=MEMORY_FOLDER)
    Path(folder).chmod(0o711)  # PostgreSQL refuses root and runs as nobody in a subfolder
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY_FOLDER)
    atexit.register(_remove, folder, os.getpid())


def _remove(folder: str, creator_pid: int) -> None:
    if os.getpid() == creator_pid:  # a fork must not remove it
        # Files that a dying child still writes are left until the next boot.
        shutil.rmtree(folder, ignore_errors=True)
