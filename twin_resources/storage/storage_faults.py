"""What went wrong with a disk, a file, a database or a bucket, by its cause, each with its cure.

Scope: telling the five causes apart in the errors of what writes and reads here (Python,
SQLite, PostgreSQL, Lance), and the sentences for the person. `troubleshooting.md` has a row each.
Out of scope: mending, and what an error means that is none of a storage.

Python says the cause by a number, SQLite and PostgreSQL by a code; Lance says it in words. A code
may leave it open (`SQLITE_IOERR`, `SQLITE_CANTOPEN`): then the place itself is looked at.
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
    """Where things are kept, something keeps them from being read or written.

    Attributes:
        found_words: what is found, with `{place}` in it.
        cure: what to do about it.
    """

    found_words: ClassVar[str]
    cure: ClassVar[str]

    @classmethod
    def at(cls, place: str | Path, tried: str, detail: str = "") -> StorageFault:
        """The fault of a place, in its words.

        Args:
            detail: what the library said; empty: nothing that helps.
        """
        found = cls.found_words.format(place=place)
        return cls(tried, found=f"{found} ({detail})" if detail else found, next_step=cls.cure)


class DiskFull(StorageFault):
    """There was no room for what was to be written; what stood before still stands."""

    found_words = "no space left on the disk of {place}"
    cure = "free space there and run it again; what was stored before is unchanged"


class ReadOnly(StorageFault):
    """It can be read and not written, or this user may do neither."""

    found_words = "this user may not write to {place}"
    cure = (
        "mount that disk writable, or give this user the rights (chmod -R u+rwX), and run it "
        "again; nothing was changed"
    )


class Damaged(StorageFault):
    """A file is cut short, empty, overwritten or missing."""

    found_words = "{place} is damaged"
    cure = (
        "`twin repair` says which tables it can bring back and how; what it cannot comes from a "
        "backup (`twin restore`)"
    )


class Away(StorageFault):
    """The server, the bucket or the disk does not answer, or does not let this user in."""

    found_words = "{place} cannot be reached"
    cure = (
        "see that the disk is mounted or the server runs, and check the address "
        "(TWIN_TABLES_URI, TWIN_STATE_URL), the credentials and the network"
    )


class Locked(StorageFault):
    """Another program holds it."""

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
    (ReadOnly, ("(os error 1)", "(os error 13)", "(os error 30)")),  # Rust's
)
# Lance, of what it was to read. Its errors name the line of Rust that they come from.
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
# PostgreSQL's, by the beginning of the code
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
_MIN_ROOM = 65_536  # bytes: below, SQLite cannot make the index of its log


def is_full(error: BaseException) -> bool:
    """Whether this error says that a disk, or the quota on it, is used up."""
    return _by_number(error) is DiskFull or _by_words(error) is DiskFull


@contextmanager
def told_when_full(tried: str, place: str | Path) -> Generator[None]:
    """Within it, an error of a full disk becomes a `DiskFull`; every other one passes.

    For what runs code that does much besides storing: a training, a download.

    Args:
        tried: as a `TwinError` says it.
        place: the folder or address that was written to.

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
    """Within it, an error of the storage becomes the fault that it is; every other one passes.

    Args:
        tried: as a `TwinError` says it.
        place: the file, folder or address that is read or written; of a database its URL.
        otherwise: what an error is whose words say nothing; None: none of the storage.

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
    """What an error says of the storage that it came from; None: nothing."""
    for cause in _causes(error):
        local = _file_of(place)
        fault = _by_number(cause, local) or _by_sqlite(cause, local) or _by_postgresql(cause)
        fault = fault or _by_words(cause) or _by_lance(cause, place)
        if fault is not None:
            return fault
    return None


def detail_of(error: BaseException) -> str:
    """What the library said, in one line without its own source lines."""
    text = str(getattr(error, "orig", None) or error).strip()
    first = text.splitlines()[0] if text else type(error).__name__
    return _RUST.sub("", first).removeprefix("External error: ").rstrip(" ,")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and the driver's own that SQLAlchemy wraps."""
    yield error
    inner = getattr(error, "orig", None)
    if isinstance(inner, BaseException):
        yield inner


def _by_number(error: BaseException, local: Path | None = None) -> type[StorageFault] | None:
    if not isinstance(error, OSError) or error.errno is None:
        return None
    fault = _NUMBERS.get(error.errno)
    if fault is ReadOnly and local is not None and isinstance(error.filename, str):
        # somebody else's file, which code met that runs between two writes
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
    """What keeps a SQLite file from being opened or written, by a look at where it lies."""
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
    if not code:  # no connection, or one that was lost
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
    # An object store that answers neither with an object nor with its absence
    return Away if "generic s3 error" in message and "://" in str(place) else None


def _file_of(place: str | Path) -> Path | None:
    """The file or folder of an address on this machine; None: it is elsewhere."""
    text = str(place)
    if text.startswith("sqlite:///"):
        return Path(unquote(text.removeprefix("sqlite:///").partition("?")[0]))
    return None if "://" in text else Path(text)
