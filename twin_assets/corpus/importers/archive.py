"""An export on disk: a folder, a zip, a tar or a single file, read within limits.

Nothing is unpacked to disk, so no name can escape a folder. A tar must be read in sequence, so its
total expanded size is limited; the members of a zip are limited one by one, because its media files
can be skipped. Formats: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT,
https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html; pitfalls:
https://docs.python.org/3/library/zipfile.html#decompression-pitfalls.
"""
# pyright: strict

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from calendar import timegm
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple, Self, cast

from twin_assets.corpus.importers.folders import GENERATED_FOLDERS
from twin_resources.errors import TwinError
from twin_resources.storage.sources.listing import display_path

MIN_RATIO_BYTES = 16 << 20
"""Size from which `ArchiveLimits.max_ratio` applies, in bytes."""
FAILED_READS = frozenset({"unreadable", "torn", "malformed_row"})
"""Reasons that prevent any post from counting as deleted, because unread posts may still exist.

A malformed row has no identifier, so it may be any missing post.
"""

_PIECE_BYTES = 1 << 16
_MAX_TAR_HEADER_BYTES = 1 << 20
_READ_ERRORS = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, struct.error),
    NotImplementedError,  # an unsupported compression method
    RuntimeError,  # an encrypted member without the encryption flag
    *(OSError, ValueError),
)
_TAR_OPENERS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}


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


class MemberError(ValueError):
    """A member could not be read; `reason` becomes the reason of a `SkippedItem`.

    Reasons are `missing`, `too_large`, `too_compressed`, and `unreadable` or `torn` for a
    failed read.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"{name}: {reason}")


class _Member(NamedTuple):
    size: int
    compressed_size: int
    open: Callable[[], IO[bytes]]


class Archive:
    """The members of an export; a context manager that is not thread-safe.

    Attributes:
        path: the path that was opened.
        kind: `folder`, `zip`, `tar` or `file`.
        rejection_counts: number of rejected members by reason (`unsafe_name`, `link`,
            `special_file`, `encrypted`, `same_name_twice`, `unreadable` for a whole folder).
        written_at: time of the newest member, in Unix seconds. It orders two exports of one account
            even if copying changed the file's time.
    """

    def __init__(self, path: Path, limits: ArchiveLimits) -> None:
        self.path = path
        self.limits = limits
        self.kind = "file"
        self.rejection_counts: Counter[str] = Counter()
        self.written_at = 0.0
        self._members: dict[str, _Member] = {}
        self._read_bytes = 0
        self._open_files = ExitStack()
        with ExitStack() as closing:
            closing.callback(self.close)
            self._list_members()
            closing.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close open files; closing twice has no effect."""
        self._open_files.close()

    def names(self) -> tuple[str, ...]:
        """Return the sorted POSIX paths (NFC) of regular files, except hidden and macOS files."""
        return tuple(sorted(self._members))

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
        if name not in self._members:
            raise MemberError(name, "missing")
        return self._members[name].size

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
        if self.size(name) > (self.limits.max_member_bytes if max_bytes is None else max_bytes):
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
        with self._report_errors(name), self._members[name].open() as stream:
            first_bytes = stream.read(_PIECE_BYTES)
            if self.kind not in {"folder", "file"}:
                return first_bytes
            if size > 2 * _PIECE_BYTES:
                stream.seek(-_PIECE_BYTES, os.SEEK_END)
            return first_bytes + stream.read(_PIECE_BYTES)

    def pieces(self, name: str, *, max_bytes: int | None = None) -> Iterator[bytes]:
        """Yield a member's bytes in pieces of 64 KiB, so that the whole member is never in memory.

        Raises:
            MemberError, TwinError: as in `read`, possibly after some pieces.
        """
        max_bytes = self.limits.max_member_bytes if max_bytes is None else max_bytes
        max_expanded = self.size(name) and self._members[name].compressed_size
        if self.size(name) > max(MIN_RATIO_BYTES, max_expanded * self.limits.max_ratio):
            raise MemberError(name, "too_compressed")
        total = 0
        with self._report_errors(name), self._members[name].open() as stream:
            while piece := stream.read(_PIECE_BYTES):
                total += len(piece)
                self._read_bytes += len(piece)
                if total > max_bytes:
                    raise MemberError(name, "too_large")
                if self._read_bytes > self.limits.max_read_bytes:
                    raise self._build_error(
                        f"more than {self.limits.max_read_bytes:,} bytes of posts"
                    )
                yield piece
