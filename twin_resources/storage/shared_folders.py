"""Share folders of a home through a store for several hosts: checkpoints and prepared weights.

Scope: storing a folder under its path in the home, and fetching it to the same path of
another home. Out of scope: the folders that a version needs (`registry/following.py`).

A folder is complete once its list of files exists, which is stored last. The name of such a folder
is a hash or a revision, so the content under a name never changes, and storing it twice stores it
once.
"""
# pyright: strict

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from twin_resources.errors import TwinError
from twin_resources.storage.places import FileStore
from twin_resources.storage.storage_faults import translate_storage_errors

FILE_LIST_NAME = "stored_files.json"
_BLOCK = 1 << 20


class FolderNotStoredError(TwinError):
    """The store has no such folder, or not all of it yet."""


@dataclass(frozen=True)
class SharedFolders:
    """The folders of one home, and the store that it shares.

    Attributes:
        home: folder of the home; folder names are paths in it, with `/` between parts.
        address: folder, or `s3://bucket/prefix` (`TWIN_STORE_URI`).
    """

    home: Path
    address: str

    def list_folders(self, parent: str) -> list[str]:
        """Return the names of the completely stored folders below a path."""
        return [
            name.removesuffix(f"/{FILE_LIST_NAME}")
            for name in _find_file_lists(self._store, parent)
        ]

    def store(self, name: str, files: Mapping[str, Path] | None = None) -> bool:
        """Store a folder of the home; return False if it was stored before.

        Args:
            files: files with the contents, by path in the folder; None for the folder's own files.

        Raises:
            TwinError: the store cannot be written.
        """
        store, folder = self._store, self.home / name
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
            hash_by_path[path] = _hash_file(file)
            store.store_file(f"{name}/{path}", file)
        with tempfile.TemporaryDirectory(prefix="twin-store-") as scratch:
            listed = Path(scratch, FILE_LIST_NAME)
            listed.write_text(json.dumps(hash_by_path, indent=1, sort_keys=True), encoding="utf-8")
            store.store_file(f"{name}/{FILE_LIST_NAME}", listed)
        return True

    def contains(self, name: str) -> bool:
        """Return whether the whole folder is stored."""
        return bool(_find_file_lists(self._store, name))

    def fetch(self, name: str) -> bool:
        """Copy a folder to its place in the home; return False if it was there already.

        Several processes may call it at once: one of them fetches. A killed process leaves only
        files in the home's work folder.

        Raises:
            FolderNotStoredError: the store has no such folder.
            TwinError: the store cannot be read, or its bytes differ from the stored ones.
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
                fetched = Path(tempfile.mkdtemp(dir=work_dir, prefix="fetched-"))
                try:
                    self._download_files(name, fetched)
                    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    fetched.rename(target)
                finally:
                    shutil.rmtree(fetched, ignore_errors=True)
        return True

    def _download_files(self, name: str, folder: Path) -> None:
        store = self._store
        if f"{name}/{FILE_LIST_NAME}" not in store.list_files(name):
            raise FolderNotStoredError(
                f"fetch {name}",
                found=f"no such folder in {self.address}",
                next_step="set the same TWIN_STORE_URI on the host that trained it, and train or "
                "run `twin authors apply` there",
            )
        with store.open_file(f"{name}/{FILE_LIST_NAME}") as stream:
            hashes: dict[str, str] = json.loads(stream.read())
        for path, expected in hashes.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            with store.open_file(f"{name}/{path}") as stream, file.open("wb") as out:
                shutil.copyfileobj(stream, out, _BLOCK)
            if _hash_file(file) != expected:
                raise TwinError(
                    f"fetch {name}",
                    found=f"{path} differs from the stored file",
                    next_step=f"delete {self.address}/{name}, and store an intact copy",
                )

    @property
    def _store(self) -> FileStore:
        return FileStore(self.address)


def _find_file_lists(store: FileStore, parent: str) -> list[str]:
    return [name for name in store.list_files(parent) if name.endswith(f"/{FILE_LIST_NAME}")]


def _hash_file(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
