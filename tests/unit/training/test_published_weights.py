"""Test finding and copying the weights of a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin_assets.checkpoints.manifest import compute_checkpoint_hash
from twin_assets.checkpoints.published_weights import copy_weights, find_weights
from twin_assets.checkpoints.recipe import DEFAULT_RECIPE, load_recipe
from twin_assets.training.fine_tuning import validate_recipe_stages
from twin_resources.errors import TwinError
from twin_resources.storage.weights.weights import BaseModel


def test_an_adapter_is_served_beside_its_base(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter.gguf").touch()

    weights = find_weights(tmp_path, base="/base", base_gguf="/base.gguf")

    assert (weights.model, weights.adapter) == (Path("/base"), tmp_path / "adapter")
    assert (weights.model_gguf, weights.adapter_gguf) == (
        "/base.gguf",
        str(tmp_path / "adapter.gguf"),
    )


def test_a_full_model_is_served_without_an_adapter(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model.gguf").touch()

    weights = find_weights(tmp_path, base="/base", base_gguf="/base.gguf")

    assert (weights.model, weights.adapter) == (tmp_path / "model", None)
    assert (weights.model_gguf, weights.adapter_gguf) == (str(tmp_path / "model.gguf"), None)


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


def test_full_models_cannot_be_tuned_on_preferences() -> None:
    recipe = load_recipe(DEFAULT_RECIPE).model_copy(update={"lora": None})
    with pytest.raises(TwinError, match="preference tuning needs an adapter"):
        validate_recipe_stages(recipe)
    validate_recipe_stages(recipe.drop_preference())
