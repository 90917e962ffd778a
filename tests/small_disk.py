"""A disk of some megabytes that a test can really fill.

Scope: mounting it (tmpfs, so root only), filling it, taking it away again.
Out of scope: what is written to it.
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
    """A file system of its own at `path`."""

    path: Path

    @property
    def ballast(self) -> Path:
        return self.path / "ballast"

    def fill(self, *, leave: int = 0) -> None:
        """Use up all but `leave` bytes; who writes there meanwhile may leave less."""
        found = os.statvfs(self.path)
        with suppress(OSError), self.ballast.open("wb", buffering=0) as stream:
            stream.write(bytes(max(0, found.f_bavail * found.f_frsize - leave)))

    def make_room(self) -> None:
        self.ballast.unlink()

    def resize(self, *, megabytes: int) -> None:
        """Make it larger or smaller; it cannot be smaller than what lies on it."""
        command = ["mount", "-o", f"remount,size={megabytes}m", str(self.path)]
        subprocess.run(command, check=True, capture_output=True)


@contextmanager
def small_disk(path: Path, *, megabytes: int) -> Iterator[SmallDisk]:
    """Mount one at `path`; skips the test where this user may not."""
    if not sys.platform.startswith("linux") or not shutil.which("mount"):
        pytest.skip("no mounts: a small disk needs Linux and mount")
    path.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(path)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no mounts: a small disk needs root ({mounted.stderr.strip()})")
    try:
        yield SmallDisk(path)
    finally:
        # lazily: a SQLite connection of the test may still be open
        subprocess.run(["umount", "--lazy", str(path)], check=True)
