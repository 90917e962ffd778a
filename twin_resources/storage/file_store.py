"""List, fetch and store files in a folder or under a prefix of a bucket.

Scope: the same methods for both, and the hash of a file.
Out of scope: the meaning of the files.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from twin_resources.storage.object_store import (
    StoredObject,
    is_object_address,
    list_objects,
    open_object,
    write_object,
)
from twin_resources.storage.storage_faults import translate_storage_errors


@dataclass(frozen=True)
class FileStore:
    """Files under an address; their names have `/` between parts.

    Attributes:
        address: a folder, or `s3://bucket/prefix`.
    """

    address: str
    _listed_objects: dict[str, StoredObject] = field(default_factory=dict[str, StoredObject])

    def list_files(self, folder: str = "") -> list[str]:
        """Return the sorted names of all files below a folder; empty if it does not exist.

        Raises:
            TwinError: the bucket cannot be listed.
        """
        if is_object_address(self.address):
            objects = list_objects(f"{self.address}/{folder}" if folder else self.address)
            prefix = f"{folder}/" if folder else ""
            self._listed_objects.update(
                {prefix + stored_object.name: stored_object for stored_object in objects}
            )
            return [prefix + stored_object.name for stored_object in objects]
        root = Path(self.address)
        files = (path for path in (root / folder).rglob("*") if path.is_file())
        return sorted(path.relative_to(root).as_posix() for path in files)

    def open_file(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file that `list_files` returned, for binary reading.

        Raises:
            TwinError: an object cannot be read, or has changed since it was listed.
            OSError: a file in a folder cannot be opened.
        """
        if is_object_address(self.address):
            return open_object(self.address, self._listed_objects[name])
        return Path(self.address, name).open("rb")

    def store_file(self, name: str, file: Path) -> None:
        """Copy a local file to this store under a name.

        Raises:
            TwinError: there is no space, or no permission to write.
        """
        if is_object_address(self.address):
            write_object(f"{self.address}/{name}", file)
            return
        target = Path(self.address, name)
        with translate_storage_errors(f"write {target}", self.address):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def hash_file(file: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
