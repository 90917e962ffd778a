"""The folder of the tests' temporary files: in memory when the machine has room for them.

Scope: choosing it. Out of scope: fixtures (`conftest.py`).
Source: https://man7.org/linux/man-pages/man5/tmpfs.5.html

A graph test waits for the disk more than it computes: a home is a handful of SQLite files that
flush every commit, and a busy disk gave 12 flushes a second where memory gave 220,000. Files that a
process wrote before it was killed survive in both.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
ON_DISK = Path(tempfile.gettempdir())  # for files that outlive a run: logs of failed tests
NEEDED = 8 << 30  # bytes; all tests together left 3.4 GB when passed tests kept their folders


def available_memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Return the bytes that programs may take without swapping; 0 where meminfo does not say."""
    if not meminfo.exists():
        return 0
    for line in meminfo.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) << 10
    return 0


def is_fit(folder: Path, *, needed: int = NEEDED) -> bool:
    """Return whether folder and memory have this many bytes and the folder allows execution."""
    if not os.access(folder, os.W_OK):
        return False
    stats = os.statvfs(folder)
    can_execute = not stats.f_flag & os.ST_NOEXEC
    return can_execute and min(stats.f_bavail * stats.f_frsize, available_memory()) >= needed


def keep_in_memory() -> None:
    """Put temporary files of this process and its children in memory, unless TMPDIR is set.

    The folder is removed when this process ends. Pytest's folders are beside it; pytest keeps those
    of failed tests until its next run.
    """
    if "TMPDIR" in os.environ or not is_fit(MEMORY):
        return
    folder = tempfile.mkdtemp(prefix="twin-tests-", dir=MEMORY)
    Path(folder).chmod(0o711)  # PostgreSQL refuses root and runs as nobody in a subfolder
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)
    atexit.register(_remove, folder, os.getpid())


def _remove(folder: str, creator_pid: int) -> None:
    if os.getpid() == creator_pid:  # a fork must not remove it
        # Files that a dying child still writes are left until the next boot.
        shutil.rmtree(folder, ignore_errors=True)
