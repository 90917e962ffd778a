"""Members of an export, seen alike whatever holds them, and the bounds that a hostile one meets.

Scope: the class `Archive` (names, sizes, bytes), `ArchiveLimits` and `MemberError`.
Out of scope: folders, zips and tars (`archive`, `packed`), what a member means (importers).

Nothing is ever unpacked to disk, so a name cannot lead anywhere; names that try, links, devices and
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

_PIECE = 1 << 16
# Names that are safe, shown and the same in every Unicode form, which most are.
_PLAIN = re.compile(r"[\w-][\w. -]*(?:/[\w-][\w. -]*)*", re.ASCII)
TORN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # a compression that this Python does not know
    RuntimeError,  # encrypted after all
    OSError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True)
class ArchiveLimits:
    """What one archive may cost.

    Attributes:
        members: names in it (an X archive of ten years with its media has some 50,000).
        member_bytes: of one member that is read (X splits its tweets into parts of 100 MB).
        read_bytes: all that is read from it.
        walked_bytes: what a tar may expand to while it is walked, its media included.
        ratio: expanded by packed size of a member, or of a whole tar, from 16 MiB on (JSON of
            tweets packs 20:1, deflate cannot do better than 1032:1).
    """

    members: int = 200_000
    member_bytes: int = 512 << 20
    read_bytes: int = 8 << 30
    walked_bytes: int = 32 << 30
    ratio: int = 200


RATIO_COUNTS_FROM = 16 << 20


class MemberError(ValueError):
    """One member cannot be read; `reason` is the word for `Skipped`.

    `missing`, `too_large`, `too_compressed`, or, for a read that failed, `unreadable` or `torn`.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"{name}: {reason}")


UNREAD = frozenset({"unreadable", "torn"})
"""Reasons for which a member, or its rest, was not read: another try may find more."""

FAILED_READS = UNREAD | {"malformed_row"}
"""Reasons after which nothing may be taken for deleted: a failed read is not an empty one.

Which post a malformed row was nobody knows, so any that is missing may be the one.
"""


class Archive(ABC):
    """Members of an export. A context manager; not safe for two threads.

    Attributes:
        path: what was opened.
        kind: `folder`, `zip`, `tar` or `file`.
        refused: reason → members that are not listed (`unsafe_name`, `link`, `special_file`,
            `encrypted`, `same_name_twice`; `unreadable`: a folder that cannot be listed).
        written_at: of its newest member, in seconds; orders two exports of one account, also after
            a copy that lost the file's own time.
    """

    kind = "archive"

    def __init__(self, path: Path, *, bounds: ArchiveLimits) -> None:
        self.path = path
        self.bounds = bounds
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
        """POSIX paths of the regular files, sorted, NFC; hidden files and `__MACOSX` left out."""
        return tuple(sorted(self._sizes))

    def matching(self, pattern: str) -> list[str]:
        """Names whose end, from a folder's beginning on, matches the regular expression.

        `Shares\\.csv` finds `Shares.csv` and `ada-2024/Shares.csv`; case is ignored.
        """
        wanted = re.compile(rf"(?:.*/)?(?:{pattern})", re.IGNORECASE)
        return [name for name in self.names() if wanted.fullmatch(name)]

    def candidates(self, pattern: str) -> Sequence[str]:
        """What is `matching`; where nothing is, a single file, whatever its own name."""
        return self.matching(pattern) or (self.names() if self.kind == "file" else ())

    def size(self, name: str) -> int:
        """Bytes, expanded.

        Raises:
            MemberError: `missing`.
        """
        if name not in self._sizes:
            raise MemberError(name, "missing")
        return self._sizes[name]

    def read(self, name: str, *, limit: int | None = None) -> bytes:
        """All bytes of a member.

        Args:
            limit: a longer member is `too_large`; None: `ArchiveLimits.member_bytes`.

        Raises:
            MemberError: see there.
            TwinError: more was read from this archive than `ArchiveLimits.read_bytes`.
        """
        limit = self.bounds.member_bytes if limit is None else limit
        if self.size(name) > limit:
            raise MemberError(name, "too_large")
        return b"".join(self.pieces(name, limit=limit))

    def head(self, name: str, *, count: int = _PIECE) -> bytes:
        """The first `count` bytes of a member; none of one that cannot be read: what is wrong with
        it is said where it is read."""
        read = bytearray()
        try:
            for piece in self.pieces(name):
                read += piece
                if len(read) >= count:
                    break
        except MemberError:
            return b""
        return bytes(read[:count])

    def ends(self, name: str) -> bytes:
        """The first 64 KiB of a member; of one that lies bare on disk the last ones, too.

        Raises:
            MemberError: see there.
        """
        size = self.size(name)
        try:
            with self._open(name) as stream:
                end = stream.read(_PIECE)
                if self.kind not in {"folder", "file"}:
                    return end
                if size > 2 * _PIECE:
                    stream.seek(-_PIECE, os.SEEK_END)
                return end + stream.read(_PIECE)
        except TORN as error:
            raise MemberError(name, "unreadable" if self.kind == "folder" else "torn") from error

    def pieces(self, name: str, *, limit: int | None = None) -> Iterator[bytes]:
        """A member's bytes, 64 KiB at a time, for one that need not be held whole.

        Raises:
            MemberError, TwinError: as `read`, also in the middle.
        """
        limit = self.bounds.member_bytes if limit is None else limit
        size = self.size(name)
        if size > RATIO_COUNTS_FROM and size > self._packed_size(name) * self.bounds.ratio:
            raise MemberError(name, "too_compressed")
        total = 0
        try:
            with self._open(name) as stream:
                while piece := stream.read(_PIECE):
                    total += len(piece)
                    self._read_bytes += len(piece)
                    if total > limit:
                        raise MemberError(name, "too_large")
                    if self._read_bytes > self.bounds.read_bytes:
                        raise self._too_much(f"more than {self.bounds.read_bytes:,} bytes of posts")
                    yield piece
        except MemberError:
            raise
        except TORN as error:
            raise MemberError(name, "unreadable" if self.kind == "folder" else "torn") from error

    def digest(self) -> str:
        """SHA-256 by which an unchanged export is known: of the file's bytes.

        Raises:
            TwinError: it cannot be read.
        """
        try:
            with self.path.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise not_readable(self.path, str(error)) from error

    def close(self) -> None:
        """Give back what is open; closing twice does nothing."""
        return

    @abstractmethod
    def _open(self, name: str) -> IO[bytes]: ...

    def _packed_size(self, name: str) -> int:
        """Bytes of a member in the container, where it has a size of its own."""
        return self.size(name)

    def _add(self, raw_name: str, size: int, written_at: float) -> str:
        """List a regular file; returns its name, or "" when it is refused or hidden."""
        name = raw_name if _PLAIN.fullmatch(raw_name) else self._safe(raw_name)
        if not name or name.partition("/")[0] == "__MACOSX":
            return ""
        if name in self._sizes:
            self.refused["same_name_twice"] += 1
            return ""
        self._sizes[name] = size
        self.written_at = max(self.written_at, written_at)
        if len(self._sizes) > self.bounds.members:
            raise self._too_much(f"more than {self.bounds.members:,} files")
        return name

    def _safe(self, raw_name: str) -> str:
        """The name as it is listed, or "" when it is refused or hidden."""
        name = unicodedata.normalize("NFC", raw_name.replace("\\", "/"))
        name = name.encode("utf-8", "backslashreplace").decode()
        parts = name.removeprefix("./").split("/")
        if name.startswith("/") or ".." in parts or "" in parts or re.match(r"[A-Za-z]:", name):
            self.refused["unsafe_name"] += 1
            return ""
        if any(part.startswith(".") for part in parts):
            return ""
        return "/".join(parts)

    def _too_much(self, found: str) -> TwinError:
        return TwinError(
            f"read {self.path}",
            found=found,
            next_step="unpack what holds the posts and name that folder",
        )


def not_readable(path: Path, found: str) -> TwinError:
    return TwinError(
        f"read {path}", found=found, next_step="give read permission, or export it again"
    )
