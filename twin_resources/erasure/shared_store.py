"""The store `shared store`: erase checkpoints and training states of `TWIN_STORE_URI`.

Scope: finding the folders to erase in that store, and deleting them with all old object versions.
Out of scope: this home's checkpoints (`checkpoint_folders.py`), and copies on other hosts, which
this host cannot erase (`manual_steps.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass

from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasure_target import ErasureTarget
from twin_resources.erasure.object_versions import open_storage


@dataclass(frozen=True)
class SharedStore:
    """The folders `checkpoints/<author>/<hash>/` and `work/training/<author>-<hash>/`.

    There are none if no store is configured.
    """

    instance: Installation
    name: str = "shared store"

    def erase(self, target: ErasureTarget) -> int:
        """See `DataStore.erase`."""
        return sum(
            open_storage(self._address).remove(f"{name}/")
            for name in self._list_target_folders(target)
        )

    def find_remaining(self, target: ErasureTarget) -> list[str]:
        """See `DataStore.find_remaining`."""
        return [
            f"weights ({folder.rpartition('/')[2]})" for folder in self._list_target_folders(target)
        ]

    @property
    def _address(self) -> str:
        return self.instance.settings.store_uri

    def _list_target_folders(self, target: ErasureTarget) -> list[str]:
        """Return the folders of each matching checkpoint and training.

        A checkpoint matches if it was trained on the target or belongs to the erased author. Every
        training of the author matches, because its dataset is not known; if the target has no
        author, every training does. A folder also matches if the bucket has only old versions of
        it.
        """
        if not self._address:
            return []
        storage = open_storage(self._address)
        checkpoints = {tuple(name.split("/")[:3]) for name in storage.list_objects("checkpoints/")}
        trainings = {
            "/".join(name.split("/")[:3]) for name in storage.list_objects("work/training/")
        }
        return sorted(
            [
                "/".join(parts)
                for parts in checkpoints
                if len(parts) == 3
                and (
                    parts[2] in target.checkpoints
                    or (target.is_whole_author and parts[1] == target.author)
                )
            ]
            + [
                name
                for name in trainings
                if not target.author or name.rpartition("/")[2].rpartition("-")[0] == target.author
            ]
        )
