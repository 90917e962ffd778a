"""Convert a Llama-architecture GGUF file to a transformers folder, without torch.

Scope: reading tensors, tokenizer and chat template from a GGUF file and writing them in
transformers' layout. Out of scope: fetching the file (`weights.py`), writing GGUF (`gguf.py`).
Sources: the GGUF specification, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, and
llama.cpp's converter, which permutes the query and key rows; this module reverses that.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twin_resources.errors import TwinError

if TYPE_CHECKING:
    from gguf import GGUFReader
    from numpy.typing import NDArray

CONTROL_TOKEN = 3  # gguf.TokenType.CONTROL

# blk.N.<key> → model.layers.N.<value>
_LAYER_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OTHER_TENSORS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def write_transformers_folder(gguf_file: Path, target_folder: Path) -> None:
    """Write config, tokenizer, chat template and `model.safetensors` (float16) from one GGUF file.

    Quantized blocks are `scale * q + offset` with float16 scale and offset. They are dequantized to
    float32 and stored as float16, the type of the served GGUF, so that training and serving use
    the same values.

    Args:
        gguf_file: a GGUF file of architecture `llama` with a byte-level BPE tokenizer (`smollm`).
        target_folder: an existing, empty folder.

    Raises:
        TwinError: the file has another architecture or tokenizer kind, or unknown tensors.
    """
    from gguf import GGUFReader

    reader = GGUFReader(str(gguf_file))
    _require_value(reader, "general.architecture", "llama", gguf_file)
    _require_value(reader, "tokenizer.ggml.model", "gpt2", gguf_file)
    _require_value(reader, "tokenizer.ggml.pre", "smollm", gguf_file)
    tensors = _read_tensors(reader, gguf_file)
    config = _build_config(reader, has_tied_embeddings="lm_head.weight" not in tensors)
    _write_tokenizer(reader, target_folder)
    _write_json(target_folder / "config.json", config)
    token_ids = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    _write_json(target_folder / "generation_config.json", token_ids)

    from safetensors.numpy import save_file

    save_file(tensors, target_folder / "model.safetensors", metadata={"format": "pt"})


def _read_value(reader: GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()


def _require_value(reader: GGUFReader, key: str, expected: str, gguf_file: Path) -> None:
    value = _read_value(reader, key)
    if value != expected:
        raise TwinError(
            f"convert {gguf_file.name} to a transformers folder",
            found=f"{key} is {value!r}, not {expected!r}",
            next_step="name a Hugging Face model id or a transformers folder with --base-model",
        )


def _build_config(reader: GGUFReader, *, has_tied_embeddings: bool) -> dict[str, Any]:
    hidden_size = int(_read_value(reader, "llama.embedding_length"))
    head_count = int(_read_value(reader, "llama.attention.head_count"))
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": int(_read_value(reader, "tokenizer.ggml.bos_token_id")),
        "dtype": "float16",
        "eos_token_id": int(_read_value(reader, "tokenizer.ggml.eos_token_id")),
        "head_dim": hidden_size // head_count,
        "hidden_act": "silu",
        "hidden_size": hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": int(_read_value(reader, "llama.feed_forward_length")),
        "max_position_embeddings": int(_read_value(reader, "llama.context_length")),
        "mlp_bias": False,
        "num_attention_heads": head_count,
        "num_hidden_layers": int(_read_value(reader, "llama.block_count")),
        "num_key_value_heads": int(_read_value(reader, "llama.attention.head_count_kv")),
        "pad_token_id": int(_read_value(reader, "tokenizer.ggml.padding_token_id")),
        # GGUF stores a float32; rounding to seven digits restores the original number (1e-05).
        "rms_norm_eps": float(
            f"{_read_value(reader, 'llama.attention.layer_norm_rms_epsilon'):.7g}"
        ),
        "rope_parameters": {
            "rope_theta": float(_read_value(reader, "llama.rope.freq_base")),
            "rope_type": "default",
        },
        "tie_word_embeddings": has_tied_embeddings,
        "vocab_size": int(_read_value(reader, "llama.vocab_size")),
    }


def _read_tensors(reader: GGUFReader, gguf_file: Path) -> dict[str, NDArray[np.float16]]:
    from gguf import dequantize

    head_counts = {
        "attn_q": int(_read_value(reader, "llama.attention.head_count")),
        "attn_k": int(_read_value(reader, "llama.attention.head_count_kv")),
    }
    tensors: dict[str, NDArray[np.float16]] = {}
    for tensor in reader.tensors:
        parts = tensor.name.split(".")
        kind = parts[2] if parts[0] == "blk" and len(parts) == 4 else ""
        if tensor.name in _OTHER_TENSORS:
            name = _OTHER_TENSORS[tensor.name]
        elif kind in _LAYER_TENSORS:
            name = f"model.layers.{parts[1]}.{_LAYER_TENSORS[kind]}.{parts[3]}"
        else:
            raise TwinError(
                f"convert {gguf_file.name} to a transformers folder",
                found=f"the unknown tensor {tensor.name}",
                next_step="name a Hugging Face model id or a transformers folder with --base-model",
            )
        array = dequantize(tensor.data, tensor.tensor_type)
        if kind in head_counts:
            array = _unpermute(array, head_counts[kind])
        tensors[name] = np.ascontiguousarray(array, dtype=np.float16)
    return tensors


def _unpermute(array: NDArray[Any], heads: int) -> NDArray[Any]:
    """Reorder the rows of a query or key projection from interleaved (llama.cpp) to half-split."""
    rows, columns = array.shape
    return (
        array.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
    )


def _write_tokenizer(reader: GGUFReader, target_folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens: list[str] = _read_value(reader, "tokenizer.ggml.tokens")
    kinds: list[int] = _read_value(reader, "tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ")) for merge in _read_value(reader, "tokenizer.ggml.merges")]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    # llama.cpp's pre-tokenizer "smollm" separates every digit, then applies GPT-2's pattern.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control_tokens = [
        token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL_TOKEN
    ]
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in control_tokens]
    )
    tokenizer.save(str(target_folder / "tokenizer.json"), pretty=False)

    def special_token(key: str) -> str:
        return tokens[int(_read_value(reader, f"tokenizer.ggml.{key}_token_id"))]

    _write_json(
        target_folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": special_token("bos"),
            "eos_token": special_token("eos"),
            "unk_token": special_token("unknown"),
            "pad_token": special_token("padding"),
            "clean_up_tokenization_spaces": False,
            "model_max_length": int(_read_value(reader, "llama.context_length")),
        },
    )
    template = _read_value(reader, "tokenizer.chat_template")
    (target_folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
