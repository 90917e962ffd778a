"""Read zip and tar files as `members.Archive`, without unpacking them.

Scope: the two containers, and protection against decompression bombs.
Out of scope: the meaning of a member (importers).

A tar must be read in sequence, so its total expanded size is limited. The members of a zip are
limited individually (`too_large`, `too_compressed`), because its media files can be skipped.
Formats:
https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT,
https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html; pitfalls:
https://docs.python.org/3/library/zipfile.html#decompression-pitfalls.
"""
# pyright: strict

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
from calendar import timegm
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from twin_assets.corpus.importers.members import (
    MIN_RATIO_BYTES,
    READ_ERRORS,
    Archive,
    ArchiveLimits,
)


class ZipArchive(Archive):
    kind = "zip"

    def __init__(self, path: Path, *, limits: ArchiveLimits) -> None:
        super().__init__(path, limits=limits)
        # zipfile loads the whole directory, whose memory use is about 10 times its size on disk.
        if _read_central_directory_size(path) > limits.max_members * 512:
            raise self._build_limit_error(f"more than {limits.max_members:,} files")
        self._zip = zipfile.ZipFile(path)
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in self._zip.infolist():
            file_type = stat.S_IFMT(member.external_attr >> 16)
            if member.is_dir():
                continue
            if file_type == stat.S_IFLNK:
                self.rejection_counts["link"] += 1
            elif file_type not in (0, stat.S_IFREG):
                self.rejection_counts["special_file"] += 1
            elif member.flag_bits & 1:
                self.rejection_counts["encrypted"] += 1
            elif name := self._add_member(
                member.filename, member.file_size, float(timegm(member.date_time))
            ):
                self._members[name] = member

    def _get_compressed_size(self, name: str) -> int:
        return self._members[name].compress_size

    def _open(self, name: str) -> IO[bytes]:
        return self._zip.open(self._members[name])

    def close(self) -> None:
        self._zip.close()


class TarArchive(Archive):
    kind = "tar"

    def __init__(self, path: Path, stream: BinaryIO, *, limits: ArchiveLimits) -> None:
        super().__init__(path, limits=limits)
        self._stream = stream
        self._offsets: dict[str, int] = {}
        file_size = path.stat().st_size
        try:
            with tarfile.open(fileobj=cast("IO[bytes]", _BoundedReader(stream)), mode="r:") as tar:
                for member in _iter_members(tar):
                    end = member.offset_data + member.size
                    if end > limits.max_tar_bytes or (
                        end > MIN_RATIO_BYTES and end > file_size * limits.max_ratio
                    ):
                        raise self._build_limit_error(
                            f"{end:,} bytes compressed into {file_size:,}"
                        )
                    self._index_member(member)
                stream.seek(cast("Any", tar).offset)
            # tarfile treats a broken header in the middle as the end of the archive.
            if stream.read(512) != bytes(512):
                raise tarfile.ReadError("the list of files is incomplete")
        except BaseException:
            self.close()
            raise

    def _index_member(self, member: tarfile.TarInfo) -> None:
        if member.issym() or member.islnk():
            self.rejection_counts["link"] += 1
        elif member.isdir():
            return
        elif not member.isreg() or member.issparse():
            self.rejection_counts["special_file"] += 1
        elif name := self._add_member(member.name, member.size, float(member.mtime)):
            self._offsets[name] = member.offset_data

    def _open(self, name: str) -> IO[bytes]:
        self._stream.seek(self._offsets[name])
        return cast("IO[bytes]", _StreamSlice(self._stream, self._sizes[name]))

    def close(self) -> None:
        self._stream.close()


def _iter_members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the members in order, and clear tarfile's list of them to keep memory use constant."""
    while (member := tar.next()) is not None:
        yield member
        cast("Any", tar).members.clear()


class _BoundedReader(io.RawIOBase):
    """A stream that rejects large reads, because tarfile reads a long name in one call."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= 1 << 20:
            raise tarfile.ReadError(f"a header of {size:,} bytes is not between 0 and 1 MiB")
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


class _StreamSlice(io.RawIOBase):
    """The next `remaining` bytes of a stream, which stays open."""

    def __init__(self, stream: BinaryIO, remaining: int) -> None:
        self._stream, self._remaining = stream, remaining

    def read(self, size: int = -1) -> bytes:
        piece = self._stream.read(self._remaining if size < 0 else min(size, self._remaining))
        if not piece and self._remaining and size:
            raise EOFError("the archive ends in the middle of a member")
        self._remaining -= len(piece)
        return piece


def open_tar_stream(path: Path) -> BinaryIO | None:
    """Return the expanded bytes of a tar (plain, gz, bz2, xz), or None if the file is not a tar."""
    with path.open("rb") as file:
        magic = file.read(6)
    openers: Iterable[tuple[bytes, type[gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]]] = (
        (b"\x1f\x8b", gzip.GzipFile),
        (b"BZh", bz2.BZ2File),
        (b"\xfd7zXZ\0", lzma.LZMAFile),
    )
    opener = next((opener for prefix, opener in openers if magic.startswith(prefix)), None)
    stream = cast("BinaryIO", opener(path) if opener else path.open("rb"))
    try:
        block = stream.read(512)
    except READ_ERRORS:
        stream.close()
        raise
    if len(block) == 512 and block[257:262] == b"ustar":
        stream.seek(0)
        return stream
    stream.close()
    return None


def _read_central_directory_size(path: Path) -> int:
    """Return the size of a zip's central directory (APPNOTE 4.3.16), also in zip64."""
    length = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, length - 65_557))
        tail = stream.read()
        end = tail.rfind(b"PK\5\6")  # exists, because `is_zipfile` has checked it
        size = struct.unpack_from("<I", tail, end + 12)[0]
        if size == 0xFFFF_FFFF and (locator := tail.rfind(b"PK\6\7")) >= 0:
            stream.seek(struct.unpack_from("<Q", tail, locator + 8)[0])
            size = struct.unpack_from("<Q", stream.read(56), 40)[0]
        return min(size, length)
