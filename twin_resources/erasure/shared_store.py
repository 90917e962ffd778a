"""The store `shared store`: erase checkpoints that other hosts may fetch (`TWIN_STORE_URI`).

Scope: finding the folders to erase there, and deleting them with every old version of an object.
Out of scope: this home's checkpoints (`checkpoint_folders.py`), and copies that other hosts have
already fetched, which cannot be erased from here (`manual_steps.py`).
"""
# pyright: strict

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasure_target import ErasureTarget
from twin_resources.erasure.object_versions import open_bucket
from twin_resources.storage.places import FileStore


@dataclass(frozen=True)
class SharedStore:
    """`<store>/checkpoints/<author>/<hash>/`, or nothing if no store is configured."""

    instance: Installation
    name: str = "shared store"

    def erase(self, target: ErasureTarget) -> int:
        """See `DataStore.erase`."""
        erased = 0
        for folder in self._folders(target):
            bucket = open_bucket(self._address)
            if bucket is not None:
                erased += bucket.remove(f"{folder}/")
            else:
                erased += len(FileStore(self._address).list_files(folder))
                shutil.rmtree(Path(self._address, folder))
        return erased

    def find_remaining(self, target: ErasureTarget) -> list[str]:
        """See `DataStore.find_remaining`."""
        return [f"a checkpoint ({folder.rpartition('/')[2]})" for folder in self._folders(target)]

    @property
    def _address(self) -> str:
        return self.instance.settings.store_uri

    def _folders(self, target: ErasureTarget) -> list[str]:
        """Return `checkpoints/<author>/<hash>` of each matching checkpoint.

        A checkpoint matches if it was trained on the target or is the erased author's, even if the
        bucket keeps only old versions of it.
        """
        if not self._address:
            return []
        bucket, place = open_bucket(self._address), FileStore(self._address)
        names = bucket.list_objects("checkpoints/") if bucket else place.list_files("checkpoints")
        folders = {tuple(name.split("/")[:3]) for name in names}
        return sorted(
            "/".join(parts)
            for parts in folders
            if len(parts) == 3
            and (
                parts[2] in target.checkpoints
                or (target.is_whole_author and parts[1] == target.author)
            )
        )
