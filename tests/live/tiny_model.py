"""Make a tiny random Llama with the real SmolLM2 tokenizer, for live tests with fast processes.

Scope: making that model. Out of scope: training and serving it.

Most of its computing time goes into the logits of 49,152 tokens. For a test that trains and judges
the model, a few thousand tokens are enough: a byte-level BPE lists its merges in the order in which
they were learned, so any prefix of the list is also a tokenizer.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


FEW_TOKENS = 4096  # a twelfth of the real vocabulary


def make_tiny_model(
    folder: Path,
    tokenizer_from: Path,
    *,
    seed: int = 7,
    vocabulary: int = 0,
    spread: float = 0.02,
    heads: int = 4,
) -> Path:
    """Write a transformers folder: 2 layers of width 64 and 3.2 M weights, mostly the embedding.

    Args:
        folder: output folder, created if it is missing.
        tokenizer_from: a prepared base model's folder; its tokenizer and chat template are copied.
        seed: seed of the random weights; the same seed produces the same file.
        vocabulary: the number of tokens to keep, starting with the first; 0 keeps all.
        spread: standard deviation of the weights. The output layer is the embedding, which
            adapters do not change, so with 0.02 all tokens remain about equally likely after
            training.
        heads: the number of attention heads, of width 64 / `heads`; vLLM needs at least 32.
    """
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        shutil.copy(tokenizer_from / name, folder / name)
    if vocabulary:
        keep_first_tokens(folder / "tokenizer.json", vocabulary)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        max_position_embeddings=2048,
        rope_parameters={"rope_theta": 10000.0, "rope_type": "default"},
        tie_word_embeddings=True,
        initializer_range=spread,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config).to(torch.float16)
    model.save_pretrained(folder)
    return folder


def keep_first_tokens(path: Path, count: int) -> None:
    """Truncate the `tokenizer.json` of a byte-level BPE after `count` tokens.

    The vocabulary contains special tokens, bytes, and then one token per merge, in merge order.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    model = document["model"]
    base_token_count = len(model["vocab"]) - len(model["merges"])
    model["vocab"] = {text: number for text, number in model["vocab"].items() if number < count}
    model["merges"] = model["merges"][: count - base_token_count]
    path.write_text(json.dumps(document), encoding="utf-8")
