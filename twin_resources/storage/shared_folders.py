"""Share folders of a home (checkpoints, prepared weights) with other hosts through a store.

Scope: storing a folder under its path in the home, and fetching it to the same path in
another home.
Out of scope: the folders that a version needs (`registry/host_sync.py`).

A folder is complete once its list of files exists, which is stored last. The folder's name is a
hash or a revision, so the content under a name never changes, and a folder is stored only once.
"""
# pyright: strict

from __future__ import annotations

import fcntl
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from twin_resources.errors import TwinError
from twin_resources.storage.file_store import FileStore, hash_file
from twin_resources.storage.storage_faults import translate_storage_errors

FILE_LIST_NAME = "stored_files.json"
_BLOCK_BYTES = 1 << 20


class FolderNotStoredError(TwinError):
    """The store does not contain the folder, or not all of its files yet."""


@dataclass(frozen=True)
class SharedFolders:
    """The folders of one home, and the store that its hosts share.

    Attributes:
        home: the home folder; folder names are paths in it, with `/` between parts.
        address: a folder, or `s3://bucket/prefix` (`TWIN_STORE_URI`).
    """

    home: Path
    address: str

    def list_folders(self, parent: str) -> list[str]:
        """Return the names of the completely stored folders below a path."""
        return [
            name.removesuffix(f"/{FILE_LIST_NAME}")
            for name in _find_file_lists(self._file_store, parent)
        ]

    def store(self, name: str, files: Mapping[str, Path] | None = None) -> bool:
        """Store a folder of the home. Return False if it was already stored.

        Args:
            files: path in the folder → the file to store there; None for the folder's own files.

        Raises:
            TwinError: the store cannot be written.
        """
        file_store, folder = self._file_store, self.home / name
        if self.contains(name):
            return False
        if files is None:
            files = {
                path.relative_to(folder).as_posix(): path
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
        hash_by_path: dict[str, str] = {}
        for path, file in files.items():
            hash_by_path[path] = hash_file(file)
            file_store.store_file(f"{name}/{path}", file)
        with tempfile.TemporaryDirectory(prefix="twin-store-") as scratch:
            list_file = Path(scratch, FILE_LIST_NAME)
            list_file.write_text(
                json.dumps(hash_by_path, indent=1, sort_keys=True), encoding="utf-8"
            )
            file_store.store_file(f"{name}/{FILE_LIST_NAME}", list_file)
        return True

    def contains(self, name: str) -> bool:
        """Return whether the whole folder is stored."""
        return bool(_find_file_lists(self._file_store, name))

    def remove(self, name: str) -> None:
        """Delete a stored folder.

        Raises:
            TwinError: the store cannot be written.
        """
        self._file_store.remove_folder(name)

    def fetch(self, name: str) -> bool:
        """Copy a folder to its place in the home. Return False if it already exists there.

        Several processes may call this at the same time, but only one of them fetches. A killed
        process leaves files only in the home's work folder.

        Raises:
            FolderNotStoredError: the store does not have the folder.
            TwinError: the store cannot be read, or the fetched bytes differ from the stored ones.
        """
        target = self.home / name
        if target.exists():
            return False
        work_dir = self.home / "work"
        with translate_storage_errors(f"fetch {name}", self.home):
            work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (work_dir / "fetch.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if target.exists():
                    return False
                download_folder = Path(tempfile.mkdtemp(dir=work_dir, prefix="fetched-"))
                try:
                    self._download_files(name, download_folder)
                    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    download_folder.rename(target)
                finally:
                    shutil.rmtree(download_folder, ignore_errors=True)
        return True

    def _download_files(self, name: str, folder: Path) -> None:
        file_store = self._file_store
        if f"{name}/{FILE_LIST_NAME}" not in file_store.list_files(name):
            raise FolderNotStoredError(
                f"fetch {name}",
                found=f"no such folder in {self.address}",
                next_step="set the same TWIN_STORE_URI on the host that created the folder, and "
                "train or run `twin authors apply` there",
            )
        with file_store.open_file(f"{name}/{FILE_LIST_NAME}") as stream:
            hash_by_path: dict[str, str] = json.loads(stream.read())
        for path, expected_hash in hash_by_path.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            with file_store.open_file(f"{name}/{path}") as stream, file.open("wb") as target:
                shutil.copyfileobj(stream, target, _BLOCK_BYTES)
            if hash_file(file) != expected_hash:
                raise TwinError(
                    f"fetch {name}",
                    found=f"{path} differs from the stored file",
                    next_step=f"delete {self.address}/{name}, and store an intact copy",
                )

    @property
    def _file_store(self) -> FileStore:
        return FileStore(self.address)


def _find_file_lists(file_store: FileStore, parent: str) -> list[str]:
    return [name for name in file_store.list_files(parent) if name.endswith(f"/{FILE_LIST_NAME}")]
