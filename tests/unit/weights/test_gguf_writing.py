"""Test that numpy, torch and transformers give the same GGUF file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from twin_resources.storage.weights import gguf

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "head_dim": 4,
    "hidden_act": "silu",
    "hidden_size": 8,
    "intermediate_size": 16,
    "max_position_embeddings": 32,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "num_key_value_heads": 1,
    "rms_norm_eps": 1e-06,
    "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    "tie_word_embeddings": True,
    "vocab_size": 6,
}
LAYER = "model.layers.0."
SHAPES = {
    "lm_head.weight": (6, 8),  # tied, therefore not in the file
    "model.embed_tokens.weight": (6, 8),
    "model.norm.weight": (8,),
    f"{LAYER}input_layernorm.weight": (8,),
    f"{LAYER}mlp.down_proj.weight": (8, 16),
    f"{LAYER}mlp.gate_proj.weight": (16, 8),
    f"{LAYER}mlp.up_proj.weight": (16, 8),
    f"{LAYER}post_attention_layernorm.weight": (8,),
    f"{LAYER}self_attn.k_proj.weight": (4, 8),
    f"{LAYER}self_attn.o_proj.weight": (8, 8),
    f"{LAYER}self_attn.q_proj.weight": (8, 8),
    f"{LAYER}self_attn.v_proj.weight": (4, 8),
}
WRITE_SCRIPT = """
import sys
from pathlib import Path
from twin_resources.storage.weights import gguf
gguf.write_model(Path(sys.argv[1]), Path(sys.argv[2]))
print([name for name in ("torch", "transformers") if name in sys.modules])
"""


def make_weights() -> dict[str, np.ndarray[Any, Any]]:
    """Return small integers, which every dtype can represent exactly."""
    rng = np.random.default_rng(5)
    return {name: rng.integers(-9, 9, shape).astype(np.float16) for name, shape in SHAPES.items()}


def write_model(folder: Path, **changes: Any) -> Path:
    """Write a model's folder; a change to None removes the value from its configuration."""
    folder.mkdir()
    config = {name: value for name, value in (CONFIG | changes).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer = {
        "model": {
            "type": "BPE",
            "vocab": dict(zip((*"abcde", "ab"), range(6), strict=True)),
            "merges": [["a", "b"]],
        },
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "added_tokens": [],
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    save_file(make_weights(), folder / "model.safetensors")
    return folder


def test_a_complete_configuration_needs_no_torch(tmp_path: Path) -> None:
    from gguf import GGUFReader

    folder, out = write_model(tmp_path / "model"), tmp_path / "model.gguf"
    completed = subprocess.run(
        [sys.executable, "-c", WRITE_SCRIPT, str(folder), str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (completed.returncode, completed.stdout) == (0, "[]\n"), completed.stderr
    weights = make_weights()
    tensors = {tensor.name: tensor.data for tensor in GGUFReader(out).tensors}
    assert len(tensors) == len(SHAPES) - 1
    assert (tensors["token_embd.weight"] == weights["model.embed_tokens.weight"]).all()
    assert tensors["output_norm.weight"].dtype == np.float32
    assert (tensors["blk.0.ffn_down.weight"] == weights[f"{LAYER}mlp.down_proj.weight"]).all()
    queries = weights[f"{LAYER}self_attn.q_proj.weight"]
    assert (tensors["blk.0.attn_q.weight"] == queries[[0, 2, 1, 3, 4, 6, 5, 7]]).all()


def test_a_gguf_file_becomes_the_folder_that_it_was_written_from(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    from twin_resources.storage.weights.dequantized_model import write_dequantized_model

    file = gguf.write_model(write_model(tmp_path / "model"), tmp_path / "model.gguf")
    folder = tmp_path / "dequantized"
    folder.mkdir()
    write_dequantized_model(file, folder)
    original, dequantized = (
        AutoModelForCausalLM.from_pretrained(path).state_dict()
        for path in (tmp_path / "model", folder)
    )
    assert original.keys() == dequantized.keys()
    written = original.keys() - {"lm_head.weight"}  # tied, therefore not in the file
    assert all((original[name] == dequantized[name]).all() for name in written)
    assert (folder / "tokenizer.json").is_file()
    assert gguf.write_model(folder, tmp_path / "again.gguf").is_file()


def test_numpy_torch_and_transformers_give_the_same_file(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file as save_with_torch

    numpy_bytes = gguf.write_model(
        write_model(tmp_path / "model"), tmp_path / "numpy.gguf"
    ).read_bytes()
    (tmp_path / "torch").mkdir()
    bf16_folder = write_model(tmp_path / "torch" / "model")
    values = {name: torch.from_numpy(array).bfloat16() for name, array in make_weights().items()}
    save_with_torch(values, bf16_folder / "model.safetensors")
    assert gguf.write_model(bf16_folder, tmp_path / "torch.gguf").read_bytes() == numpy_bytes
    (tmp_path / "transformers").mkdir()
    # The defaults equal the omitted values.
    folder = write_model(tmp_path / "transformers" / "model", rms_norm_eps=None, head_dim=None)
    assert gguf.write_model(folder, tmp_path / "transformers.gguf").read_bytes() == numpy_bytes
