"""A file system of a few megabytes that a test can fill.

Scope: mounting it (as tmpfs, which needs root), filling it, unmounting it.
Out of scope: the files on it.
https://man7.org/linux/man-pages/man5/tmpfs.5.html
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class SmallDisk:
    """A small file system mounted at `path`."""

    path: Path

    @property
    def ballast(self) -> Path:
        """The file that takes up the space."""
        return self.path / "ballast"

    def fill(self, *, leave: int = 0) -> None:
        """Use up all but `leave` bytes; fewer remain if another process writes meanwhile."""
        stats = os.statvfs(self.path)
        with suppress(OSError), self.ballast.open("wb", buffering=0) as stream:
            stream.write(bytes(max(0, stats.f_bavail * stats.f_frsize - leave)))

    def make_room(self) -> None:
        self.ballast.unlink()

    def resize(self, *, megabytes: int) -> None:
        """Change the size of the file system; it cannot be smaller than its files."""
        command = ["mount", "-o", f"remount,size={megabytes}m", str(self.path)]
        subprocess.run(command, check=True, capture_output=True)


@contextmanager
def small_disk(path: Path, *, megabytes: int) -> Iterator[SmallDisk]:
    """Mount a small file system at `path`, or skip the test if this user cannot mount."""
    if not sys.platform.startswith("linux") or not shutil.which("mount"):
        pytest.skip("no mounts: a small disk needs Linux and mount")
    path.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(path)]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    if completed.returncode:
        pytest.skip(f"no mounts: a small disk needs root ({completed.stderr.strip()})")
    try:
        yield SmallDisk(path)
    finally:
        # lazy, because a SQLite connection of the test may still be open
        subprocess.run(["umount", "--lazy", str(path)], check=True)
