"""Convert a GGUF file of any architecture that transformers knows to a transformers folder.

Owners of a model often have it as one quantized file. An adapter is trained on its dequantized
weights, and both are served at f16. The embedded model has a reader of its own without torch
(`gguf_to_transformers.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twin_resources.errors import TwinError


def write_dequantized_model(gguf_file: Path, folder: Path) -> None:
    """Write config, tokenizer, chat template and float16 weights of a GGUF file into a folder.

    Args:
        folder: an existing, empty folder.

    Raises:
        TwinError: transformers cannot read this architecture, quantization or tokenizer.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging
    from transformers.utils.quantization_config import GgufConfig

    logging.disable_progress_bar()  # the log of a preparation is read line by line
    parent, name = str(gguf_file.parent), gguf_file.name
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            parent,
            gguf_file=name,
            dtype=torch.float16,
            quantization_config=GgufConfig(dequantize=True),  # else kernels may keep it packed
        )
        tokenizer: Any = AutoTokenizer.from_pretrained(parent, gguf_file=name)
    except (ValueError, KeyError, NotImplementedError, OSError) as error:
        raise TwinError(
            f"dequantize {gguf_file}",
            found=f"{type(error).__name__}: {str(error).strip().splitlines()[0]}",
            next_step="specify the hub id or the transformers folder of this model",
        ) from error
    # A model read from GGUF refuses to be saved as quantized. A model built from its config takes
    # the same tensors, without a copy, and is saved as any other.
    with torch.device("meta"):
        plain_model: Any = AutoModelForCausalLM.from_config(model.config, dtype=torch.float16)
    plain_model.load_state_dict(model.state_dict(), assign=True)
    plain_model.tie_weights()
    plain_model.generation_config = model.generation_config
    plain_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
