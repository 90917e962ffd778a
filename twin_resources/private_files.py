"""Make the files of a home readable only by their owner.

Scope: modes of new and existing files. Out of scope: the contents of files, replacing a
file's text (`atomic_writes.py`).
With the shell's usual mask, every user of the machine can read a new file. State and logs contain
readers' questions, and SQLite gives `-wal` and `-shm` the mode of their database.
"""
# pyright: strict

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

_GROUP_AND_OTHERS_BITS = 0o077
_SQLITE_SUFFIXES = ("", "-wal", "-shm", "-journal")


def database_files(path: Path) -> list[Path]:
    """Return the paths of a SQLite database and of the files beside it while it is in use."""
    return [path.with_name(path.name + ending) for ending in _SQLITE_SUFFIXES]


def make_private_database(path: Path) -> None:
    """Make a SQLite database readable only by its owner; create it empty if it is missing."""
    if not path.exists():
        # If the file cannot be made here, SQLite cannot open it either and reports the reason.
        with contextlib.suppress(OSError):
            _create_empty_file(path)
    restrict_to_owner(database_files(path))


def _create_empty_file(path: Path) -> None:
    """Make the file under another name, because closing a file releases all locks of the process
    on it, and another thread may use it. https://www.sqlite.org/howtocorrupt.html, 2.2"""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")  # mode 600
    os.close(descriptor)
    temporary = Path(name)
    try:
        path.hardlink_to(temporary)
    finally:
        temporary.unlink()


def restrict_to_owner(paths: Iterable[Path]) -> list[Path]:
    """Remove all rights of other users from files and folders; missing ones are skipped.
    A link is left as it is, because its target may belong to another user.

    Returns:
        Paths that others can still read: a different user owns them, or the disk has no modes.
    """
    still_accessible: list[Path] = []
    for path in paths:
        try:
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode) or not mode & _GROUP_AND_OTHERS_BITS:
                continue
            path.chmod(stat.S_IMODE(mode) & ~_GROUP_AND_OTHERS_BITS)
            if path.stat().st_mode & _GROUP_AND_OTHERS_BITS:
                still_accessible.append(path)
        except FileNotFoundError:
            continue  # SQLite removes the files beside a database that is not in use
        except OSError:
            still_accessible.append(path)
    return still_accessible
