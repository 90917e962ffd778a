"""An export on disk: a folder, a zip, a tar or a single file, read within limits.

Nothing is unpacked to disk, so no name can escape a folder. A tar must be read in sequence, so its
total expanded size is limited; the members of a zip are limited one by one, because its media files
can be skipped. Formats: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT,
https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html; pitfalls:
https://docs.python.org/3/library/zipfile.html#decompression-pitfalls.
"""
# pyright: strict

from __future__ import annotations

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
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, Self, cast

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
_READ_ERRORS = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, struct.error),
    NotImplementedError,  # an unsupported compression method
    RuntimeError,  # an encrypted member without the encryption flag
    *(OSError, ValueError),
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

    def pieces(self, name: str, *, max_bytes: int | None = None) -> Iterator[bytes]:
        """Yield a member's bytes in pieces of 64 KiB, so that the whole member is never in memory.

        Raises:
            MemberError, TwinError: as in `read`, possibly after some pieces.
        """
        max_bytes = self.limits.max_member_bytes if max_bytes is None else max_bytes
        size = self.size(name)
        max_expanded = self._members[name].compressed_size * self.limits.max_ratio
        if size > max(MIN_RATIO_BYTES, max_expanded):
            raise MemberError(name, "too_compressed")
        total = 0
        try:
            with self._members[name].open() as stream:
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
        except MemberError:
            raise
        except _READ_ERRORS as error:
            raise MemberError(name, "unreadable" if self.kind == "folder" else "torn") from error

    def _list_members(self) -> None:
        if self.path.is_dir():
            self.kind = "folder"
            self._list_folder(os.fspath(self.path), "")
        # Check for a tar first: a tar whose last member is a zip looks like a zip.
        elif tarfile.is_tarfile(self.path):
            self.kind = "tar"
            self._list_tar()
        elif zipfile.is_zipfile(self.path):
            self.kind = "zip"
            self._list_zip()
        else:
            with self.path.open("rb") as stream:
                if stream.read(4) == b"PK\3\4":
                    raise zipfile.BadZipFile("an incomplete zip")
            status = self.path.stat()
            name = display_path(self.path.name).lstrip(".") or "file"
            self._add(name, status.st_size, status.st_mtime, lambda: self.path.open("rb"))

    def _list_folder(self, folder: str, prefix: str) -> None:
        try:
            with os.scandir(folder) as iterator:
                entries = sorted(iterator, key=lambda entry: entry.name)
        except OSError:
            if not prefix:
                raise
            self.rejection_counts["unreadable"] += 1
            return
        for entry in entries:
            if entry.is_symlink():
                self.rejection_counts["link"] += 1
            elif entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith(".") and entry.name not in GENERATED_FOLDERS:
                    self._list_folder(entry.path, f"{prefix}{entry.name}/")
            elif not entry.is_file(follow_symlinks=False):
                self.rejection_counts["special_file"] += 1
            else:
                status = entry.stat(follow_symlinks=False)
                name = display_path(f"{prefix}{entry.name}")
                self._add(name, status.st_size, status.st_mtime, partial(_open, entry.path))

    def _list_zip(self) -> None:
        archive = self._open_files.enter_context(zipfile.ZipFile(self.path))
        for member in archive.infolist():
            file_type = stat.S_IFMT(member.external_attr >> 16)
            if member.is_dir():
                continue
            if file_type == stat.S_IFLNK:
                self.rejection_counts["link"] += 1
            elif file_type not in (0, stat.S_IFREG):
                self.rejection_counts["special_file"] += 1
            elif member.flag_bits & 1:
                self.rejection_counts["encrypted"] += 1
            else:
                self._add(
                    member.filename,
                    member.file_size,
                    float(timegm(member.date_time)),
                    partial(archive.open, member),
                    compressed_size=member.compress_size,
                )

    def _list_tar(self) -> None:
        file_size = self.path.stat().st_size
        tar = self._open_files.enter_context(tarfile.TarFile.open(self.path))
        for member in tar:
            end = member.offset_data + member.size
            is_bomb = end > MIN_RATIO_BYTES and end > file_size * self.limits.max_ratio
            if is_bomb or end > self.limits.max_tar_bytes:
                raise self._build_error(f"{end:,} bytes compressed into {file_size:,}")
            if member.issym() or member.islnk():
                self.rejection_counts["link"] += 1
            elif member.isreg() and not member.issparse():
                open_member = cast("Callable[[], IO[bytes]]", partial(tar.extractfile, member))
                self._add(member.name, member.size, float(member.mtime), open_member)
            elif not member.isdir():
                self.rejection_counts["special_file"] += 1
        # tarfile treats a broken header in the middle as the end of the archive.
        stream = cast("IO[bytes]", tar.fileobj)
        stream.seek(tar.offset)
        if stream.read(512) != bytes(512):
            raise tarfile.ReadError("the list of files is incomplete")

    def _add(
        self,
        raw_name: str,
        size: int,
        written_at: float,
        open_member: Callable[[], IO[bytes]],
        *,
        compressed_size: int | None = None,
    ) -> None:
        """Add a regular file to the listing, unless it is hidden or has an unsafe name.

        Args:
            raw_name: the name in the container.
            size: expanded size, in bytes.
            written_at: Unix seconds.
            open_member: opens the member for reading.
            compressed_size: in bytes; None if the container records none.
        """
        name = unicodedata.normalize("NFC", raw_name.replace("\\", "/"))
        name = name.encode("utf-8", "backslashreplace").decode().removeprefix("./")
        parts = name.split("/")
        is_drive = self.kind != "file" and re.match(r"[A-Za-z]:", name)
        if ".." in parts or "" in parts or is_drive:
            self.rejection_counts["unsafe_name"] += 1
        elif name in self._members:
            self.rejection_counts["same_name_twice"] += 1
        elif parts[0] != "__MACOSX" and not any(part.startswith(".") for part in parts):
            self._members[name] = _Member(
                size, size if compressed_size is None else compressed_size, open_member
            )
            self.written_at = max(self.written_at, written_at)
            if len(self._members) > self.limits.max_members:
                raise self._build_error(f"more than {self.limits.max_members:,} files")

    def _build_error(self, found: str) -> TwinError:
        return TwinError(
            f"read {self.path}",
            found=found,
            next_step="unpack the part that contains the posts and import that folder",
        )


def open_archive(path: Path, *, limits: ArchiveLimits | None = None) -> Archive:
    """Open an export of any kind, regardless of its suffix.

    Raises:
        TwinError: the export is missing, cannot be listed, is truncated, or exceeds `limits`.
    """
    path = path.expanduser()
    if not path.is_dir() and not path.is_file():
        message = "not a regular file" if path.exists() else "nothing at this path"
        raise TwinError(f"read {path}", found=message, next_step="specify a file or folder")
    try:
        return Archive(path, limits or ArchiveLimits())
    except _READ_ERRORS as error:
        raise TwinError(
            f"read {path}",
            found=str(error) or type(error).__name__,
            next_step="grant read permission, or export it again",
        ) from error


def _open(path: str | Path) -> IO[bytes]:
    return Path(path).open("rb")
