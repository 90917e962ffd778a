"""Run one conversion with the converter's packages: `python -m …conversion_process model|adapter`.

Scope: the code that imports the converter's own `gguf` and `conversion` packages. The converter
writes hyper-parameters and tensors; `gguf_vocabulary.py` writes the vocabulary.
Out of scope: starting this process (`gguf_converter.py`).

The process exits with 3 and a line of JSON (`kind`, `found`) if llama.cpp cannot express the input.
An adapter adds B·A to a weight. The converter converts B·A as if it were the weight, and then B
alone. If the first result equals the second times A, the conversion only reorders rows or splits
them into several tensors, and the adapter stores the converted B. Otherwise it is refused.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twin_resources.errors import TwinError
from twin_resources.storage.weights.chat_turns import adapt_chat_template
from twin_resources.storage.weights.gguf import (
    LORA_PREFIX,
    compute_lora_alpha,
    write_adapter_tensors,
)
from twin_resources.storage.weights.gguf_converter import REFUSED_EXIT_CODE
from twin_resources.storage.weights.gguf_vocabulary import write_vocabulary


class _ConversionError(Exception):
    """The input cannot be converted; `kind` is architecture, tokenizer or adapter."""

    def __init__(self, kind: str, found: str) -> None:
        super().__init__(found)
        self.kind = kind


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="conversion_process")
    parser.add_argument("kind", choices=["model", "adapter"])
    parser.add_argument("--converter", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--precision", choices=["f16", "q8_0"], default="f16")
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(options.converter))  # before the installed gguf
    try:
        if options.kind == "model":
            write_model(options.model, options.out, precision=options.precision)
        else:
            write_adapter(options.adapter, options.model, options.out)
    except _ConversionError as refusal:
        sys.stdout.write(json.dumps({"kind": refusal.kind, "found": str(refusal)}) + "\n")
        return REFUSED_EXIT_CODE
    except TwinError as error:
        sys.stdout.write(json.dumps({"kind": "tokenizer", "found": error.found}) + "\n")
        return REFUSED_EXIT_CODE
    return 0


def write_model(folder: Path, out: Path, *, precision: str) -> None:
    """Write the model with one vocabulary entry per row of its token embedding."""
    import torch
    from gguf import LlamaFileType
    from transformers import AutoTokenizer

    file_types = {"f16": LlamaFileType.MOSTLY_F16, "q8_0": LlamaFileType.MOSTLY_Q8_0}
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    end_of_turn_id: Any = tokenizer.convert_tokens_to_ids(
        adapt_chat_template(tokenizer).end_of_turn
    )
    architecture = _load_model_class(folder)

    def set_vocab(self: Any) -> None:
        names = [name for shard in self.gguf_writer.tensors for name in shard]
        if "token_embd.weight" not in names:
            raise _ConversionError("architecture", "no token embedding")
        (rows,) = (
            shard["token_embd.weight"].shape[0]
            for shard in self.gguf_writer.tensors
            if "token_embd.weight" in shard
        )
        write_vocabulary(
            self.gguf_writer,
            tokenizer,
            rows=rows,
            end_of_turn=end_of_turn_id,
            fallback=lambda: self.get_vocab_base_pre(tokenizer),
        )

    converter_class = type(
        "Model", (architecture,), {"model_arch": architecture.model_arch, "set_vocab": set_vocab}
    )
    with torch.inference_mode():
        converter_class(
            folder, file_types[precision], out, model_name=_model_name(folder, tokenizer)
        ).write()


def _model_name(folder: Path, tokenizer: Any) -> str:
    """Return the folder's name, prefixed with "phi-3" if control tokens strip the space after them.

    GGUF has no field for this property; llama.cpp infers it from the model's name.
    Source: https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp
    """
    strips_space = any(token.rstrip for token in tokenizer.added_tokens_decoder.values())
    return f"phi-3 {folder.name}" if strips_space else folder.name


def write_adapter(adapter: Path, folder: Path, out: Path) -> None:
    """Write the GGUF file of a LoRA adapter for the model in `folder`."""
    import torch
    from gguf import MODEL_ARCH_NAMES, LlamaFileType

    architecture = _load_model_class(folder)
    alpha = compute_lora_alpha(adapter)
    with torch.inference_mode():
        model = architecture(folder, LlamaFileType.ALL_F32, out)
        tensors = dict(_iter_adapter_tensors(adapter, model))
    write_adapter_tensors(out, MODEL_ARCH_NAMES[model.model_arch], alpha, tensors)


def _load_model_class(folder: Path) -> Any:
    # --converter puts the converter's own package on the path.
    from conversion import (  # pyright: ignore[reportMissingImports]
        ModelBase,
        ModelType,
        get_model_architecture,
        get_model_class,
    )

    architecture = get_model_architecture(ModelBase.load_hparams(folder, False), ModelType.TEXT)
    try:
        return get_model_class(architecture)
    except NotImplementedError as error:
        raise _ConversionError("architecture", f"the architecture {architecture}") from error


def _iter_adapter_tensors(adapter: Path, model: Any) -> Iterator[tuple[str, Any]]:
    from safetensors.torch import load_file

    tensors = load_file(adapter / "adapter_model.safetensors")
    modules = sorted({name.rpartition(".lora_")[0] for name in tensors})
    for module in modules:
        try:
            down, up = (tensors.pop(f"{module}.lora_{matrix}.weight").float() for matrix in "AB")
        except KeyError as error:
            raise _ConversionError(
                "adapter", f"a tensor of {module} that is not a LoRA matrix"
            ) from error
        name = f"{module.removeprefix(LORA_PREFIX)}.weight"
        for target, rows in _convert_weight(model, name, up, down):
            yield f"{target}.lora_a", down.contiguous().numpy()
            yield f"{target}.lora_b", rows.contiguous().numpy()
    if tensors:
        raise _ConversionError("adapter", f"the tensor {min(tensors)}, which is not a LoRA matrix")


def _convert_weight(model: Any, name: str, up: Any, down: Any) -> Iterator[tuple[str, Any]]:
    """Yield each GGUF tensor that a weight becomes, with B (rows, r) in its row order."""
    import torch

    tensor = model.filter_tensors((name, lambda: up))
    if tensor is None:
        raise _ConversionError("adapter", f"{name}, which GGUF omits")
    name = tensor[0]
    layer = next((int(part) for part in name.split(".") if part.isdecimal()), None)
    try:
        converted_products = dict(model.modify_tensors(up @ down, name, layer))
        converted_rows = dict(model.modify_tensors(up, name, layer))
    except (ValueError, RuntimeError, IndexError) as error:
        raise _ConversionError("adapter", f"{name}: {error}") from error
    for target, product in converted_products.items():
        target_rows = converted_rows.get(target)
        if target_rows is None or target_rows.ndim != 2 or target_rows.shape[1] != down.shape[0]:
            raise _ConversionError(
                "adapter", f"{name}, whose conversion to {target} changes more than its rows"
            )
        if not torch.allclose(target_rows @ down, product, rtol=1e-4, atol=1e-6):
            raise _ConversionError("adapter", f"{name}, whose values differ in {target}")
        yield target, target_rows


if __name__ == "__main__":
    sys.exit(main())
