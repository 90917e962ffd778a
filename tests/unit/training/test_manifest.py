"""Test the checkpoint hash, the manifest and the publishing of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.model_versions import build_manifest
from twin_assets.checkpoints import manifest as manifests
from twin_assets.checkpoints.manifest import Manifest, compute_checkpoint_hash
from twin_resources.errors import TwinError


def write_adapter(folder: Path, *, value: float = 1.0, alpha: int = 32) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"lora_A": np.full((2, 2), value)}, folder / "adapter_model.safetensors")
    config = {"r": 16, "lora_alpha": alpha, "target_modules": ["q", "v"], "use_rslora": False}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def make_manifest(checkpoint: str, *, training: str = "t") -> Manifest:
    return build_manifest("ann", checkpoint, training=training, tokens=10, epochs=0.5)


def test_the_hash_depends_on_weights_shape_base_and_template(tmp_path: Path) -> None:
    def compute_hash(folder: Path, base: str = "b", template: str = "t") -> str:
        return compute_checkpoint_hash(folder, base_revision=base, template=template)

    adapter = write_adapter(tmp_path / "original")
    assert compute_hash(adapter) == compute_hash(write_adapter(tmp_path / "same"))
    changed_hashes = [
        compute_hash(write_adapter(tmp_path / "weights", value=2.0)),
        compute_hash(write_adapter(tmp_path / "alpha", alpha=16)),
        compute_hash(adapter, base="other"),
        compute_hash(adapter, template="other"),
    ]
    assert len({compute_hash(adapter), *changed_hashes}) == 5


def test_a_published_checkpoint_is_found_by_its_training(tmp_path: Path) -> None:
    write_adapter(tmp_path / "made" / "adapter")
    folder = manifests.publish_checkpoint(tmp_path / "made", tmp_path / "ann", make_manifest("abc"))
    assert folder == tmp_path / "ann" / "abc"
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    assert manifests.find_trained_checkpoint(tmp_path / "ann", "t") == folder
    assert manifests.find_trained_checkpoint(tmp_path / "ann", "other") is None
    assert manifests.read_manifest(folder) == make_manifest("abc")


def test_equal_weights_keep_the_first_folder(tmp_path: Path) -> None:
    for training in ("first", "second"):
        write_adapter(tmp_path / "made" / "adapter")
        manifest = make_manifest("abc", training=training)
        folder = manifests.publish_checkpoint(tmp_path / "made", tmp_path / "ann", manifest)
    assert [path.name for path in (tmp_path / "ann").iterdir()] == ["abc"]
    assert manifests.find_trained_checkpoint(tmp_path / "ann", "second") == folder


def test_a_newer_schema_and_a_missing_manifest_are_errors(tmp_path: Path) -> None:
    with pytest.raises(TwinError, match="materialize fine_tuned_checkpoint"):
        manifests.read_manifest(tmp_path)
    manifests.write_manifest(tmp_path, make_manifest("abc"))
    document = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(document | {"schema": 99}))
    with pytest.raises(TwinError, match="schema version 99"):
        manifests.read_manifest(tmp_path)


def test_a_missing_pointer_names_the_asset_to_materialize(tmp_path: Path) -> None:
    with pytest.raises(TwinError, match="preference_tuned_checkpoint"):
        manifests.read_pointer(tmp_path / "ann", "candidate")
    manifests.write_pointer(tmp_path, "candidate", {"checkpoint": "abc"})
    assert manifests.read_pointer(tmp_path, "candidate") == {"checkpoint": "abc"}
