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

    found = find_weights(tmp_path, base="/base", base_gguf="/base.gguf")

    assert (found.model, found.adapter) == (Path("/base"), tmp_path / "adapter")
    assert (found.model_gguf, found.adapter_gguf) == ("/base.gguf", str(tmp_path / "adapter.gguf"))


def test_a_full_model_is_served_alone(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model.gguf").touch()

    found = find_weights(tmp_path, base="/base", base_gguf="/base.gguf")

    assert (found.model, found.adapter) == (tmp_path / "model", None)
    assert (found.model_gguf, found.adapter_gguf) == (str(tmp_path / "model.gguf"), None)


def test_no_gguf_file_is_written_for_another_server(tmp_path: Path) -> None:
    output, made = tmp_path / "output", tmp_path / "made"
    (output / "model").mkdir(parents=True)
    (output / "model" / "model.safetensors").write_bytes(b"weights")

    copied = copy_weights(output, made, BaseModel("b", tmp_path, None, "r"))

    assert copied == made / "model"
    assert [path.name for path in made.iterdir()] == ["model"]
    assert find_weights(made, base=tmp_path, base_gguf=None).model_gguf == ""


def test_a_full_models_hash_depends_on_weights_base_and_template(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    first = compute_checkpoint_hash(tmp_path, base_revision="r", template="t")
    assert first == compute_checkpoint_hash(tmp_path, base_revision="r", template="t")
    assert first != compute_checkpoint_hash(tmp_path, base_revision="s", template="t")
    assert first != compute_checkpoint_hash(tmp_path, base_revision="r", template="u")
    weights.write_bytes(b"two")
    assert first != compute_checkpoint_hash(tmp_path, base_revision="r", template="t")


def test_full_models_cannot_be_tuned_on_preferences() -> None:
    whole = load_recipe(DEFAULT_RECIPE).model_copy(update={"lora": None})
    with pytest.raises(TwinError, match="preference tuning needs an adapter"):
        validate_recipe_stages(whole)
    validate_recipe_stages(whole.drop_preference())
