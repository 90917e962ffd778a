"""Open an export on disk safely: a folder, a zip, a tar or a single file.

Scope: `open_archive`, folders and single files.
Out of scope: zips and tars (`zip_and_tar`), interpreting a member (one importer per source).
"""
# pyright: strict

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import IO

from twin_assets.corpus.importers.folders import GENERATED_FOLDERS
from twin_assets.corpus.importers.members import (
    READ_ERRORS,
    Archive,
    ArchiveLimits,
    build_unreadable_error,
)
from twin_assets.corpus.importers.zip_and_tar import TarArchive, ZipArchive, open_tar_stream
from twin_resources.errors import TwinError
from twin_resources.storage.sources.listing import display_path


def open_archive(path: Path, *, limits: ArchiveLimits | None = None) -> Archive:
    """Open an export of any kind, regardless of its suffix.

    Raises:
        TwinError: the export is missing, cannot be listed, is truncated, or exceeds `limits`.
    """
    path, limits = path.expanduser(), limits or ArchiveLimits()
    try:
        if path.is_dir():
            return _Folder(path, limits=limits)
        if not path.is_file():
            message = "not a regular file" if path.exists() else "nothing at this path"
            raise TwinError(f"read {path}", found=message, next_step="specify a file or folder")
        # Check for a tar first: a tar whose last member is a zip looks like a zip.
        if (stream := open_tar_stream(path)) is not None:
            return TarArchive(path, stream, limits=limits)
        if zipfile.is_zipfile(path):
            return ZipArchive(path, limits=limits)
        with path.open("rb") as stream:
            if stream.read(4) == b"PK\3\4":
                raise build_unreadable_error(path, "an incomplete zip")
        return _File(path, limits=limits)
    except READ_ERRORS as error:
        raise build_unreadable_error(path, str(error) or type(error).__name__) from error


class _File(Archive):
    kind = "file"

    def __init__(self, path: Path, *, limits: ArchiveLimits) -> None:
        super().__init__(path, limits=limits)
        status = path.stat()
        name = display_path(path.name).lstrip(".") or "file"
        self._add_member(name, status.st_size, status.st_mtime)
        self._sizes = self._sizes or {name: status.st_size}

    def _open(self, name: str) -> IO[bytes]:  # noqa: ARG002 - there is only one member
        return self.path.open("rb")


class _Folder(Archive):
    kind = "folder"

    def __init__(self, path: Path, *, limits: ArchiveLimits) -> None:
        super().__init__(path, limits=limits)
        self._files: dict[str, str] = {}
        pending_folders = [(os.fspath(path), "")]
        while pending_folders:
            folder, prefix = pending_folders.pop()
            try:
                with os.scandir(folder) as iterator:
                    entries = sorted(iterator, key=lambda entry: entry.name)
            except OSError as error:
                if not prefix:
                    raise build_unreadable_error(path, str(error)) from error
                self.rejection_counts["unreadable"] += 1
                continue
            subfolders = [entry for entry in entries if self._list_entry(entry, prefix)]
            pending_folders += [
                (entry.path, f"{prefix}{entry.name}/") for entry in reversed(subfolders)
            ]

    def _list_entry(self, entry: os.DirEntry[str], prefix: str) -> bool:
        """List a file, or return whether a folder must be scanned."""
        name = entry.name
        if entry.is_symlink():
            self.rejection_counts["link"] += 1
        elif entry.is_dir(follow_symlinks=False):
            return not name.startswith(".") and name not in GENERATED_FOLDERS
        elif not entry.is_file(follow_symlinks=False):
            self.rejection_counts["special_file"] += 1
        else:
            status = entry.stat(follow_symlinks=False)
            name = self._add_member(
                display_path(f"{prefix}{name}"), status.st_size, status.st_mtime
            )
            if name:
                self._files[name] = entry.path
        return False

    def _open(self, name: str) -> IO[bytes]:
        return Path(self._files[name]).open("rb")
