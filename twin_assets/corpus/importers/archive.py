"""An export as it lies on disk: a folder, a zip, a tar or one file, opened and read safely.

Belongs here: `open_archive`, folders and single files.
Does not belong here: zips and tars (`packed`), what a member means (one importer a source).
"""
# pyright: strict

from __future__ import annotations

import hashlib
import os
import re
import stat
import zipfile
from pathlib import Path
from typing import IO

from twin_assets.corpus.importers.folders import MACHINERY
from twin_assets.corpus.importers.members import (
    FAILED_READS,
    TORN,
    UNREAD,
    Archive,
    Bounds,
    MemberError,
    not_readable,
)
from twin_assets.corpus.importers.packed import Tar, Zip, tar_stream
from twin_resources.errors import TwinError

__all__ = ["FAILED_READS", "UNREAD", "Archive", "Bounds", "MemberError", "open_archive"]

_DATA = re.compile(
    r"\.(?:csv|html?|xhtml|js|json|xml|atom|rss|md|markdown|txt|tsv)$", re.IGNORECASE
)


def open_archive(path: Path, *, bounds: Bounds | None = None) -> Archive:
    """Open an export, whatever its suffix says.

    Raises:
        TwinError: nothing is there, it cannot be listed, is torn, or is larger than `bounds`.
    """
    path, bounds = path.expanduser(), bounds or Bounds()
    try:
        if path.is_dir():
            return _Folder(path, bounds=bounds)
        if not path.is_file():
            found = "no regular file" if path.exists() else "nothing at this path"
            raise TwinError(f"read {path}", found=found, next_step="name a file or folder")
        # A tar first: with a zip as its last member it would pass for a zip.
        if (stream := tar_stream(path)) is not None:
            return Tar(path, stream, bounds=bounds)
        if zipfile.is_zipfile(path):
            return Zip(path, bounds=bounds)
        with path.open("rb") as stream:
            if stream.read(4) == b"PK\3\4":
                raise not_readable(path, "a zip that breaks off")
        return _File(path, bounds=bounds)
    except TORN as error:
        raise not_readable(path, str(error) or type(error).__name__) from error


class _File(Archive):
    kind = "file"

    def __init__(self, path: Path, *, bounds: Bounds) -> None:
        super().__init__(path, bounds=bounds)
        found = path.stat()
        name = _text(Path(path.name)).lstrip(".") or "file"
        self._add(name, found.st_size, found.st_mtime)
        self._sizes = self._sizes or {name: found.st_size}

    def _open(self, name: str) -> IO[bytes]:  # noqa: ARG002 - there is only one
        return self.path.open("rb")


class _Folder(Archive):
    kind = "folder"

    def __init__(self, path: Path, *, bounds: Bounds) -> None:
        super().__init__(path, bounds=bounds)
        self._files: dict[str, Path] = {}

        def not_listed(error: OSError) -> None:
            if error.filename == os.fspath(path):
                raise not_readable(path, str(error)) from error
            self.refused["unreadable"] += 1

        for where, folders, files in os.walk(path, onerror=not_listed):
            if linked := sum(Path(where, name).is_symlink() for name in folders):
                self.refused["link"] += linked
            folders[:] = sorted(
                name for name in folders if not name.startswith(".") and name not in MACHINERY
            )
            for file in sorted(files):
                self._list(Path(where, file))

    def _list(self, file: Path) -> None:
        found = file.lstat()
        if stat.S_ISLNK(found.st_mode):
            self.refused["link"] += 1
        elif not stat.S_ISREG(found.st_mode):
            self.refused["special_file"] += 1
        elif name := self._add(_text(file.relative_to(self.path)), found.st_size, found.st_mtime):
            self._files[name] = file

    def _open(self, name: str) -> IO[bytes]:
        return self._files[name].open("rb")

    def digest(self) -> str:
        """SHA-256 over names, bytes of data files, and sizes of the others (media)."""
        digest = hashlib.sha256()
        for name in self.names():
            digest.update(f"\0{name}\0{self.size(name)}\0".encode())
            if not _DATA.search(name):
                continue
            try:
                with self._files[name].open("rb") as stream:
                    while piece := stream.read(1 << 20):
                        digest.update(piece)
            except OSError as error:
                raise not_readable(self._files[name], str(error)) from error
        return digest.hexdigest()


def _text(path: Path) -> str:
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
