"""Make tiny models of each family of base models, with random weights and a tokenizer.

Scope: models for tests. Out of scope: anything that is shipped.

Most models have two layers of width 64. All have about 700 tokens. The usual initial weights give
logits so similar that an error in reading them goes unnoticed. Here the weights are so large that
the most probable token has about a third of the probability, which shows a wrong rotary order, head
or tokenization.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WIDTH, LAYERS, HEADS, KEY_HEADS = 64, 2, 4, 2
VOCABULARY = 700
BYTES, PIECES, GEMMA_PIECES = "bytes", "pieces", "gemma pieces"

LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
THREE_DIGITS, ONE_DIGIT = LETTERS + r"\p{N}{1,3}" + REST, LETTERS + r"\p{N}" + REST

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content "
    "+ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHATML_THINKING = (
    "{%- if tools %}{{ '<|im_start|>system\n<tools>' + (tools | tojson) + '</tools><|im_end|>\n' }}"
    "{%- endif %}"
    "{%- for message in messages %}{%- if message.role == 'assistant' %}"
    "{{- '<|im_start|>assistant\n<think>\n\n</think>\n\n' + message.content + '<|im_end|>\n' }}"
    "{%- else %}{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\n\n</think>\n\n' }}{%- endif %}{%- endif %}"
)
LLAMA3 = (
    "{{- bos_token }}{%- for message in messages %}{{- '<|start_header_id|>' + message.role + "
    "'<|end_header_id|>\n\n' + (message.content | trim) + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{%- endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('After the optional system message, roles must alternate') }}{% endif %}"
    "{% if message.role == 'user' %}{{ '[INST] ' + message.content + '[/INST]' }}"
    "{% else %}{{ ' ' + message.content + eos_token }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% if message.role == 'assistant' %}{% set role = 'model' %}"
    "{% else %}{% set role = message.role %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message.content | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """The specification of a family's tiny model.

    Attributes:
        config: name of the configuration in transformers; `values` are added to the common values.
        tokenizer_kind: `BYTES`, `PIECES` or `GEMMA_PIECES`; `split` is the expression for `BYTES`.
        special: control tokens besides those of `roles`.
        ends: tokens of `special` that end a turn; the first is the tokenizer's own.
    """

    config: str
    tokenizer_kind: str
    template: str
    ends: tuple[str, ...]
    split: str = ""
    bos: str | None = None
    special: tuple[str, ...] = ()
    ignore_merges: bool = False
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])


def _rope(theta: float) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": theta}


IM_START = ("<|im_start|>",)
FAMILIES: dict[str, Family] = {
    "llama": Family(
        "LlamaConfig", BYTES, LLAMA3, ("<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"),
        split=THREE_DIGITS, bos="<|begin_of_text|>", ignore_merges=True,
        special=("<|start_header_id|>", "<|end_header_id|>", "<|python_tag|>"),
        values={
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0,
                "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
    ),
    "qwen2": Family(
        "Qwen2Config", BYTES, CHATML, ("<|im_end|>", "<|endoftext|>"), split=ONE_DIGIT,
        special=IM_START, values={"tie_word_embeddings": True},
    ),
    "qwen3": Family(
        "Qwen3Config", BYTES, CHATML_THINKING, ("<|im_end|>", "<|endoftext|>"), split=ONE_DIGIT,
        special=(*IM_START, "<tool_call>", "</tool_call>"),
        values={"head_dim": 32, "tie_word_embeddings": True},
    ),
    "mistral": Family(
        "MistralConfig", PIECES, MISTRAL, ("</s>",), bos="<s>",
        special=("[INST]", "[/INST]", "[TOOL_CALLS]"), values={"sliding_window": None},
    ),
    "gemma2": Family(
        "Gemma2Config", GEMMA_PIECES, GEMMA, ("<end_of_turn>", "<eos>"), bos="<bos>",
        special=("<start_of_turn>",),
        values={
            "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 32,
            "attn_logit_softcapping": 20.0, "final_logit_softcapping": 10.0,
            "hidden_activation": "gelu_pytorch_tanh",
        },
    ),
    "gemma3": Family(
        "Gemma3TextConfig", GEMMA_PIECES, GEMMA, ("<end_of_turn>", "<eos>"), bos="<bos>",
        special=("<start_of_turn>",),
        values={
            "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 32,
            # llama.cpp uses full attention in each sixth layer
            "num_hidden_layers": 6, "layer_types": ["sliding_attention"] * 5 + ["full_attention"],
        },
    ),
    "smollm3": Family(
        "SmolLM3Config", BYTES, CHATML_THINKING, ("<|im_end|>", "<|end_of_text|>"),
        split=THREE_DIGITS, special=IM_START, ignore_merges=True,
        values={  # llama.cpp uses no rotary embedding in each fourth layer
            "num_hidden_layers": 4, "no_rope_layers": [1, 1, 1, 0], "tie_word_embeddings": True,
        },
    ),
}  # fmt: skip


def make_family(name: str, folder: Path, texts: list[str]) -> Path:
    """Write a transformers folder; the same name gives the same files.

    Args:
        folder: folder that is created.
        texts: texts from which the tokenizer is trained.
    """
    from tokenizers import Tokenizer

    make_tokenizer(name, folder, texts)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    _write_model(FAMILIES[name], folder, tokenizer)
    return folder


def make_tokenizer(name: str, folder: Path, texts: list[str]) -> Path:
    """Write the tokenizer of a family, with its chat template, into a new folder."""
    family = FAMILIES[name]
    folder.mkdir(parents=True)
    _write_tokenizer(family, folder, texts)
    return folder


def _write_tokenizer(family: Family, folder: Path, texts: list[str]) -> None:
    special = list(dict.fromkeys([*([family.bos] if family.bos else []), *family.ends]))
    special += family.special
    tokenizer = (
        _byte_tokenizer(family, special, texts)
        if family.tokenizer_kind == BYTES
        else _piece_tokenizer(family, special, texts)
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": family.ends[0],
        "pad_token": family.ends[-1],
        "model_max_length": 2048,
    }
    if family.bos:
        settings["bos_token"] = family.bos
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(family.template, encoding="utf-8")


def _byte_tokenizer(family: Family, special: list[str], texts: list[str]) -> Any:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer: Any = Tokenizer(models.BPE(ignore_merges=family.ignore_merges))
    level = pre_tokenizers.ByteLevel
    steps: list[Any] = [pre_tokenizers.Split(Regex(family.split), "isolated")]
    steps.append(level(add_prefix_space=False, use_regex=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=level.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in special]
    )
    return tokenizer


def _piece_tokenizer(family: Family, special: list[str], texts: list[str]) -> Any:
    from tokenizers import (
        AddedToken,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        trainers,
    )

    is_gemma = family.tokenizer_kind == GEMMA_PIECES
    initial_tokens = ["<unk>", *special, *[f"<0x{byte:02X}>" for byte in range(256)]]
    learned: Any = Tokenizer(models.BPE())
    learned.normalizer = normalizers.Replace(" ", "▁")
    learned.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY - len(initial_tokens), show_progress=False)
    learned.train_from_iterator(texts, trainer)
    model = json.loads(learned.to_str())["model"]
    vocabulary = {token: index for index, token in enumerate(initial_tokens)}
    for token in sorted(model["vocab"], key=model["vocab"].get):
        vocabulary.setdefault(token, len(vocabulary))
    merges = [tuple(pair) for pair in model["merges"]]
    tokenizer: Any = Tokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    steps = [] if is_gemma else [normalizers.Prepend("▁")]
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in ["<unk>", *special]]
    )
    return tokenizer


def _write_model(family: Family, folder: Path, tokenizer: Any) -> None:
    import torch
    import transformers

    ids = {token: tokenizer.token_to_id(token) for token in family.ends}
    common: dict[str, Any] = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "max_position_embeddings": 2048,
        "bos_token_id": tokenizer.token_to_id(family.bos) if family.bos else None,
        "eos_token_id": list(ids.values()) if len(ids) > 1 else next(iter(ids.values())),
        "pad_token_id": ids[family.ends[-1]],
    }
    config: Any = getattr(transformers, family.config)(**{**common, **family.values})
    torch.manual_seed(7)
    model: Any = transformers.AutoModelForCausalLM.from_config(config)
    for name, weights in model.named_parameters():
        weights.data = draw_weights(name, weights.data)
    model.to(torch.float16).save_pretrained(folder)


def draw_weights(name: str, values: Any) -> Any:
    """Draw weights: matrices preserve their inputs' scale, and biases are near 0.

    The weights of norms vary around their mean.
    """
    import torch

    if values.ndim == 1:
        center = values.mean() if "norm" in name else 0.0
        return center + 0.2 * torch.randn_like(values)
    input_size = values.shape[-2] if values.ndim == 3 else values.shape[-1]
    scale = 1.5 if any(part in name for part in ("q_proj", "k_proj", "qkv")) else 1.0
    if "embed" in name or "lm_head" in name:
        return torch.randn_like(values) * 3.0 / input_size**0.5
    return torch.randn_like(values) * scale / input_size**0.5
