"""What a training makes of its GPUs: the most memory, and the share of what they can compute.

Belongs here: the two figures, and what cards can compute. Does not belong here: where they are
shown (`train.py`, `publishing.py`, `checkpoints.py`).
Method: model FLOPs utilization, Chowdhery et al. 2022, https://arxiv.org/abs/2204.02311, appendix
B, without attention's own products and without what gradient checkpointing computes twice. A weight
costs 2 FLOP a token forward, 2 for the gradient of its input and 2 for its own, which a weight
beneath an adapter has not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accelerate import Accelerator

FLOP_LORA = 4  # a weight and token
FLOP_FULL = 6
# Dense bf16 FLOP/s of the makers' data sheets, by words in torch's name of it; the first that fits.
PEAK = (
    ("B200", 2250e12),
    ("H200", 989e12),
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("A100", 312e12),
    ("L40S", 362e12),
    ("A40", 149.7e12),
    ("A10", 125e12),
    ("RTX 6000 Ada", 364e12),
    ("RTX 4090", 165e12),
    ("RTX 3090", 71e12),
    ("L4", 121e12),
)


def peak_flops(card: str) -> float | None:
    """Dense bf16 FLOP/s of a card by torch's name of it; None: not in the table."""
    return next((value for name, value in PEAK if re.search(rf"\b{name}\b", card)), None)


def model_flops_utilization(
    tokens_per_second: float, *, weights: int, lora: bool, ranks: int, peak: float | None
) -> float | None:
    """The share of the cards' FLOP/s that the model's products take; None: the card is not known.

    Args:
        tokens_per_second: of all ranks together, padding left out.
        weights: of the matrices that a token is multiplied with (`matrix_weights`).
        lora: an adapter is trained, not the weights.
        peak: FLOP/s of one card; each rank has one.
    """
    if peak is None:
        return None
    return tokens_per_second * weights * (FLOP_LORA if lora else FLOP_FULL) / (ranks * peak)


def matrix_weights(model: Any) -> int:
    """Weights that a token is multiplied with: all but the table of embeddings, which is read; it
    counts where it is the output head as well."""
    table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    every = sum(_size(parameter) for parameter in model.parameters())
    return every if table is head else every - _size(table)


def _size(parameter: Any) -> int:
    return int(getattr(parameter, "ds_numel", parameter.numel()))  # ZeRO-3 leaves a share of it


def gpu_peak_mb(accelerator: Accelerator) -> int | None:
    """The most memory that a rank's tensors have taken on its GPU so far, in MB, of the rank with
    the most; None without GPUs. Every rank calls it."""
    import torch

    if accelerator.device.type != "cuda":
        return None
    own = torch.tensor([torch.cuda.max_memory_allocated(accelerator.device)], device="cuda")
    gathered: Any = accelerator.gather(own)
    return round(gathered.max().item() / 1e6)


@dataclass(frozen=True)
class GpuFigures:
    """What a training says of its GPUs.

    Attributes:
        weights: `matrix_weights` of the model; `lora`: an adapter is trained.
    """

    accelerator: Accelerator
    weights: int
    lora: bool

    def at(self, tokens_per_second: float) -> dict[str, Any]:
        """`gpu_peak_mb`, and `mfu` where the card is known; empty without a GPU. Every rank calls
        it."""
        figures = {
            "gpu_peak_mb": gpu_peak_mb(self.accelerator),
            "mfu": model_flops_utilization(
                tokens_per_second,
                weights=self.weights,
                lora=self.lora,
                ranks=self.accelerator.num_processes,
                peak=card_peak(self.accelerator),
            ),
        }
        return {name: value for name, value in figures.items() if value is not None}


def card_peak(accelerator: Accelerator) -> float | None:
    """`peak_flops` of this rank's card; None without one, and for a training in float32."""
    import torch

    if accelerator.device.type != "cuda" or accelerator.mixed_precision != "bf16":
        return None
    return peak_flops(torch.cuda.get_device_name(accelerator.device))
