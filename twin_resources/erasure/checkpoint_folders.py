"""Erase from the store `checkpoints`: taint versions trained on the text, delete their weights.

Scope: finding the checkpoints that were trained on a post, tainting them, deleting their files, and
requesting a rebuild. Out of scope: the rules for tainted versions (`registry/moves.py`,
`registry/policy.py`: base model with retrieval), starting the training (the sensor
`retraining_requested`).

Weights cannot be searched for a text, so a tainted version is never served again. The adapters are
unloaded from the server at `TWIN_MODEL_SERVER_URL` and deleted. The manifest, which contains hashes
and numbers, stays so that earlier answers can be explained. If a checkpoint's dataset is
unreadable, the checkpoint counts as trained on the text.
"""
# pyright: strict

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.decoding import find_in_file
from twin_resources.erasure.erasure_target import ErasureTarget
from twin_resources.errors import TwinError
from twin_resources.models.serving.loaded_adapters import AdapterServer
from twin_resources.quality.retraining import retrainings

ACTOR, REASON = "forget", "it was trained on data that has since been forgotten"
WEIGHT_SUFFIXES = (".safetensors", ".gguf", ".bin", ".pt")


@dataclass(frozen=True)
class Checkpoints:
    """The folders `<home>/checkpoints/<author>/<hash>/`, and the adapters of authors' versions."""

    installation: Installation
    name: str = "checkpoints"

    def erase(self, target: ErasureTarget) -> int:
        """See `DataStore.erase`."""
        erased_count = 0
        for author in self._list_authors(target):  # first, so that the fleet loads none again
            erased_count += self._taint_versions(author, target)
        for name in self._find_loaded(target):
            AdapterServer(self.installation.settings).unload(name)
        if target.is_whole_author:
            folder = self.installation.settings.checkpoints_dir / target.author
            count = sum(path.is_file() for path in folder.rglob("*"))
            if folder.is_dir():
                shutil.rmtree(folder)
            return count
        for folder in self._find_folders(target):
            for path in _list_weight_files(folder):
                path.unlink()
                erased_count += 1
        for path in self._find_reports(target):
            if find_in_file(path, target):
                path.unlink()
                erased_count += 1
        return erased_count

    def find_remaining(self, target: ErasureTarget) -> list[str]:
        """See `DataStore.find_remaining`."""
        locations = [f"{name} on the model server" for name in self._find_loaded(target)]
        locations += [
            f"{path.parent.name}: weights"
            for checkpoint_folder in self._find_folders(target)
            for path in _list_weight_files(checkpoint_folder)
        ]
        if target.is_whole_author:
            folder = self.installation.settings.checkpoints_dir / target.author
            locations += [f"the author's folder ({folder.name})"] if folder.exists() else []
        for author in self._list_authors(target):
            locations += [
                f"v{version.version} is not tainted"
                for version in self.installation.registry.versions(author)
                if version.checkpoint in target.checkpoints and not version.tainted
            ]
        for path in self._find_reports(target):
            locations += [f"{path.name}: {location}" for location in find_in_file(path, target)]
        return locations

    def _find_loaded(self, target: ErasureTarget) -> list[str]:
        """Return the target's adapters on the server at `TWIN_MODEL_SERVER_URL`.

        vLLM reads an adapter from its folder again when memory is short, and a missing folder ends
        it for all authors.
        """
        if not self.installation.settings.model_server_url:
            return []
        if not target.checkpoints and not target.is_whole_author:
            return []
        author = target.author if target.is_whole_author else ""
        return AdapterServer(self.installation.settings).find_loaded(
            target.checkpoints, author=author
        )

    def _list_authors(self, target: ErasureTarget) -> list[str]:
        return [target.author] if target.author else self.installation.registry.authors()

    def _find_folders(self, target: ErasureTarget) -> Iterator[Path]:
        base = self.installation.settings.checkpoints_dir
        for checkpoint in sorted(target.checkpoints):
            yield from (path for path in base.glob(f"*/{checkpoint}") if path.is_dir())

    def _find_reports(self, target: ErasureTarget) -> list[Path]:
        base = self.installation.settings.checkpoints_dir
        folders = [base / target.author] if target.author else [base]
        return [
            path
            for folder in folders
            for path in sorted(folder.rglob("*"))
            if path.is_file()
            and path.suffix not in WEIGHT_SUFFIXES
            and path.name != "manifest.json"
        ]

    def _taint_versions(self, author: str, target: ErasureTarget) -> int:
        """Taint the versions and request one rebuild; a tainted stable version stops answering."""
        state, registry = self.installation.state, self.installation.registry
        tainted_count = 0
        for version in registry.versions(author):
            is_target = target.is_whole_author or version.checkpoint in target.checkpoints
            if is_target and not version.tainted:
                registry.taint(author, version.version, actor=ACTOR, reason=REASON)
                tainted_count += 1
        if not target.is_whole_author and any(
            version.checkpoint in target.checkpoints
            and version.state in {"stable", "shadow", "canary", "candidate"}
            for version in registry.versions(author)
        ):
            with state.transaction() as connection:
                open_requests = retrainings.open_requests(connection).get(author, [])
                if not any(request.cause == "forget" for request in open_requests):
                    retrainings.request_retraining(
                        connection,
                        author=author,
                        cause="forget",
                        asked_by=ACTOR,
                        reason=REASON,
                        now=state.now(connection),
                    )
        return tainted_count


def find_trained_checkpoints(
    installation: Installation, author: str, target: ErasureTarget
) -> set[str]:
    """Return the hashes of checkpoints whose training data contained the target or is unreadable.

    Call this before any erasure, because an erasure moves the tags that a manifest names.
    """
    base = installation.settings.checkpoints_dir / author
    manifests: dict[str, dict[str, Any]] = {
        path.parent.name: json.loads(path.read_text("utf-8"))
        for path in sorted(base.glob("*/manifest.json"))
    }
    pairs: dict[str, dict[str, Any]] = {
        checkpoint: manifest.get("preferences") or {} for checkpoint, manifest in manifests.items()
    }
    checkpoints = {
        checkpoint
        for checkpoint, manifest in manifests.items()
        if _dataset_contains_target(installation, author, manifest["dataset"], target)
        or _posts_contain_target(installation, author, manifest["dataset"], target)
        or (
            pairs[checkpoint]
            and _dataset_contains_target(installation, author, pairs[checkpoint], target)
        )
    }
    # Add versions whose folder was deleted or is on another machine.
    versions = installation.registry.versions(author)
    checkpoints |= {
        version.checkpoint
        for version in versions
        if version.checkpoint not in manifests and not version.is_answer_model  # not trained here
    }
    # A preference-tuned checkpoint builds on its supervised parent.
    return checkpoints | {
        trained_checkpoint
        for trained_checkpoint, preferences in pairs.items()
        if preferences.get("parent") in checkpoints
    }


def _dataset_contains_target(
    installation: Installation, author: str, source: dict[str, Any], target: ErasureTarget
) -> bool:
    """Return whether a tag's rows refer to or contain the target; True if they are unreadable."""
    try:
        rows = installation.tables.read(source["asset"], author, version=source["tag"])
    except TwinError:
        return True  # the tag or the table was deleted
    if "split" in rows.columns:
        rows = rows.filter(rows["split"] == "train")
    return _contains_target(rows, target)


def _posts_contain_target(
    installation: Installation, author: str, dataset: dict[str, Any], target: ErasureTarget
) -> bool:
    """Return whether the samples' raw posts contain the target; True if they are unreadable.

    The posts are checked because a sample may contain only a passage of its post.
    """
    raw_dataset = dataset.get("raw")
    if not raw_dataset:
        return False
    try:
        samples = installation.tables.read(dataset["asset"], author, version=dataset["tag"])
        posts = installation.tables.read(raw_dataset["asset"], author, version=raw_dataset["tag"])
    except TwinError:
        return True  # a tag was removed, or a table was deleted
    trained_ids = samples.filter(samples["split"] == "train")["document_id"].unique().to_list()
    rows = posts.filter(posts["document_id"].is_in(trained_ids))
    return _contains_target(rows, target)


def _contains_target(rows: pl.DataFrame, target: ErasureTarget) -> bool:
    return any(target.matches_value(row) for row in rows.iter_rows())


def _list_weight_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.suffix in WEIGHT_SUFFIXES)
