"""Give uniform access to the members of an export, within limits against hostile archives.

Scope: the class `Archive` (names, sizes, bytes), `ArchiveLimits` and `MemberError`.
Out of scope: folders, zips and tars (`archive`, `packed`), the meaning of a member (importers).

Nothing is unpacked to disk, so no name can escape a folder. Unsafe names, links, devices and
encrypted members are counted in `refused` and not listed.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import lzma
import os
import re
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from twin_resources.errors import TwinError

_PIECE_BYTES = 1 << 16
# Most names match this: they are safe, visible and equal in every Unicode normalization form.
_PLAIN_NAME = re.compile(r"[\w-][\w. -]*(?:/[\w-][\w. -]*)*", re.ASCII)
READ_ERRORS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # a compression that this Python does not support
    RuntimeError,  # encrypted without a flag
    OSError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True)
class ArchiveLimits:
    """Limits on reading one archive.

    Attributes:
        members: number of names (an X archive of ten years with media has about 50,000).
        member_bytes: size of one member that is read (X splits tweets into parts of 100 MB).
        read_bytes: total bytes read from the archive.
        walked_bytes: size to which a tar may expand while it is walked, including its media.
        ratio: expanded size divided by packed size, for a member or a whole tar above 16 MiB
            (tweets in JSON reach 20:1, and deflate cannot exceed 1032:1).
    """

    members: int = 200_000
    member_bytes: int = 512 << 20
    read_bytes: int = 8 << 30
    walked_bytes: int = 32 << 30
    ratio: int = 200


MIN_RATIO_BYTES = 16 << 20


class MemberError(ValueError):
    """A member that cannot be read, with the `reason` for `Skipped`.

    Reasons are `missing`, `too_large`, `too_compressed`, and `unreadable` or `torn` for a
    failed read.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"{name}: {reason}")


RETRYABLE_REASONS = frozenset({"unreadable", "torn"})
"""Reasons why a member, or its rest, was not read; a retry may read more."""

FAILED_READS = RETRYABLE_REASONS | {"malformed_row"}
"""Reasons after which no post counts as deleted, because posts may exist that were not read.

A malformed row cannot be identified, so it may be any missing post.
"""


class Archive(ABC):
    """The members of an export, as a context manager that is not thread-safe.

    Attributes:
        path: the path that was opened.
        kind: `folder`, `zip`, `tar` or `file`.
        refused: number of unlisted members by reason (`unsafe_name`, `link`, `special_file`,
            `encrypted`, `same_name_twice`, and `unreadable` for a folder that cannot be listed).
        written_at: time of the newest member, in seconds; it orders two exports of one account even
            if a copy lost the file's time.
    """

    kind = "archive"

    def __init__(self, path: Path, *, limits: ArchiveLimits) -> None:
        self.path = path
        self.bounds = limits
        self.refused: Counter[str] = Counter()
        self.written_at = 0.0
        self._sizes: dict[str, int] = {}
        self._read_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def names(self) -> tuple[str, ...]:
        """Return the sorted POSIX paths (NFC) of regular files, without hidden and macOS files."""
        return tuple(sorted(self._sizes))

    def names_matching(self, pattern: str) -> list[str]:
        """Return names whose end, from the start of a path part, matches the regular expression.

        `Shares\\.csv` finds `Shares.csv` and `ada-2024/Shares.csv`; case is ignored.
        """
        expression = re.compile(rf"(?:.*/)?(?:{pattern})", re.IGNORECASE)
        return [name for name in self.names() if expression.fullmatch(name)]

    def candidates(self, pattern: str) -> Sequence[str]:
        """Return the names that match, or else the name of a single file."""
        return self.names_matching(pattern) or (self.names() if self.kind == "file" else ())

    def size(self, name: str) -> int:
        """Return a member's expanded size in bytes.

        Raises:
            MemberError: `missing`.
        """
        if name not in self._sizes:
            raise MemberError(name, "missing")
        return self._sizes[name]

    def read(self, name: str, *, limit: int | None = None) -> bytes:
        """Return all bytes of a member.

        Args:
            name: the member's name.
            limit: size above which a member is `too_large`; None means
                `ArchiveLimits.member_bytes`.

        Raises:
            MemberError: the member cannot be read.
            TwinError: more than `ArchiveLimits.read_bytes` was read from this archive.
        """
        limit = self.bounds.member_bytes if limit is None else limit
        if self.size(name) > limit:
            raise MemberError(name, "too_large")
        return b"".join(self.pieces(name, limit=limit))

    def head(self, name: str, *, count: int = _PIECE_BYTES) -> bytes:
        """Return the first `count` bytes of a member, or b"" if it cannot be read.

        A later read of the whole member reports the error.
        """
        content = bytearray()
        try:
            for piece in self.pieces(name):
                content += piece
                if len(content) >= count:
                    break
        except MemberError:
            return b""
        return bytes(content[:count])

    def first_and_last_bytes(self, name: str) -> bytes:
        """Return the first 64 KiB of a member, and the last 64 KiB if it is a plain file on disk.

        Raises:
            MemberError: the member cannot be read.
        """
        size = self.size(name)
        try:
            with self._open(name) as stream:
                end = stream.read(_PIECE_BYTES)
                if self.kind not in {"folder", "file"}:
                    return end
                if size > 2 * _PIECE_BYTES:
                    stream.seek(-_PIECE_BYTES, os.SEEK_END)
                return end + stream.read(_PIECE_BYTES)
        except READ_ERRORS as error:
            raise MemberError(name, "unreadable" if self.kind == "folder" else "torn") from error

    def pieces(self, name: str, *, limit: int | None = None) -> Iterator[bytes]:
        """Yield a member's bytes 64 KiB at a time, so that memory never holds all of it.

        Raises:
            MemberError, TwinError: as in `read`, possibly after some pieces.
        """
        limit = self.bounds.member_bytes if limit is None else limit
        size = self.size(name)
        if size > MIN_RATIO_BYTES and size > self._packed_size(name) * self.bounds.ratio:
            raise MemberError(name, "too_compressed")
        total = 0
        try:
            with self._open(name) as stream:
                while piece := stream.read(_PIECE_BYTES):
                    total += len(piece)
                    self._read_bytes += len(piece)
                    if total > limit:
                        raise MemberError(name, "too_large")
                    if self._read_bytes > self.bounds.read_bytes:
                        raise self._limit_error(
                            f"more than {self.bounds.read_bytes:,} bytes of posts"
                        )
                    yield piece
        except MemberError:
            raise
        except READ_ERRORS as error:
            raise MemberError(name, "unreadable" if self.kind == "folder" else "torn") from error

    def digest(self) -> str:
        """Return the SHA-256 of the file's bytes, which identifies an unchanged export.

        Raises:
            TwinError: the file cannot be read.
        """
        try:
            with self.path.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise build_unreadable_error(self.path, str(error)) from error

    def close(self) -> None:
        """Close open files; closing twice has no effect."""
        return

    @abstractmethod
    def _open(self, name: str) -> IO[bytes]: ...

    def _packed_size(self, name: str) -> int:
        """Return a member's packed size, or its expanded size if the container records none."""
        return self.size(name)

    def _add_member(self, raw_name: str, size: int, written_at: float) -> str:
        """List a regular file; return its name, or "" if it is refused or hidden."""
        name = raw_name if _PLAIN_NAME.fullmatch(raw_name) else self._safe_name(raw_name)
        if not name or name.partition("/")[0] == "__MACOSX":
            return ""
        if name in self._sizes:
            self.refused["same_name_twice"] += 1
            return ""
        self._sizes[name] = size
        self.written_at = max(self.written_at, written_at)
        if len(self._sizes) > self.bounds.members:
            raise self._limit_error(f"more than {self.bounds.members:,} files")
        return name

    def _safe_name(self, raw_name: str) -> str:
        """Return the name for the listing, or "" if it is refused or hidden."""
        name = unicodedata.normalize("NFC", raw_name.replace("\\", "/"))
        name = name.encode("utf-8", "backslashreplace").decode()
        parts = name.removeprefix("./").split("/")
        if name.startswith("/") or ".." in parts or "" in parts or re.match(r"[A-Za-z]:", name):
            self.refused["unsafe_name"] += 1
            return ""
        if any(part.startswith(".") for part in parts):
            return ""
        return "/".join(parts)

    def _limit_error(self, found: str) -> TwinError:
        return TwinError(
            f"read {self.path}",
            found=found,
            next_step="unpack the part that contains the posts and import that folder",
        )


def build_unreadable_error(path: Path, found: str) -> TwinError:
    return TwinError(
        f"read {path}", found=found, next_step="grant read permission, or export it again"
    )
