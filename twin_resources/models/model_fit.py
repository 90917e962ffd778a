"""Choose a model's recipe and estimate its memory and training time from its size.

Scope: the rules and their figures.
Out of scope: inspecting the machine (`preflight.py`). This module uses only the standard library
and Python 3.9 syntax, because `preflight.py` imports it.

The estimate is a rule, not a measurement. It scales figures for a model of 0.135 billion parameters
on two cores with bf16 instructions. Training on 100,000 tokens took 600 CPU seconds. The cost is
proportional to the number of parameters, and 2.6 times as high without bf16 instructions. The rule
for GPUs assumes a slow GPU and was not measured. Without bf16, `twin up` uses a recipe of 70,000
tokens for a new author.

The number of parameters and the device determine the recipe (`choose_recipe`). Larger models have a
lower learning rate, and a GPU trains on more tokens. The recipes for 1B and 8B have not been run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twin_resources.storage.weights.chat_model import count_gguf_parameters

REFERENCE_BILLIONS = 0.135  # parameters of the measured model
SLOWDOWN_WITHOUT_BF16 = 2.6
RANKS = 2
TRAINING_TOKENS, TOKENS_WITHOUT_BF16, GPU_TRAINING_TOKENS = 100_000, 70_000, 2_000_000
SMALL_MODEL_RECIPE, RECIPE_WITHOUT_BF16 = "smollm2-135m-cpu", "smollm2-135m-cpu-fp32"
RECIPES = {  # maximum number of training tokens, and whether the recipe needs a GPU
    SMALL_MODEL_RECIPE: (TRAINING_TOKENS, False),
    RECIPE_WITHOUT_BF16: (TOKENS_WITHOUT_BF16, False),
    "smollm2-135m-demo": (40_000, False),
    "smollm2-135m-gpu": (TRAINING_TOKENS, True),
    "1b-cpu": (TRAINING_TOKENS, False),
    "1b-gpu": (GPU_TRAINING_TOKENS, True),
    "1b-gpus": (GPU_TRAINING_TOKENS, True),
    "8b-gpu": (GPU_TRAINING_TOKENS, True),
    "8b-gpus": (GPU_TRAINING_TOKENS, True),
    "8b-gpus-zero3": (GPU_TRAINING_TOKENS, True),
}
SMALL_MAX_BILLIONS, MEDIUM_MAX_BILLIONS = 0.5, 4.0  # limits of the recipes for 135M and for 1B
# Seconds for an answer of 100 tokens to a prompt of 700 by a model of a billion parameters on two
# cores: measured 2.4 for 135M in f16, and 27 for a file of 1.78 billion in four bits.
ANSWER_S_PER_BILLION = 16.0
MAX_RANKS = 8  # maximum number of ranks that share the samples of a step
GB = 1e9
CARD_CHARACTERS = 4000  # the metadata is at the top of a model card


def billions_of_parameters(model: str) -> float | None:
    """Return the billions of parameters from a model's folder, file or name; None if unknown."""
    folder = Path(model).expanduser()
    if folder.is_file():
        count = count_gguf_parameters(folder)
        return count / GB if count else None
    if folder.is_dir():
        # weights are published in bf16 or f16, with two bytes per parameter
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        return size / 2 / GB or None
    match = re.search(r"(\d+(?:\.\d+)?)([bBmM])(?![a-zA-Z])", model)
    if not match:
        return None
    return float(match.group(1)) * (1.0 if match.group(2) in "bB" else 0.001)


def describe_license(model: str) -> str:
    """Return the license in a folder's model card, or where to read it; empty for other files.

    Card: https://huggingface.co/docs/hub/model-cards#model-card-metadata
    """
    folder = Path(model).expanduser()
    if folder.is_file():
        return ""
    if not folder.is_dir():
        return f"read its license at https://huggingface.co/{model}"
    try:
        head = (folder / "README.md").read_text(encoding="utf-8", errors="replace")[
            :CARD_CHARACTERS
        ]
    except OSError:
        return ""
    head = head.partition("---")[2].partition("\n---")[0]
    fields = dict(re.findall(r"^(license|license_name|license_link):[ ]*(\S.*?)[ ]*$", head, re.M))
    license = fields.get("license_name") or fields.get("license", "")
    link = fields.get("license_link", "")
    return f"license: {license}" + (f" ({link})" if link else "") if license else ""


@dataclass(frozen=True)
class RecipeChoice:
    """An automatically chosen recipe.

    Attributes:
        recipe: name of the recipe, one of `RECIPES`.
        ranks: number of GPUs that train together; 0 for the CPU (`TWIN_TRAIN_RANKS`).
        reason: the number of parameters and the device, in words.
    """

    recipe: str
    ranks: int
    reason: str


def choose_recipe(
    billions: float | None, *, bf16: bool, gpus: Sequence[tuple[str, float]]
) -> RecipeChoice:
    """Choose the recipe for a base model on a device.

    The recipe uses one GPU if the model fits on it. It uses two, four or eight if the model fits on
    each of them (data parallel). If the model fits only on several GPUs together, its weights are
    sharded (ZeRO-3).

    Args:
        billions: billions of parameters of the base model; None means unknown, and the size of the
            bundled model is assumed.
        bf16: whether the CPU has bf16 instructions.
        gpus: (name, GB) of each GPU that a training run may use.
    """
    size = REFERENCE_BILLIONS if billions is None else billions
    model_description = (
        "base model of unknown size" if billions is None else f"base model of {format_size(size)}"
    )
    sufficient_gpus = [memory for _, memory in gpus if memory >= required_gpu_memory_gb(size)]
    if size < SMALL_MAX_BILLIONS:
        if sufficient_gpus:
            return RecipeChoice("smollm2-135m-gpu", 1, f"{model_description}, a GPU")
        if bf16:
            return RecipeChoice(
                SMALL_MODEL_RECIPE, 0, f"{model_description}, a processor with bf16"
            )
        return RecipeChoice(
            RECIPE_WITHOUT_BF16, 0, f"{model_description}, this processor is not faster in bf16"
        )
    size_class = "1b" if size < MEDIUM_MAX_BILLIONS else "8b"
    if len(sufficient_gpus) > 1:
        ranks = _choose_rank_count(len(sufficient_gpus))
        return RecipeChoice(
            f"{size_class}-gpus", ranks, f"{model_description}, {ranks} GPUs, each large enough"
        )
    if sufficient_gpus:
        return RecipeChoice(f"{size_class}-gpu", 1, f"{model_description}, a GPU large enough")
    ranks = _choose_rank_count(len(gpus))
    if ranks > 1 and min(memory for _, memory in gpus) >= required_gpu_memory_gb(size / ranks):
        return RecipeChoice(
            "8b-gpus-zero3", ranks, f"{model_description}, {ranks} GPUs, large enough together"
        )
    device = "a GPU that is too small for it" if gpus else "no GPU"
    return RecipeChoice("1b-cpu", 0, f"{model_description}, {device}")


def required_gpu_memory_gb(billions: float) -> float:
    """Return the GPU memory in GB for training an adapter: bf16 weights, activations, optimizer."""
    return 2.5 * billions + 4


def _choose_rank_count(gpu_count: int) -> int:
    """Return the largest of 1, 2, 4 and 8 that is at most the number of GPUs."""
    return max((ranks for ranks in (1, 2, 4, MAX_RANKS) if ranks <= gpu_count), default=0)


def required_rank_memory_gb(billions: float, *, bf16: bool) -> float:
    """Return the memory in GB of one rank that trains an adapter on the CPU.

    The weights take two or four bytes each, and the activations of a sample of 1,088 tokens grow
    with layers × width. Two ranks of 0.63 billion in fp32 took 8.1 and 8.9 GB, of which 2 GB were
    logits that `1b-cpu` no longer keeps; a run of the default in bf16 took 6.7 GB with the stack.
    """
    bytes_per_value = 2 if bf16 else 4
    return 1.2 + bytes_per_value * (billions + 1.1 * billions ** (2 / 3))


def choose_cpu_ranks(
    billions: float, *, bf16: bool, memory_gb: float, most_ranks: int = RANKS
) -> int:
    """Return how many ranks train on the CPU: together, they take at most half of the memory.

    The other half is for the stack, two model servers and the person at the machine. One rank uses
    all cores, so a run with one rank takes about as long.

    Args:
        memory_gb: the machine's memory; 0 if unknown, and then all ranks are used.
    """
    fitting = int(memory_gb / 2 / required_rank_memory_gb(billions, bf16=bf16))
    return most_ranks if not memory_gb else max(1, min(most_ranks, fitting))


def required_training_memory_gb(billions: float, *, bf16: bool, memory_gb: float) -> float:
    """Return the memory in GB for training on the CPU: the ranks, two f16 servers, 4 GB.

    Args:
        memory_gb: the machine's memory, which decides the number of ranks.
    """
    ranks = choose_cpu_ranks(billions, bf16=bf16, memory_gb=memory_gb)
    return 4 + ranks * required_rank_memory_gb(billions, bf16=bf16) + 2 * 2 * billions


def weights_gb(model: str) -> float | None:
    """Return the size of a model's f16 weights or its GGUF file in GB; None if unknown."""
    path = Path(model).expanduser()
    if path.is_file():
        return path.stat().st_size / GB
    billions = billions_of_parameters(model)
    return None if billions is None else 2 * billions


def required_serving_memory_gb(weights: float, *, training_gb: float = 4.0) -> float:
    """Return the memory in GB for the stack, a model server, and an optional training run.

    The server needs its weights and a cache for 2 × 4,096 tokens: an eighth of the weights, at
    least 0.3 GB. Without a training run, 4 GB are added.

    Args:
        weights: size of the served weights in GB.
        training_gb: `required_training_memory_gb` of a model trained at the same time.
    """
    return training_gb + weights + max(0.3, weights / 8)


def estimate_training(
    billions: float, machine: dict[str, Any], *, recipe: str = ""
) -> dict[str, Any]:
    """Estimate the memory that a model's training needs on a machine, and choose the recipe.

    Args:
        billions: billions of parameters.
        machine: `cores`, `memory_gb`, `bf16`, `gpus` as (name, GB).
        recipe: name of a recipe; empty to choose one. If the name is not in `RECIPES`, the device
            of the chosen recipe is used.

    Returns:
        `fits`, `on` (CPU or GPU), `needs` (text), `recipe`, and `because`.
    """
    choice = choose_recipe(billions, bf16=machine["bf16"], gpus=machine["gpus"])
    _, on_gpu = RECIPES.get(recipe) or RECIPES[choice.recipe]
    if on_gpu and choice.ranks:
        fits, device = True, "GPU"
        needs = f"{required_gpu_memory_gb(billions):.0f} GB of GPU memory"
    else:
        bf16, memory_gb = machine["bf16"], machine["memory_gb"]
        required_gb = required_training_memory_gb(billions, bf16=bf16, memory_gb=memory_gb)
        ranks = choose_cpu_ranks(billions, bf16=bf16, memory_gb=memory_gb)
        fits, device = memory_gb >= required_gb, "CPU"
        needs = f"{required_gb:.0f} GB of memory with {ranks} training process"
        needs += "" if ranks == 1 else "es"
    return {
        "fits": fits,
        "on": device,
        "needs": needs,
        "recipe": recipe or choice.recipe,
        "because": "named" if recipe else choice.reason,
    }


def format_size(billions: float) -> str:
    """Format billions of parameters, such as 1.7 as `1.7B` and 0.135 as `135M`."""
    return f"{billions:.3g}B" if billions >= 1 else f"{billions * 1000:.0f}M"
