"""Classify errors of a disk, a file, a database or a bucket by cause, and suggest a remedy.

Scope: distinguishing five causes in the errors of Python, SQLite, PostgreSQL and Lance, and the
messages for the user. `troubleshooting.md` has a row for each cause.
Out of scope: repairs, and errors that do not come from storage.

Python identifies the cause by a number, SQLite and PostgreSQL by a code, and Lance only by text.
If a code is ambiguous (`SQLITE_IOERR`, `SQLITE_CANTOPEN`), the file and its disk are inspected.
https://www.sqlite.org/rescode.html, https://www.postgresql.org/docs/15/errcodes-appendix.html
"""
# pyright: strict

from __future__ import annotations

import errno
import os
import re
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote

from twin_resources.errors import TwinError


class StorageError(TwinError):
    """Storage cannot be read or written.

    Attributes:
        found_template: the cause, with the placeholder `{place}`.
        remedy: the instruction for the user.
    """

    found_template: ClassVar[str]
    remedy: ClassVar[str]

    @classmethod
    def for_place(cls, place: str | Path, action: str, detail: str = "") -> StorageError:
        """Build the error for a file, folder, database or bucket.

        Args:
            detail: the library's message; empty if it does not help.
        """
        cause = cls.found_template.format(place=place)
        return cls(action, found=f"{cause} ({detail})" if detail else cause, next_step=cls.remedy)


class DiskFullError(StorageError):
    """The disk had no space for new data; the stored data is unchanged."""

    found_template = "no space left on the disk of {place}"
    remedy = "free space there and run the command again; the stored data is unchanged"


class ReadOnlyError(StorageError):
    """The place is read-only, or this user has no permission to read or write it."""

    found_template = "this user may not write to {place}"
    remedy = (
        "mount that disk writable, or give this user the permissions (chmod -R u+rwX), and run "
        "the command again; nothing was changed"
    )


class DamagedError(StorageError):
    """A file is truncated, empty, overwritten or missing."""

    found_template = "{place} is damaged"
    remedy = (
        "`twin repair` reports which tables it can restore and how; restore the rest from a "
        "backup (`twin restore`)"
    )


class UnreachableError(StorageError):
    """The server, the bucket or the disk does not respond, or refuses this user."""

    found_template = "{place} cannot be reached"
    remedy = (
        "make sure that the disk is mounted or the server is running, and check the address "
        "(TWIN_TABLES_URI, TWIN_STATE_URL), the credentials and the network"
    )


class LockedError(StorageError):
    """Another program has locked the file or the database."""

    found_template = "another program is using {place}"
    remedy = (
        "find that program (`twin status`, `fuser FILE`), wait for it or stop it, and run the "
        "command again; nothing was changed"
    )


_ERROR_BY_ERRNO: dict[int, type[StorageError]] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), DiskFullError),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), ReadOnlyError),
    **dict.fromkeys(
        (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.EHOSTDOWN),
        UnreachableError,
    ),
}
_ERROR_BY_MESSAGE: tuple[tuple[type[StorageError], tuple[str, ...]], ...] = (
    (DiskFullError, ("no space left on device", "disk quota exceeded", "database or disk is full")),
    (ReadOnlyError, ("(os error 1)", "(os error 13)", "(os error 30)")),  # Rust's messages
)
# Lance's errors include the line of Rust code that raised them.
_RUST_SOURCE_LINE = re.compile(r",? ?/\S+\.rs:\d+:\d+")
_UNREACHABLE_MESSAGES = (
    "error sending request", "connection refused", "dns error", "timed out", "timeout",
    "accessdenied", "access denied", "forbidden", "unauthorized", "credential", "nosuchbucket",
    "invalidaccesskeyid", "signaturedoesnotmatch",
    "(os error 5)", "(os error 107)", "(os error 116)",
)  # fmt: skip
_DAMAGE_MESSAGES = (
    "invalid range", "file size is too small", "not found", "nosuchkey", "protobuf", "magic number",
    "is not aligned", "corrupt",
)  # fmt: skip
_ERROR_BY_SQLITE_CODE: dict[int, type[StorageError]] = {
    sqlite3.SQLITE_FULL: DiskFullError,
    sqlite3.SQLITE_READONLY: ReadOnlyError,
    sqlite3.SQLITE_PERM: ReadOnlyError,
    sqlite3.SQLITE_CORRUPT: DamagedError,
    sqlite3.SQLITE_NOTADB: DamagedError,
    sqlite3.SQLITE_BUSY: LockedError,
    sqlite3.SQLITE_LOCKED: LockedError,
}
# PostgreSQL's codes, by their first characters.
_ERROR_BY_SQLSTATE: tuple[tuple[str, type[StorageError]], ...] = (
    ("53100", DiskFullError),
    ("25006", ReadOnlyError),
    ("42501", ReadOnlyError),
    ("55P03", LockedError),
    ("40P01", LockedError),
    ("XX00", DamagedError),
    ("58", DamagedError),
    ("08", UnreachableError),
    ("28", UnreachableError),
    ("3D000", UnreachableError),
    ("53", UnreachableError),
    ("57P", UnreachableError),
)
_MIN_FREE_BYTES = 65_536  # with less space, SQLite cannot create the index of its log


def is_disk_full(error: BaseException) -> bool:
    """Return whether this error means that a disk or its quota is full."""
    return _classify_errno(error) is DiskFullError or _classify_message(error) is DiskFullError


@contextmanager
def translate_disk_full(action: str, place: str | Path) -> Generator[None]:
    """Convert an error of a full disk to a `DiskFullError`. Other errors pass unchanged.

    Use this for code that does more than store data, such as a training run or a download.

    Args:
        action: the attempted action, as in a `TwinError`.
        place: the folder or address that was written to.

    Raises:
        DiskFullError: the disk of `place` is full.
    """
    try:
        yield
    except TwinError:
        raise
    except Exception as error:
        if not is_disk_full(error):
            raise
        raise DiskFullError.for_place(place, action) from error


@contextmanager
def translate_storage_errors(
    action: str, place: str | Path, *, default: type[StorageError] | None = None
) -> Generator[None]:
    """Convert a storage error to the matching `StorageError`. Other errors pass unchanged.

    Args:
        action: the attempted action, as in a `TwinError`.
        place: the file, folder or address that is read or written, or the URL of a database.
        default: the class for an unclassified error; None passes it unchanged.

    Raises:
        StorageError: the error has one of the five causes.
    """
    try:
        yield
    except (TwinError, MemoryError):
        raise
    except Exception as error:
        error_class = classify_error(error, place) or default
        if error_class is None:
            raise
        raise error_class.for_place(place, action, summarize_error(error)) from error


def classify_error(error: BaseException, place: str | Path) -> type[StorageError] | None:
    """Return the class of the storage error that caused an error, or None if there is none."""
    local_path = _local_path(place)
    driver_error = getattr(error, "orig", None)  # SQLAlchemy wraps the driver's own error
    causes = [error, driver_error] if isinstance(driver_error, BaseException) else [error]
    for cause in causes:
        error_class = (
            _classify_errno(cause, local_path)
            or _classify_sqlite(cause, local_path)
            or _classify_postgresql(cause)
            or _classify_message(cause)
            or _classify_lance(cause, place)
        )
        if error_class is not None:
            return error_class
    return None


def summarize_error(error: BaseException) -> str:
    """Return the library's message in one line, without its references to source lines."""
    text = str(getattr(error, "orig", None) or error).strip()
    first_line = text.splitlines()[0] if text else type(error).__name__
    return _RUST_SOURCE_LINE.sub("", first_line).removeprefix("External error: ").rstrip(" ,")


def _classify_errno(error: BaseException, local: Path | None = None) -> type[StorageError] | None:
    if not isinstance(error, OSError) or error.errno is None:
        return None
    error_class = _ERROR_BY_ERRNO.get(error.errno)
    if error_class is ReadOnlyError and local is not None and isinstance(error.filename, str):
        # The error may concern another program's file, which the code used between two writes.
        root = local if local.is_dir() else local.parent
        return (
            error_class if Path(error.filename).absolute().is_relative_to(root.absolute()) else None
        )
    return error_class


def _classify_sqlite(error: BaseException, local: Path | None) -> type[StorageError] | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    error_class = _ERROR_BY_SQLITE_CODE.get(code & 0xFF)
    if error_class is not None:
        return error_class
    if code & 0xFF not in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}:
        return None
    return _classify_sqlite_path(local) if local is not None else None


def _classify_sqlite_path(path: Path) -> type[StorageError]:
    """Inspect a SQLite file that cannot be opened or written, and its disk; classify the error."""
    if path.is_dir():
        return DamagedError
    folder = path.parent
    if not folder.is_dir():
        return UnreachableError
    file_system = os.statvfs(folder)
    if file_system.f_flag & os.ST_RDONLY:
        return ReadOnlyError
    if file_system.f_bavail * file_system.f_frsize < _MIN_FREE_BYTES or (
        file_system.f_files and not file_system.f_favail
    ):
        return DiskFullError
    is_folder_writable = os.access(folder, os.W_OK | os.X_OK)
    if not is_folder_writable or (path.exists() and not os.access(path, os.R_OK | os.W_OK)):
        return ReadOnlyError
    return UnreachableError  # the disk itself does not respond


def _classify_postgresql(error: BaseException) -> type[StorageError] | None:
    if not type(error).__module__.startswith("psycopg"):
        return None
    code = str(getattr(error, "pgcode", None) or getattr(error, "sqlstate", None) or "")
    if not code:  # there is no connection, or it was lost
        return (
            UnreachableError
            if type(error).__name__ in {"OperationalError", "InterfaceError"}
            else None
        )
    return next(
        (error_class for prefix, error_class in _ERROR_BY_SQLSTATE if code.startswith(prefix)), None
    )


def _classify_message(error: BaseException) -> type[StorageError] | None:
    message = str(error).lower()
    return next(
        (
            error_class
            for error_class, words in _ERROR_BY_MESSAGE
            if any(word in message for word in words)
        ),
        None,
    )


def _classify_lance(error: BaseException, place: str | Path) -> type[StorageError] | None:
    message = str(error)
    if not _RUST_SOURCE_LINE.search(message) and "LanceError" not in message:
        return None
    message = message.lower()
    if any(pattern in message for pattern in _UNREACHABLE_MESSAGES):
        return UnreachableError
    if any(pattern in message for pattern in _DAMAGE_MESSAGES):
        return DamagedError
    # An object store that reports neither an object nor its absence is unreachable.
    return UnreachableError if "generic s3 error" in message and "://" in str(place) else None


def _local_path(place: str | Path) -> Path | None:
    """Return the local file or folder of an address, or None if it is on another machine."""
    text = str(place)
    if text.startswith("sqlite:///"):
        return Path(unquote(text.removeprefix("sqlite:///").partition("?")[0]))
    return None if "://" in text else Path(text)
