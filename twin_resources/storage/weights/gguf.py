"""Write Hugging Face folders and PEFT adapters as GGUF files for llama.cpp's server.

The families are Llama (and Mistral), SmolLM, Qwen 2 and 3, and Gemma 2 and 3; any other is served
by vLLM. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

Llama's rotary embedding pairs adjacent rows in GGUF, but rows half a head apart in Hugging Face.
This module therefore reorders the rows of q and k and of their LoRA B matrices. Without the
reordering, nine of ten top tokens still agree, but log-probabilities differ by 0.12 on average.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from safetensors import safe_open

from twin_resources.errors import TwinError
from twin_resources.storage.weights.gguf_vocabulary import (
    SERVE_WITH_VLLM,
    compute_scores,
    has_space_prefix,
    pre_tokenizer_name,
    read_tokens,
)

if TYPE_CHECKING:
    from gguf import GGUFWriter

Array = np.ndarray[Any, Any]
Layout = tuple[str, tuple[int, ...], np.dtype[Any]]
"""Name, shape and type of a tensor."""

Precision = Literal["f16", "q8_0"]
# transformers' class of a family, and gguf's name of its architecture
_ARCHITECTURES = {
    "LlamaForCausalLM": "LLAMA",
    "MistralForCausalLM": "LLAMA",
    "SmolLM3ForCausalLM": "SMOLLM3",
    "Qwen2ForCausalLM": "QWEN2",
    "Qwen3ForCausalLM": "QWEN3",
    "Gemma2ForCausalLM": "GEMMA2",
    "Gemma3ForCausalLM": "GEMMA3",
}
_PAIRED_ROTARY_ROWS = ("LLAMA", "SMOLLM3")  # the others rotate rows half a head apart, as here
_ROPE_TYPES = ("default", "linear", "llama3")
_SLIDING_ROPE_THETA = 10000.0  # llama.cpp's own constant for Gemma 3
_ACTIVATIONS = ("silu", "gelu_pytorch_tanh")  # of Gemma the second
_Q8_BLOCK = 32  # columns that share a scale in q8_0
_SHAPE_FIELDS = (
    "vocab_size",
    "max_position_embeddings",
    "hidden_size",
    "num_hidden_layers",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "rms_norm_eps",
)
_NUMPY_TYPES = {"F16", "F32", "F64"}  # safetensors' names
LORA_PREFIX = "base_model.model."


def read_config(folder: Path) -> dict[str, Any]:
    """Read `config.json` of a model folder as a dictionary.

    Raises:
        TwinError: the file does not exist.
    """
    path = folder / "config.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TwinError(
            f"read the model in {folder}",
            found=f"no file {path}",
            next_step="specify a folder that transformers' save_pretrained wrote",
        ) from error


def write_model(model_folder: Path, out_path: Path, *, precision: Precision = "f16") -> Path:
    """Write a Hugging Face folder as a GGUF file.

    Args:
        model_folder: a folder with config.json, tokenizer.json (BPE), chat template and
            *.safetensors.
        out_path: the file to write. It is renamed from a partial file, so it is always complete.
        precision: precision of the matrices; vectors are f32. q8_0 changes answers slightly.

    Returns:
        out_path.

    Raises:
        TwinError: llama.cpp would misread the architecture, rotary scaling or pre-tokenizer, or a
            weight exceeds the range of f16.
    """
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, GGUFWriter, LlamaFileType

    config = read_config(model_folder)
    architecture = find_architecture(model_folder, config)
    file_types = {"f16": LlamaFileType.MOSTLY_F16, "q8_0": LlamaFileType.MOSTLY_Q8_0}

    def build(path: Path) -> None:
        with closing(GGUFWriter(path, MODEL_ARCH_NAMES[MODEL_ARCH[architecture]])) as writer:
            writer.add_type("model")
            writer.add_name(model_folder.name)
            writer.add_file_type(file_types[precision])
            rope_factors = _add_hyperparameters(writer, model_folder, config)
            _add_tokenizer(writer, model_folder, config)
            extra_tensors = {"rope_freqs.weight": rope_factors} if rope_factors is not None else {}
            options = {
                "namer": _create_gguf_namer(architecture, config),
                "extra": extra_tensors,
                "precision": precision,
            }
            _stream_tensors(
                writer,
                _iter_model_layout(model_folder, config, **options),
                _iter_model_tensors(model_folder, config, **options),
            )

    return write_atomically(out_path, build)


def write_adapter(adapter_folder: Path, base_folder: Path, out_path: Path) -> Path:
    """Write a PEFT LoRA as a GGUF adapter (f32).

    Tensors are `blk.N.<name>.weight.lora_a` (r, in) and `.lora_b` (out, r).

    Args:
        adapter_folder: adapter_config.json and adapter_model.safetensors, as PEFT saves them.
        base_folder: the base model's folder. The head counts in its config.json determine the
            order of the rows.
        out_path: the file to write, renamed from a partial file.

    Returns:
        out_path.

    Raises:
        TwinError: llama.cpp does not support a feature of the adapter (DoRA, per-module ranks,
            trained biases …).
    """
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES

    config = read_config(base_folder)
    architecture = find_architecture(base_folder, config)
    alpha = compute_lora_alpha(adapter_folder)
    namer = _create_gguf_namer(architecture, config)
    tensors: dict[str, Array] = {}
    for name, values in _read_tensors(adapter_folder / "adapter_model.safetensors"):
        module, _, suffix = name.removeprefix(LORA_PREFIX).rpartition(".lora_")
        if suffix not in ("A.weight", "B.weight"):
            raise _unsupported_error(adapter_folder, f"the tensor {name} is not a LoRA matrix")
        target = namer(f"{module}.weight")
        if suffix == "A.weight":
            tensors[f"{target}.lora_a"] = values
        else:
            rows = _to_gguf_rows(f"{module}.weight", values, config)
            tensors[f"{target}.lora_b"] = np.ascontiguousarray(rows)

    return write_atomically(
        out_path,
        lambda path: _write_adapter_tensors(
            path, MODEL_ARCH_NAMES[MODEL_ARCH[architecture]], alpha, tensors
        ),
    )


def _write_adapter_tensors(
    path: Path, architecture: str, alpha: float, tensors: Mapping[str, Array]
) -> None:
    from gguf import GGUFWriter

    with closing(GGUFWriter(path, architecture)) as writer:
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", alpha)
        layout = [(name, values.shape, values.dtype) for name, values in tensors.items()]
        _stream_tensors(writer, layout, tensors.items())


def compute_lora_alpha(adapter_folder: Path) -> float:
    """Return a PEFT LoRA's alpha for llama.cpp, which divides the alpha by the rank.

    Raises:
        TwinError: llama.cpp does not support a feature of the adapter (DoRA, per-module ranks,
            trained biases …).
    """
    lora = json.loads((adapter_folder / "adapter_config.json").read_text(encoding="utf-8"))
    supported_values = {
        "peft_type": "LORA",
        "use_dora": False,
        "fan_in_fan_out": False,
        "bias": "none",
        "rank_pattern": {},
        "alpha_pattern": {},
        "modules_to_save": None,
        "lora_bias": False,
    }
    for name, supported_value in supported_values.items():
        if lora.get(name, supported_value) not in (supported_value, None, []):
            raise _unsupported_error(
                adapter_folder, f"{name} = {lora[name]!r} in adapter_config.json"
            )
    rank = int(lora["r"])
    # llama.cpp always scales by alpha/r, but rank-stabilized LoRA scales by alpha/sqrt(r).
    return float(lora["lora_alpha"]) * (math.sqrt(rank) if lora.get("use_rslora") else 1.0)


def find_architecture(folder: Path, config: Mapping[str, Any]) -> str:
    """Return gguf's name of a model's architecture, such as `QWEN3`.

    Raises:
        TwinError: the model is of no family that this module writes.
    """
    names = [name for name in config.get("architectures") or [] if name in _ARCHITECTURES]
    if not names:
        raise _unsupported_error(folder, f"the architecture {config.get('architectures')}")
    return _ARCHITECTURES[names[0]]


def _unsupported_error(folder: Path, found: str) -> TwinError:
    return TwinError(f"write {folder} as GGUF", found=found, next_step=SERVE_WITH_VLLM)


def write_atomically(out_path: Path, build: Callable[[Path], None]) -> Path:
    """Build a file under a partial name, rename it to `out_path`, and return `out_path`."""
    out_path.parent.mkdir(parents=True, exist_ok=True)
    partial = out_path.with_name(out_path.name + ".partial")
    try:
        build(partial)
        partial.replace(out_path)
    finally:
        partial.unlink(missing_ok=True)
    return out_path


def _count_rotary_heads(name: str, config: Mapping[str, Any]) -> int | None:
    """Return the number of rotary heads in a tensor's rows, or None if they keep their order."""
    if find_architecture(Path(), config) not in _PAIRED_ROTARY_ROWS:
        return None
    if ".q_proj." in name:
        return int(config["num_attention_heads"])
    if ".k_proj." in name:
        return int(config.get("num_key_value_heads") or config["num_attention_heads"])
    return None


def _to_gguf_rows(name: str, values: Array, config: Mapping[str, Any]) -> Array:
    heads = _count_rotary_heads(name, config)
    if heads is None:
        return values
    paired_rows = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return paired_rows.swapaxes(1, 2).reshape(values.shape)


def _create_gguf_namer(architecture: str, config: Mapping[str, Any]) -> Callable[[str], str]:
    from gguf import MODEL_ARCH, get_tensor_name_map

    names = get_tensor_name_map(MODEL_ARCH[architecture], config["num_hidden_layers"])

    def to_gguf_name(hf_name: str) -> str:
        name = names.get_name(hf_name, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise TwinError(
                "name a tensor in GGUF",
                found=f"{architecture} has no tensor {hf_name}",
                next_step=SERVE_WITH_VLLM,
            )
        return name

    return to_gguf_name


def _add_hyperparameters(
    writer: GGUFWriter, folder: Path, config: Mapping[str, Any]
) -> Array | None:
    """Write the hyper-parameters; return the rotary factors (head dimension / 2,) or None."""
    hparams, architecture = _load_hyperparameters(folder, config), find_architecture(folder, config)
    rope: dict[str, Any] = dict(hparams.rope_parameters or {})
    if "full_attention" in rope:
        sliding, rope = rope["sliding_attention"], rope["full_attention"]
        if (sliding["rope_type"], sliding["rope_theta"]) != ("default", _SLIDING_ROPE_THETA):
            raise _unsupported_error(folder, f"sliding attention with {sliding}")
    rope_type = rope.get("rope_type", "default")
    is_gemma = architecture.startswith("GEMMA")
    if rope_type not in (_ROPE_TYPES if architecture == "LLAMA" else _ROPE_TYPES[:1]):
        raise _unsupported_error(folder, f"rotary scaling of type {rope_type!r}")
    activation = config.get("hidden_activation" if is_gemma else "hidden_act")
    if activation not in (None, _ACTIVATIONS[is_gemma]):
        raise _unsupported_error(folder, f"the activation {activation!r}")
    if config.get("use_sliding_window"):
        raise _unsupported_error(folder, "sliding attention, which llama.cpp would not use")
    head_dim = getattr(hparams, "head_dim", None) or (
        hparams.hidden_size // hparams.num_attention_heads
    )
    writer.add_vocab_size(hparams.vocab_size)
    writer.add_context_length(hparams.max_position_embeddings)
    writer.add_embedding_length(hparams.hidden_size)
    writer.add_block_count(hparams.num_hidden_layers)
    writer.add_feed_forward_length(hparams.intermediate_size)
    writer.add_head_count(hparams.num_attention_heads)
    writer.add_head_count_kv(hparams.num_key_value_heads or hparams.num_attention_heads)
    writer.add_layer_norm_rms_eps(hparams.rms_norm_eps)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_count(head_dim)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    if is_gemma:
        if hparams.query_pre_attn_scalar != head_dim:  # llama.cpp derives it from the size
            raise _unsupported_error(folder, f"attention scale {hparams.query_pre_attn_scalar}")
        writer.add_sliding_window(hparams.sliding_window)
        if hparams.attn_logit_softcapping:
            writer.add_attn_logit_softcapping(hparams.attn_logit_softcapping)
        if hparams.final_logit_softcapping:
            writer.add_final_logit_softcapping(hparams.final_logit_softcapping)
    if rope_type == "default":
        return None
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaled_frequencies, attention_scale = ROPE_INIT_FUNCTIONS[rope_type](hparams, device=None)
    if attention_scale != 1.0:
        raise _unsupported_error(
            folder, f"rotary scaling that scales attention by {attention_scale}"
        )
    frequencies = 1.0 / rope["rope_theta"] ** (
        np.arange(0, head_dim, 2, dtype=np.float64) / head_dim
    )
    return (frequencies / scaled_frequencies.numpy()).astype(np.float32)


def _load_hyperparameters(folder: Path, config: Mapping[str, Any]) -> Any:
    """Return the hyper-parameters, with transformers' defaults for those missing in config.json.

    If none is missing, as for the embedded model, this function does not import transformers and
    torch. That saves 4 CPU s at the first start.
    """
    rope: Mapping[str, Any] = config.get("rope_parameters") or {}
    has_default_rope = rope.get("rope_type") == "default" and rope.get("rope_theta") is not None
    is_llama = find_architecture(folder, config) == "LLAMA"
    if (
        is_llama
        and has_default_rope
        and all(config.get(name) is not None for name in _SHAPE_FIELDS)
    ):
        return SimpleNamespace(
            rope_parameters=rope, **{name: config[name] for name in _SHAPE_FIELDS}
        )
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder)


def _add_tokenizer(writer: GGUFWriter, folder: Path, config: Mapping[str, Any]) -> None:
    from gguf import SpecialVocab

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise _unsupported_error(folder, "no tokenizer.json (a SentencePiece tokenizer?)")
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    if tokenizer["model"].get("type") != "BPE":
        raise _unsupported_error(folder, f"a tokenizer of type {tokenizer['model'].get('type')!r}")
    size = int(config["vocab_size"])
    has_pieces = bool(tokenizer["model"].get("byte_fallback"))  # SentencePiece, else byte-level
    tokens, types = read_tokens(tokenizer, rows=size, has_pieces=has_pieces)
    writer.add_tokenizer_model("llama" if has_pieces else "gpt2")
    writer.add_tokenizer_pre("default" if has_pieces else pre_tokenizer_name(tokenizer))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if has_pieces:
        writer.add_token_scores(compute_scores(tokenizer, tokens))
    writer.add_add_space_prefix(has_pieces and has_space_prefix(tokenizer))
    special_vocab = SpecialVocab(folder, load_merges=not has_pieces, n_vocab=size)
    # The chat template already contains these tokens.
    special_vocab.add_special_token |= {"bos": False, "eos": False}
    special_vocab.add_to_gguf(writer, quiet=True)


def _iter_model_layout(
    folder: Path,
    config: Mapping[str, Any],
    *,
    namer: Callable[[str], str],
    extra: Mapping[str, Array],
    precision: Precision,
) -> Iterator[Layout]:
    """Yield the layout of each tensor of `_iter_model_tensors`, read from the files' headers."""
    from gguf import GGMLQuantizationType
    from gguf.quants import quant_shape_to_byte_shape

    for name, values in extra.items():
        yield name, values.shape, values.dtype
    for path in _list_weight_files(folder):
        with safe_open(path, framework="np") as weights_file:
            for name in _select_exported_names(weights_file.keys(), config):
                shape = tuple(weights_file.get_slice(name).get_shape())
                if len(shape) == 2 and _is_quantized(shape, precision):
                    byte_shape = quant_shape_to_byte_shape(shape, GGMLQuantizationType.Q8_0)
                    yield namer(name), byte_shape, np.dtype(np.uint8)
                else:
                    dtype = np.float32 if len(shape) == 1 else np.float16
                    yield namer(name), shape, np.dtype(dtype)


def _list_weight_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise _unsupported_error(folder, "no *.safetensors")
    return files


def _select_exported_names(names: Iterable[str], config: Mapping[str, Any]) -> list[str]:
    """Return the names of the tensors that GGUF also stores."""
    has_tied_embeddings = bool(config.get("tie_word_embeddings"))
    return [
        name
        for name in sorted(names)
        if not name.endswith("rotary_emb.inv_freq")
        and not (has_tied_embeddings and name == "lm_head.weight")
    ]


def _iter_model_tensors(
    folder: Path,
    config: Mapping[str, Any],
    *,
    namer: Callable[[str], str],
    extra: Mapping[str, Array],
    precision: Precision,
) -> Iterator[tuple[str, Array]]:
    """Yield every tensor with its GGUF name, one at a time; vectors are f32."""
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    is_gemma = find_architecture(folder, config).startswith("GEMMA")
    yield from extra.items()
    for path in _list_weight_files(folder):
        for name, values in _read_tensors(
            path, lambda all_names: _select_exported_names(all_names, config)
        ):
            rows = np.ascontiguousarray(_to_gguf_rows(name, values, config))
            if values.ndim == 1:  # Gemma's norms are stored less one
                has_offset = is_gemma and name.endswith("norm.weight")
                yield namer(name), rows + np.float32(1) if has_offset else rows
                continue
            if _is_quantized(values.shape, precision):
                yield namer(name), quantize(rows, GGMLQuantizationType.Q8_0)
                continue
            if float(np.abs(values).max()) > float(np.finfo(np.float16).max):
                raise _unsupported_error(folder, f"a weight in {name} exceeds the range of f16")
            yield namer(name), rows.astype(np.float16)


def _is_quantized(shape: tuple[int, ...], precision: Precision) -> bool:
    return precision == "q8_0" and shape[-1] % _Q8_BLOCK == 0


def _read_tensors(
    path: Path, select: Callable[[Iterable[str]], list[str]] = sorted
) -> Iterator[tuple[str, Array]]:
    """Yield one safetensors file's tensors as float32; torch reads types that numpy lacks."""
    with safe_open(path, framework="np") as weights_file:
        names = select(weights_file.keys())
        can_numpy_read = {
            weights_file.get_slice(name).get_dtype() for name in names
        } <= _NUMPY_TYPES
    with safe_open(path, framework="np" if can_numpy_read else "pt") as weights_file:
        for name in names:
            values = weights_file.get_tensor(name)
            yield name, values.astype(np.float32) if can_numpy_read else values.float().numpy()


def _stream_tensors(
    writer: GGUFWriter, layout: Iterable[Layout], tensors: Iterable[tuple[str, Array]]
) -> None:
    """Write all names and shapes, then all values in the same order, as GGUF requires."""
    from gguf import GGMLQuantizationType

    for name, shape, dtype in layout:
        raw_type = GGMLQuantizationType.Q8_0 if dtype == np.uint8 else None
        writer.add_tensor_info(name, shape, dtype, math.prod(shape) * dtype.itemsize, raw_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, values in tensors:
        writer.write_tensor_data(values)
