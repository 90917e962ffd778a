"""Merge an adapter into its base model and write one transformers folder.

Scope: merging. Out of scope: using the folder (`published_weights.py`, `serving/export.py`).

The adapter is added in float32, and the sum is rounded once. Adding it in bfloat16 makes the error
of served log-probabilities five times larger.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from twin_resources.errors import TwinError


def write_merged_model(
    base: Path,
    adapter: Path | None,
    output_folder: Path,
    *,
    dtype: Literal["float16", "bfloat16", "float32"],
) -> None:
    """Write a transformers folder: weights in `dtype`, with the base's tokenizer and chat template.

    Args:
        base: transformers folder of the base model.
        adapter: PEFT folder, or None to write `base` in `dtype`.
        output_folder: an existing folder.

    Raises:
        TwinError: a weight exceeds the range of `dtype`.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter is not None:
        from peft import PeftModel

        adapted_model: Any = PeftModel.from_pretrained(model, str(adapter))
        model = adapted_model.merge_and_unload(safe_merge=True)
    model = model.to(getattr(torch, dtype))
    for name, weights in model.named_parameters():
        if not bool(torch.isfinite(weights).all()):
            raise TwinError(
                f"write the merged model in {dtype}",
                found=f"a weight in {name} that exceeds the range of {dtype}",
                next_step="export it in bfloat16 or float32 (--dtype)",
            )
    model.save_pretrained(output_folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    tokenizer.save_pretrained(output_folder)
