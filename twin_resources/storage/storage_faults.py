"""Classify errors of a disk, a file, a database or a bucket by cause, each with its remedy.

Scope: separating five causes in the errors of Python, SQLite, PostgreSQL and Lance, and the
messages for the person. `troubleshooting.md` has a row for each.
Out of scope: repairs, and errors that do not come from storage.

Python identifies the cause by a number, SQLite and PostgreSQL by a code, and Lance only in words.
A code may be ambiguous (`SQLITE_IOERR`, `SQLITE_CANTOPEN`); the place itself is then inspected.
https://www.sqlite.org/rescode.html, https://www.postgresql.org/docs/15/errcodes-appendix.html
"""
# pyright: strict

from __future__ import annotations

import errno
import os
import re
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote

from twin_resources.errors import TwinError


class StorageFault(TwinError):
    """Storage that cannot be read or written.

    Attributes:
        found_words: the finding, with `{place}` in it.
        cure: the remedy.
    """

    found_words: ClassVar[str]
    cure: ClassVar[str]

    @classmethod
    def at(cls, place: str | Path, tried: str, detail: str = "") -> StorageFault:
        """Return the fault of a place, as an error with its message.

        Args:
            detail: message of the library; empty if it does not help.
        """
        found = cls.found_words.format(place=place)
        return cls(tried, found=f"{found} ({detail})" if detail else found, next_step=cls.cure)


class DiskFull(StorageFault):
    """The disk had no room for new data; the stored data are unchanged."""

    found_words = "no space left on the disk of {place}"
    cure = "free space there and run it again; what was stored before is unchanged"


class ReadOnly(StorageFault):
    """The place can be read but not written, or this user may do neither."""

    found_words = "this user may not write to {place}"
    cure = (
        "mount that disk writable, or give this user the rights (chmod -R u+rwX), and run it "
        "again; nothing was changed"
    )


class Damaged(StorageFault):
    """A file is truncated, empty, overwritten or missing."""

    found_words = "{place} is damaged"
    cure = (
        "`twin repair` says which tables it can bring back and how; what it cannot comes from a "
        "backup (`twin restore`)"
    )


class Away(StorageFault):
    """The server, the bucket or the disk does not answer, or refuses this user."""

    found_words = "{place} cannot be reached"
    cure = (
        "see that the disk is mounted or the server runs, and check the address "
        "(TWIN_TABLES_URI, TWIN_STATE_URL), the credentials and the network"
    )


class Locked(StorageFault):
    """Another program holds the file or the database."""

    found_words = "another program holds {place}"
    cure = (
        "see which one has it open (`twin status`, `fuser FILE`), wait for it or end it, and run "
        "it again; nothing was changed"
    )


_NUMBERS: dict[int, type[StorageFault]] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), DiskFull),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), ReadOnly),
    **dict.fromkeys(
        (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.EHOSTDOWN), Away
    ),
}
_WORDS: tuple[tuple[type[StorageFault], tuple[str, ...]], ...] = (
    (DiskFull, ("no space left on device", "disk quota exceeded", "database or disk is full")),
    (ReadOnly, ("(os error 1)", "(os error 13)", "(os error 30)")),  # Rust's words
)
# Lance's errors name the line of Rust that raised them.
_RUST = re.compile(r",? ?/\S+\.rs:\d+:\d+")
_AWAY = (
    "error sending request", "connection refused", "dns error", "timed out", "timeout",
    "accessdenied", "access denied", "forbidden", "unauthorized", "credential", "nosuchbucket",
    "invalidaccesskeyid", "signaturedoesnotmatch",
    "(os error 5)", "(os error 107)", "(os error 116)",
)  # fmt: skip
_DAMAGED = (
    "invalid range", "file size is too small", "not found", "nosuchkey", "protobuf", "magic number",
    "is not aligned", "corrupt",
)  # fmt: skip
_SQLITE: dict[int, type[StorageFault]] = {
    sqlite3.SQLITE_FULL: DiskFull,
    sqlite3.SQLITE_READONLY: ReadOnly,
    sqlite3.SQLITE_PERM: ReadOnly,
    sqlite3.SQLITE_CORRUPT: Damaged,
    sqlite3.SQLITE_NOTADB: Damaged,
    sqlite3.SQLITE_BUSY: Locked,
    sqlite3.SQLITE_LOCKED: Locked,
}
# PostgreSQL's codes, by their first characters
_POSTGRESQL: tuple[tuple[str, type[StorageFault]], ...] = (
    ("53100", DiskFull),
    ("25006", ReadOnly),
    ("42501", ReadOnly),
    ("55P03", Locked),
    ("40P01", Locked),
    ("XX00", Damaged),
    ("58", Damaged),
    ("08", Away),
    ("28", Away),
    ("3D000", Away),
    ("53", Away),
    ("57P", Away),
)
_MIN_ROOM = 65_536  # bytes; with less, SQLite cannot make the index of its log


def is_full(error: BaseException) -> bool:
    """Return whether this error says that a disk or its quota is used up."""
    return _by_number(error) is DiskFull or _by_words(error) is DiskFull


@contextmanager
def told_when_full(tried: str, place: str | Path) -> Generator[None]:
    """Turn an error of a full disk into a `DiskFull`; pass every other error on.

    It is for code that does much besides storing: a training, a download.

    Args:
        tried: the attempt, as a `TwinError` names it.
        place: folder or address that was written to.

    Raises:
        DiskFull: the disk of `place` is full.
    """
    try:
        yield
    except TwinError:
        raise
    except Exception as error:
        if not is_full(error):
            raise
        raise DiskFull.at(place, tried) from error


@contextmanager
def faults_told(
    tried: str, place: str | Path, *, otherwise: type[StorageFault] | None = None
) -> Generator[None]:
    """Turn an error of the storage into its fault; pass every other error on.

    Args:
        tried: the attempt, as a `TwinError` names it.
        place: file, folder or address that is read or written; the URL of a database.
        otherwise: fault for an unclassified error; None to pass it on.

    Raises:
        StorageFault: one of the five.
    """
    try:
        yield
    except (TwinError, MemoryError):
        raise
    except Exception as error:
        fault = fault_of(error, place) or otherwise
        if fault is None:
            raise
        raise fault.at(place, tried, detail_of(error)) from error


def fault_of(error: BaseException, place: str | Path) -> type[StorageFault] | None:
    """Return the fault of the storage behind an error, or None if there is none."""
    for cause in _causes(error):
        local = _file_of(place)
        fault = _by_number(cause, local) or _by_sqlite(cause, local) or _by_postgresql(cause)
        fault = fault or _by_words(cause) or _by_lance(cause, place)
        if fault is not None:
            return fault
    return None


def detail_of(error: BaseException) -> str:
    """Return the library's message in one line, without its source lines."""
    text = str(getattr(error, "orig", None) or error).strip()
    first = text.splitlines()[0] if text else type(error).__name__
    return _RUST.sub("", first).removeprefix("External error: ").rstrip(" ,")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, then the driver's own error if SQLAlchemy wraps one."""
    yield error
    inner = getattr(error, "orig", None)
    if isinstance(inner, BaseException):
        yield inner


def _by_number(error: BaseException, local: Path | None = None) -> type[StorageFault] | None:
    if not isinstance(error, OSError) or error.errno is None:
        return None
    fault = _NUMBERS.get(error.errno)
    if fault is ReadOnly and local is not None and isinstance(error.filename, str):
        # another program's file, met by code that runs between two writes
        root = local if local.is_dir() else local.parent
        return fault if Path(error.filename).absolute().is_relative_to(root.absolute()) else None
    return fault


def _by_sqlite(error: BaseException, local: Path | None) -> type[StorageFault] | None:
    if not isinstance(error, sqlite3.Error):
        return None
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    known = _SQLITE.get(code & 0xFF)
    if known is not None:
        return known
    if code & 0xFF not in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}:
        return None
    return _fault_at(local) if local is not None else None


def _fault_at(path: Path) -> type[StorageFault]:
    """Inspect the place of a SQLite file that cannot be opened or written, and return the fault."""
    if path.is_dir():
        return Damaged
    folder = path.parent
    if not folder.is_dir():
        return Away
    room = os.statvfs(folder)
    if room.f_flag & os.ST_RDONLY:
        return ReadOnly
    if room.f_bavail * room.f_frsize < _MIN_ROOM or (room.f_files and not room.f_favail):
        return DiskFull
    writable = os.access(folder, os.W_OK | os.X_OK)
    if not writable or (path.exists() and not os.access(path, os.R_OK | os.W_OK)):
        return ReadOnly
    return Away  # the disk itself does not answer


def _by_postgresql(error: BaseException) -> type[StorageFault] | None:
    if not type(error).__module__.startswith("psycopg"):
        return None
    code = str(getattr(error, "pgcode", None) or getattr(error, "sqlstate", None) or "")
    if not code:  # no connection, or a lost one
        return Away if type(error).__name__ in {"OperationalError", "InterfaceError"} else None
    return next((fault for begins, fault in _POSTGRESQL if code.startswith(begins)), None)


def _by_words(error: BaseException) -> type[StorageFault] | None:
    message = str(error).lower()
    return next((fault for fault, words in _WORDS if any(word in message for word in words)), None)


def _by_lance(error: BaseException, place: str | Path) -> type[StorageFault] | None:
    message = str(error)
    if not _RUST.search(message) and "LanceError" not in message:
        return None
    message = message.lower()
    if any(one in message for one in _AWAY):
        return Away
    if any(one in message for one in _DAMAGED):
        return Damaged
    # an object store that reports neither an object nor its absence
    return Away if "generic s3 error" in message and "://" in str(place) else None


def _file_of(place: str | Path) -> Path | None:
    """Return the file or folder of an address on this machine, or None if it is elsewhere."""
    text = str(place)
    if text.startswith("sqlite:///"):
        return Path(unquote(text.removeprefix("sqlite:///").partition("?")[0]))
    return None if "://" in text else Path(text)
