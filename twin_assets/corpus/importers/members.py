"""Provide uniform access to the members of an export, with limits against hostile archives.

Scope: the class `Archive` (names, sizes, bytes), `ArchiveLimits` and `MemberError`.
Out of scope: reading folders, zips and tars (`archive`, `zip_and_tar`), and the meaning of a member
(importers).

Nothing is unpacked to disk, so no name can escape a folder. Unsafe names, links, devices and
encrypted members are counted in `rejection_counts` and not listed.
"""
# pyright: strict

from __future__ import annotations

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
from typing import IO, Self

from twin_resources.errors import TwinError

_PIECE_BYTES = 1 << 16
# Most names match this pattern. Such names are safe, visible and unchanged by normalization.
_PLAIN_NAME = re.compile(r"[\w-][\w. -]*(?:/[\w-][\w. -]*)*", re.ASCII)
READ_ERRORS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # an unsupported compression method
    RuntimeError,  # an encrypted member without the encryption flag
    OSError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True)
class ArchiveLimits:
    """Limits on reading one archive.

    Attributes:
        max_members: maximum number of members (a ten-year X archive with media has about 50,000).
        max_member_bytes: maximum size of a member to read (X splits tweets into parts of 100 MB).
        max_read_bytes: maximum total number of bytes read from the archive.
        max_tar_bytes: maximum expanded size of a tar, including its media.
        max_ratio: maximum ratio of expanded to compressed size, for a member or a whole tar above
            16 MiB (tweets in JSON reach 20:1, and deflate cannot exceed 1032:1).
    """

    max_members: int = 200_000
    max_member_bytes: int = 512 << 20
    max_read_bytes: int = 8 << 30
    max_tar_bytes: int = 32 << 30
    max_ratio: int = 200


MIN_RATIO_BYTES = 16 << 20


class MemberError(ValueError):
    """A member could not be read; `reason` becomes the reason of a `SkippedItem`.

    Reasons are `missing`, `too_large`, `too_compressed`, and `unreadable` or `torn` for a
    failed read.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"{name}: {reason}")


FAILED_READS = frozenset({"unreadable", "torn", "malformed_row"})
"""Reasons that prevent any post from counting as deleted, because unread posts may still exist.

A malformed row has no identifier, so it may be any missing post.
"""


class Archive(ABC):
    """The members of an export; a context manager that is not thread-safe.

    Attributes:
        path: the path that was opened.
        kind: `folder`, `zip`, `tar` or `file`.
        rejection_counts: number of rejected members by reason (`unsafe_name`, `link`,
            `special_file`, `encrypted`, `same_name_twice`, `unreadable` for a whole folder).
        written_at: time of the newest member, in Unix seconds. It orders two exports of one account
            even if copying changed the file's time.
    """

    kind = "archive"

    def __init__(self, path: Path, *, limits: ArchiveLimits) -> None:
        self.path = path
        self.limits = limits
        self.rejection_counts: Counter[str] = Counter()
        self.written_at = 0.0
        self._sizes: dict[str, int] = {}
        self._read_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def names(self) -> tuple[str, ...]:
        """Return the sorted POSIX paths (NFC) of regular files, except hidden and macOS files."""
        return tuple(sorted(self._sizes))

    def names_matching(self, pattern: str) -> list[str]:
        """Return the names whose last path components match the regular expression.

        `Shares\\.csv` finds `Shares.csv` and `ada-2024/Shares.csv`; case is ignored.
        """
        expression = re.compile(rf"(?:.*/)?(?:{pattern})", re.IGNORECASE)
        return [name for name in self.names() if expression.fullmatch(name)]

    def candidates(self, pattern: str) -> Sequence[str]:
        """Return the matching names, or else the name of a single-file source."""
        return self.names_matching(pattern) or (self.names() if self.kind == "file" else ())

    def size(self, name: str) -> int:
        """Return a member's expanded size in bytes.

        Raises:
            MemberError: `missing`.
        """
        if name not in self._sizes:
            raise MemberError(name, "missing")
        return self._sizes[name]

    def read(self, name: str, *, max_bytes: int | None = None) -> bytes:
        """Return all bytes of a member.

        Args:
            name: the member's name.
            max_bytes: size above which a member is `too_large`; None means
                `ArchiveLimits.max_member_bytes`.

        Raises:
            MemberError: the member cannot be read.
            TwinError: more than `ArchiveLimits.max_read_bytes` was read from this archive.
        """
        max_bytes = self.limits.max_member_bytes if max_bytes is None else max_bytes
        if self.size(name) > max_bytes:
            raise MemberError(name, "too_large")
        return b"".join(self.pieces(name, max_bytes=max_bytes))

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
                first_bytes = stream.read(_PIECE_BYTES)
                if self.kind not in {"folder", "file"}:
                    return first_bytes
                if size > 2 * _PIECE_BYTES:
                    stream.seek(-_PIECE_BYTES, os.SEEK_END)
                return first_bytes + stream.read(_PIECE_BYTES)
        except READ_ERRORS as error:
            raise MemberError(name, "unreadable" if self.kind == "folder" else "torn") from error

    def pieces(self, name: str, *, max_bytes: int | None = None) -> Iterator[bytes]:
        """Yield a member's bytes in pieces of 64 KiB, so that the whole member is never in memory.

        Raises:
            MemberError, TwinError: as in `read`, possibly after some pieces.
        """
        max_bytes = self.limits.max_member_bytes if max_bytes is None else max_bytes
        size = self.size(name)
        max_expanded = self._get_compressed_size(name) * self.limits.max_ratio
        if size > max(MIN_RATIO_BYTES, max_expanded):
            raise MemberError(name, "too_compressed")
        total = 0
        try:
            with self._open(name) as stream:
                while piece := stream.read(_PIECE_BYTES):
                    total += len(piece)
                    self._read_bytes += len(piece)
                    if total > max_bytes:
                        raise MemberError(name, "too_large")
                    if self._read_bytes > self.limits.max_read_bytes:
                        raise self._build_limit_error(
                            f"more than {self.limits.max_read_bytes:,} bytes of posts"
                        )
                    yield piece
        except MemberError:
            raise
        except READ_ERRORS as error:
            raise MemberError(name, "unreadable" if self.kind == "folder" else "torn") from error

    def close(self) -> None:
        """Close open files; closing twice has no effect."""
        return

    @abstractmethod
    def _open(self, name: str) -> IO[bytes]: ...

    def _get_compressed_size(self, name: str) -> int:
        """Return a member's compressed size, or its expanded size if the container records none."""
        return self.size(name)

    def _add_member(self, raw_name: str, size: int, written_at: float) -> str:
        """Add a regular file to the listing; return its name, or "" if it is rejected or hidden."""
        name = raw_name if _PLAIN_NAME.fullmatch(raw_name) else self._normalize_name(raw_name)
        if not name or name.partition("/")[0] == "__MACOSX":
            return ""
        if name in self._sizes:
            self.rejection_counts["same_name_twice"] += 1
            return ""
        self._sizes[name] = size
        self.written_at = max(self.written_at, written_at)
        if len(self._sizes) > self.limits.max_members:
            raise self._build_limit_error(f"more than {self.limits.max_members:,} files")
        return name

    def _normalize_name(self, raw_name: str) -> str:
        """Return the name for the listing, or "" if it is rejected or hidden."""
        name = unicodedata.normalize("NFC", raw_name.replace("\\", "/"))
        name = name.encode("utf-8", "backslashreplace").decode()
        parts = name.removeprefix("./").split("/")
        if name.startswith("/") or ".." in parts or "" in parts or re.match(r"[A-Za-z]:", name):
            self.rejection_counts["unsafe_name"] += 1
            return ""
        if any(part.startswith(".") for part in parts):
            return ""
        return "/".join(parts)

    def _build_limit_error(self, found: str) -> TwinError:
        return TwinError(
            f"read {self.path}",
            found=found,
            next_step="unpack the part that contains the posts and import that folder",
        )


def build_unreadable_error(path: Path, found: str) -> TwinError:
    return TwinError(
        f"read {path}", found=found, next_step="grant read permission, or export it again"
    )
