"""Erase from the store `shared store`: checkpoints and training states in `TWIN_STORE_URI`.

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

    Without a configured store, there are none.
    """

    installation: Installation
    name: str = "shared store"

    def erase(self, target: ErasureTarget) -> int:
        """See `DataStore.erase`."""
        address = self.installation.settings.store_uri
        folders = self._list_target_folders(target)
        return sum(open_storage(address).remove(f"{name}/") for name in folders)

    def find_remaining(self, target: ErasureTarget) -> list[str]:
        """See `DataStore.find_remaining`."""
        return [
            f"weights ({folder.rpartition('/')[2]})" for folder in self._list_target_folders(target)
        ]

    def _list_target_folders(self, target: ErasureTarget) -> list[str]:
        """Return the folders of matching checkpoints and training states.

        A checkpoint matches if it was trained on the target or belongs to the erased author. Every
        training state of the author matches, because its dataset is not known; if the target has no
        author, every training state matches. A folder also matches if the bucket has only its
        old versions.
        """
        address = self.installation.settings.store_uri
        if not address:
            return []
        storage = open_storage(address)
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
