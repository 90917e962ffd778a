"""Test which base models load in shards and how their weights are verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig

from twin_assets.training import sharded_loading
from twin_resources.errors import TwinError
from twin_resources.storage.weights.weight_hashes import weight_hashes
from twin_resources.storage.weights.weights import BaseModel, compute_revision, load_weight_hashes

SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
TIED_CONFIG = LlamaConfig(**SIZES, tie_word_embeddings=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    LlamaForCausalLM(TIED_CONFIG).to(torch.bfloat16).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def build_empty(config: Any = TIED_CONFIG) -> Any:
    return sharded_loading._build_empty_model(config, dtype=torch.float32, attention="sdpa")


def find_mismatch(folder: Path, model: Any) -> str:
    return sharded_loading._find_layout_mismatch(
        model, sharded_loading._find_stored_weights(folder)
    )


def test_the_empty_model_has_buffers_and_uses_no_random_numbers(folder: Path) -> None:
    state = torch.get_rng_state()
    model = build_empty()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert model.lm_head.weight is model.model.embed_tokens.weight
    reference: Any = LlamaForCausalLM.from_pretrained(folder)
    expected = dict(reference.named_buffers())
    buffers = dict(model.named_buffers())
    assert expected
    assert buffers.keys() == expected.keys()
    assert all(torch.equal(buffers[name], expected[name]) for name in expected)


def test_matching_weights_load_in_shards(folder: Path) -> None:
    assert find_mismatch(folder, build_empty()) == ""


def test_mismatches_of_the_files_are_named(folder: Path) -> None:
    file = folder / "model.safetensors"
    weights = load_file(file)
    table = weights["model.embed_tokens.weight"]

    save_file(weights | {"lm_head.weight": table.clone()}, file)
    assert find_mismatch(folder, build_empty()) == (
        "its files have lm_head.weight, which is tied to another weight"
    )
    save_file({f"transformer.{name}": value for name, value in weights.items()}, file)
    assert find_mismatch(folder, build_empty()) == "its files have no model.embed_tokens.weight"
    save_file(weights | {"model.norm.weight": torch.ones(17)}, file)
    assert (
        find_mismatch(folder, build_empty())
        == "model.norm.weight has a different shape in its files"
    )


def test_joined_experts_do_not_load_in_shards(folder: Path) -> None:
    config = MixtralConfig(**SIZES, num_local_experts=2)
    assert find_mismatch(folder, build_empty(config)) == (
        "transformers converts the weights of a MixtralForCausalLM"
    )


def test_a_changed_weight_is_named(folder: Path) -> None:
    file = folder / "model.safetensors"
    before = weight_hashes(folder)
    assert before.keys() == load_file(file).keys()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    after = weight_hashes(folder)
    assert len([name for name in before if after[name] != before[name]]) == 1


def test_weights_are_read_in_the_target_dtype(folder: Path) -> None:
    file, name = folder / "model.safetensors", "model.norm.weight"
    expected = weight_hashes(folder)[name]
    value, value_hash = sharded_loading._read_weight(file, name, torch.float32, expected)
    assert torch.equal(value, load_file(file)[name].float())
    assert value_hash == sharded_loading._hash(value)
    with pytest.raises(sharded_loading._WeightError, match="has changed since it was prepared"):
        sharded_loading._read_weight(file, name, torch.float32, "0" * 64)
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(sharded_loading._WeightError, match="cannot be read"):
        sharded_loading._read_weight(file, name, torch.float32, expected)


def test_an_earlier_preparation_gets_hashes_if_unchanged(folder: Path, tmp_path: Path) -> None:
    base = BaseModel("tiny", folder=folder, gguf=None, revision=compute_revision(folder))
    expected = weight_hashes(folder)
    assert load_weight_hashes(base) == expected
    hashes_path = tmp_path / "weight_hashes.json"
    hashes_path.write_text(json.dumps({"a weight": "its hash"}), encoding="utf-8")
    prepared = BaseModel("tiny", folder, None, base.revision, hashes=hashes_path)
    assert load_weight_hashes(prepared) == {"a weight": "its hash"}
    (folder / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(TwinError, match="have changed since they were prepared"):
        load_weight_hashes(base)
