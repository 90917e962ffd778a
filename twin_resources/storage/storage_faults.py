"""The five causes for which storage fails: full, read-only, damaged, away, locked; and their signs.

Python tells the cause by a number, SQLite and PostgreSQL by a code, Lance by its words alone.
`troubleshooting.md` has a row for each cause. https://www.sqlite.org/rescode.html,
https://www.postgresql.org/docs/15/errcodes-appendix.html
"""
# pyright: strict

from __future__ import annotations

import errno
import os
import re
import sqlite3
from collections.abc import Collection, Generator
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
        errnos: numbers of `OSError` with this cause.
        sqlite_codes: primary result codes of SQLite.
        sqlstates: first characters of PostgreSQL's codes.
        words: lower-case parts of any error's message.
        lance_words: lower-case parts of a message of Lance.
    """

    found_template: ClassVar[str]
    remedy: ClassVar[str]
    errnos: ClassVar[Collection[int]] = ()
    sqlite_codes: ClassVar[Collection[int]] = ()
    sqlstates: ClassVar[tuple[str, ...]] = ()
    words: ClassVar[tuple[str, ...]] = ()
    lance_words: ClassVar[tuple[str, ...]] = ()

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
    errnos = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    sqlite_codes = (sqlite3.SQLITE_FULL,)
    sqlstates = ("53100",)
    words = ("no space left on device", "disk quota exceeded", "database or disk is full")


class ReadOnlyError(StorageError):
    """The place is read-only, or this user has no permission to read or write it."""

    found_template = "this user may not write to {place}"
    remedy = (
        "mount that disk writable, or give this user the permissions (chmod -R u+rwX), and run "
        "the command again; nothing was changed"
    )
    errnos = (errno.EROFS, errno.EACCES, errno.EPERM)
    sqlite_codes = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)
    sqlstates = ("25006", "42501")
    words = ("(os error 1)", "(os error 13)", "(os error 30)")  # Rust's form of these numbers


class LockedError(StorageError):
    """Another program has locked the file or the database."""

    found_template = "another program is using {place}"
    remedy = (
        "find that program (`twin status`, `fuser FILE`), wait for it or stop it, and run the "
        "command again; nothing was changed"
    )
    sqlite_codes = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    sqlstates = ("55P03", "40P01")


class UnreachableError(StorageError):
    """The server, the bucket or the disk does not respond, or refuses this user."""

    found_template = "{place} cannot be reached"
    remedy = (
        "make sure that the disk is mounted or the server is running, and check the address "
        "(TWIN_TABLES_URI, TWIN_STATE_URL), the credentials and the network"
    )
    errnos = (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.EHOSTDOWN)
    sqlstates = ("08", "28", "3D000", "53", "57P")
    lance_words = (
        "error sending request", "connection refused", "dns error", "timed out", "timeout",
        "accessdenied", "access denied", "forbidden", "unauthorized", "credential", "nosuchbucket",
        "invalidaccesskeyid", "signaturedoesnotmatch",
        "(os error 5)", "(os error 107)", "(os error 116)",
    )  # fmt: skip


class DamagedError(StorageError):
    """A file is truncated, empty, overwritten or missing."""

    found_template = "{place} is damaged"
    remedy = (
        "`twin doctor --repair` reports which tables it can restore and how; restore the rest from "
        "a backup (`twin restore`)"
    )
    sqlite_codes = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    sqlstates = ("XX00", "58")
    lance_words = (
        "invalid range", "file size is too small", "not found", "nosuchkey", "protobuf",
        "magic number", "is not aligned", "corrupt",
    )  # fmt: skip


# Ordered: a full PostgreSQL (53100) is no unreachable one (53), nor an unreachable bucket damaged.
CAUSES = (DiskFullError, ReadOnlyError, LockedError, UnreachableError, DamagedError)
# Lance's errors include the line of Rust code that raised them.
_RUST_SOURCE_LINE = re.compile(r",? ?/\S+\.rs:\d+:\d+")
_MIN_FREE_BYTES = 65_536  # with less space, SQLite cannot create the index of its log


@contextmanager
def translate_storage_errors(
    action: str,
    place: str | Path,
    *,
    default: type[StorageError] | None = None,
    only: type[StorageError] | None = None,
) -> Generator[None]:
    """Convert a storage error to the `StorageError` of its cause. Other errors pass unchanged.

    Args:
        action: the attempted action, as in a `TwinError`.
        place: the file, folder or address that is read or written, or the URL of a database.
        default: the class for an error without a known cause; None passes it unchanged.
        only: the one cause to convert, for code that does more than store data, such as a training
            run or a download; None converts all.

    Raises:
        StorageError: the error has one of the five causes.
    """
    try:
        yield
    except (TwinError, MemoryError):
        raise
    except Exception as error:
        error_class = classify_error(error, place) or default
        if error_class is None or only not in {None, error_class}:
            raise
        raise error_class.for_place(place, action, summarize_error(error)) from error


def classify_error(error: BaseException, place: str | Path) -> type[StorageError] | None:
    """Return the class of the storage error that caused an error, or None if there is none."""
    cause: BaseException = getattr(error, "orig", None) or error  # the driver's, below SQLAlchemy's
    number = cause.errno if isinstance(cause, OSError) else None
    sqlite_code: int | None = getattr(cause, "sqlite_errorcode", None)
    sqlstate = str(getattr(cause, "pgcode", None) or getattr(cause, "sqlstate", None) or "")
    message = str(cause).lower()
    is_from_lance = "lanceerror" in message or _RUST_SOURCE_LINE.search(message) is not None
    for error_class in CAUSES:
        if number in error_class.errnos and _is_at(place, cause):
            return error_class
        if sqlite_code is not None and sqlite_code & 0xFF in error_class.sqlite_codes:
            return error_class
        if sqlstate.startswith(error_class.sqlstates):
            return error_class
        if any(words in message for words in error_class.words) or (
            is_from_lance and any(words in message for words in error_class.lance_words)
        ):
            return error_class
    if sqlite_code is not None and sqlite_code & 0xFF in {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
    }:
        return _inspect_disk(place)
    is_lost_connection = type(cause).__name__ in {"OperationalError", "InterfaceError"}
    if type(cause).__module__.startswith("psycopg") and not sqlstate and is_lost_connection:
        return UnreachableError
    # An object store that reports neither an object nor its absence is unreachable.
    is_silent_bucket = is_from_lance and "generic s3 error" in message and "://" in str(place)
    return UnreachableError if is_silent_bucket else None


def summarize_error(error: BaseException) -> str:
    """Return the library's message in one line, without its references to source lines."""
    text = str(getattr(error, "orig", None) or error).strip()
    first_line = text.splitlines()[0] if text else type(error).__name__
    return _RUST_SOURCE_LINE.sub("", first_line).removeprefix("External error: ").rstrip(" ,")


def _is_at(place: str | Path, error: BaseException) -> bool:
    """Return False if a permission is missing elsewhere: for a file used between two writes."""
    path, name = _local_path(place), getattr(error, "filename", None)
    is_refused = isinstance(error, OSError) and error.errno in ReadOnlyError.errnos
    if not is_refused or path is None or not isinstance(name, str):
        return True
    folder = path if path.is_dir() else path.parent
    return Path(name).absolute().is_relative_to(folder.absolute())


def _inspect_disk(place: str | Path) -> type[StorageError] | None:
    """Find the cause on the disk itself, where SQLite says only that it cannot open or write."""
    path = _local_path(place)
    if path is None:
        return None
    if path.is_dir():
        return DamagedError
    folder = path.parent
    if not folder.is_dir():
        return UnreachableError
    disk = os.statvfs(folder)
    is_readable = os.access(path, os.R_OK | os.W_OK) or not path.exists()
    if not os.access(folder, os.W_OK | os.X_OK) or not is_readable:
        return ReadOnlyError
    is_full = disk.f_bavail * disk.f_frsize < _MIN_FREE_BYTES
    if is_full or (disk.f_files and not disk.f_favail):
        return DiskFullError
    return UnreachableError  # the disk itself does not respond


def _local_path(place: str | Path) -> Path | None:
    """Return the local file or folder of an address, or None if it is on another machine."""
    text = str(place)
    if text.startswith("sqlite:///"):
        return Path(unquote(text.removeprefix("sqlite:///").partition("?")[0]))
    return None if "://" in text else Path(text)
