"""Test finding and copying the weights of a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin_assets.checkpoints.manifest import compute_checkpoint_hash
from twin_assets.checkpoints.published_weights import PublishedWeights, copy_weights, find_weights
from twin_resources.storage.weights.weights import BaseModel


@pytest.mark.parametrize("kind", ["adapter", "model"])
def test_only_an_adapter_is_served_beside_its_base(tmp_path: Path, kind: str) -> None:
    folder, gguf = tmp_path / kind, tmp_path / f"{kind}.gguf"
    folder.mkdir()
    gguf.touch()

    weights = find_weights(tmp_path, base="/base", base_gguf="/base.gguf")

    expected = {
        "adapter": PublishedWeights(Path("/base"), folder, "/base.gguf", str(gguf)),
        "model": PublishedWeights(folder, None, str(gguf), None),
    }
    assert weights == expected[kind]


def test_no_gguf_file_is_written_for_an_external_server(tmp_path: Path) -> None:
    output, target = tmp_path / "output", tmp_path / "target"
    (output / "model").mkdir(parents=True)
    (output / "model" / "model.safetensors").write_bytes(b"weights")

    copied = copy_weights(output, target, BaseModel("b", tmp_path, None, "r"))

    assert copied == target / "model"
    assert [path.name for path in target.iterdir()] == ["model"]
    assert find_weights(target, base=tmp_path, base_gguf=None).model_gguf == ""


def test_a_full_models_hash_depends_on_weights_base_and_template(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    expected = compute_checkpoint_hash(tmp_path, base_revision="r", template="t")
    assert expected == compute_checkpoint_hash(tmp_path, base_revision="r", template="t")
    assert expected != compute_checkpoint_hash(tmp_path, base_revision="s", template="t")
    assert expected != compute_checkpoint_hash(tmp_path, base_revision="r", template="u")
    weights.write_bytes(b"two")
    assert expected != compute_checkpoint_hash(tmp_path, base_revision="r", template="t")
