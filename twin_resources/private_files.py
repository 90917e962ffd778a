"""Make the files of a home readable only by their owner.

Scope: the modes of new and existing files.
Out of scope: the contents of files, replacing a file's text (`atomic_writes.py`).

State and logs contain readers' questions. With the usual umask, every user of the machine could
read them. SQLite gives the files `-wal` and `-shm` the mode of their database.
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
    """Return the paths of a SQLite database and of the files that accompany it during use."""
    return [path.with_name(path.name + suffix) for suffix in _SQLITE_SUFFIXES]


def make_private_database(path: Path) -> None:
    """Make a SQLite database readable only by its owner; create an empty one if it is missing."""
    if not path.exists():
        # If this fails, SQLite cannot create the file either and reports the reason.
        with contextlib.suppress(OSError):
            _create_empty_file(path)
    restrict_to_owner(database_files(path))


def _create_empty_file(path: Path) -> None:
    """Create the file under another name and link it.

    Closing a file releases all of the process's locks on it, and another thread may be using the
    database: https://www.sqlite.org/howtocorrupt.html, 2.2
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")  # mode 600
    os.close(descriptor)
    temporary_path = Path(name)
    try:
        path.hardlink_to(temporary_path)
    finally:
        temporary_path.unlink()


def restrict_to_owner(paths: Iterable[Path]) -> list[Path]:
    """Remove all permissions of other users from files and folders; skip missing paths.

    Symbolic links stay unchanged, because their targets may belong to another user.

    Returns:
        Paths that others can still access, because another user owns them or the file system has
        no modes.
    """
    accessible_paths: list[Path] = []
    for path in paths:
        try:
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode) or not mode & _GROUP_AND_OTHERS_BITS:
                continue
            path.chmod(stat.S_IMODE(mode) & ~_GROUP_AND_OTHERS_BITS)
            if path.stat().st_mode & _GROUP_AND_OTHERS_BITS:
                accessible_paths.append(path)
        except FileNotFoundError:
            continue  # SQLite removes these files while a database is not in use
        except OSError:
            accessible_paths.append(path)
    return accessible_paths
