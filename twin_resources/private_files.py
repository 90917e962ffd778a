"""Files of a home that are nobody else's: readable by their owner only, whoever made the home.

Scope: modes, of what is made and of what is there. Out of scope: which files hold
what, replacing a file's text (`atomic_writes.py`).

A file that is made with the shell's usual mask is readable by every user of the machine. State and
logs hold readers' questions, and SQLite gives `-wal` and `-shm` the mode of their database.
"""
# pyright: strict

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

_OTHERS = 0o077
_OF_SQLITE = ("", "-wal", "-shm", "-journal")


def database_files(path: Path) -> list[Path]:
    """A SQLite database with the files that lie beside it while it is in use."""
    return [path.with_name(path.name + ending) for ending in _OF_SQLITE]


def make_private_database(path: Path) -> None:
    """A SQLite database that its owner alone can read, made empty where there is none."""
    if not path.exists():
        # What cannot be made here SQLite cannot open either, and says why.
        with contextlib.suppress(OSError):
            _make_empty(path)
    take_from_others(database_files(path))


def _make_empty(path: Path) -> None:
    """Made under another name: who closes a file ends all locks that the process holds on it, and
    another thread may have opened this one. https://www.sqlite.org/howtocorrupt.html, 2.2"""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")  # mode 600
    os.close(descriptor)
    made = Path(name)
    try:
        path.hardlink_to(made)
    finally:
        made.unlink()


def take_from_others(paths: Iterable[Path]) -> list[Path]:
    """Take every right of others from files and folders; those that are not there are passed over.

    A link is left, as what it leads to may be anybody's.

    Returns:
        Those that others still can read: another user owns them, or the disk takes no modes.
    """
    left: list[Path] = []
    for path in paths:
        try:
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode) or not mode & _OTHERS:
                continue
            path.chmod(stat.S_IMODE(mode) & ~_OTHERS)
            if path.stat().st_mode & _OTHERS:
                left.append(path)
        except FileNotFoundError:
            continue  # SQLite removes what lies beside a database when nobody uses it
        except OSError:
            left.append(path)
    return left
