"""List, fetch and store files in a folder or under a prefix of a bucket.

Scope: both kinds with the same three methods. Out of scope: the content of the files.
"""
# pyright: strict

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from twin_resources.storage.object_store import (
    StoredObject,
    is_object_address,
    list_objects,
    opened_object,
    write_object,
)
from twin_resources.storage.storage_faults import faults_told


@dataclass(frozen=True)
class FilePlace:
    """Files by name, with `/` between parts.

    Attributes:
        address: folder, or `s3://bucket/prefix`.
    """

    address: str
    _listed: dict[str, StoredObject] = field(default_factory=dict[str, StoredObject])

    def names(self, under: str = "") -> list[str]:
        """Return names of all files below a folder of it, sorted; none if it does not exist.

        Raises:
            TwinError: the bucket cannot be listed.
        """
        if is_object_address(self.address):
            found = list_objects(f"{self.address}/{under}" if under else self.address)
            before = f"{under}/" if under else ""
            self._listed.update({before + stored.name: stored for stored in found})
            return [before + stored.name for stored in found]
        root = Path(self.address)
        files = (path for path in (root / under).rglob("*") if path.is_file())
        return sorted(path.relative_to(root).as_posix() for path in files)

    def opened(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open the bytes of a file that `names` has listed.

        Raises:
            TwinError: it cannot be read, or has changed since.
        """
        if is_object_address(self.address):
            return opened_object(self.address, self._listed[name])
        return Path(self.address, name).open("rb")

    def store(self, name: str, file: Path) -> None:
        """Store a file.

        Raises:
            TwinError: there is no room, or no right to write.
        """
        if is_object_address(self.address):
            write_object(f"{self.address}/{name}", file)
            return
        into = Path(self.address, name)
        with faults_told(f"write {into}", self.address):
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, into)
