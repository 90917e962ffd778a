"""Create or load the LoRA adapter before the first training step, and write it after the last.

Scope: PEFT. Out of scope: the base model (`model.py`), the loop (`train.py`), a checkpoint of an
unfinished training (`training_state.py`).
Formats: PEFT's adapter_config.json and safetensors, https://huggingface.co/docs/peft.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError

if TYPE_CHECKING:
    import torch

    from twin_assets.checkpoints.recipe import LoraShape

WEIGHTS = "adapter_model.safetensors"
LLAMA_LAYERS = frozenset(
    {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
)


def with_adapter(base: Any, lora: LoraShape, *, start: Path | None) -> Any:
    """Return the base model with a fresh adapter, or with the one in the PEFT folder `start`.

    Raises:
        TwinError: the model lacks a target module, or `start` has another shape.
    """
    from peft import LoraConfig, get_peft_model

    linear = linear_names(base)
    targets = targets_of(lora, linear, architecture=base.config.model_type)
    present = {name.rpartition(".")[2] for name, _ in base.named_modules()}
    # PEFT ignores missing modules as long as it finds one of them
    if lacking := sorted(targets - present):
        raise TwinError(
            f"put an adapter on {type(base).__name__}",
            found=f"no module {', '.join(lacking)} in it, which lora.target_modules names",
            next_step="correct lora.target_modules in the recipe, or write all-linear there "
            f"(its linear layers: {', '.join(sorted(linear))})",
        )
    model: Any = get_peft_model(
        base,
        LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=sorted(targets),
            task_type="CAUSAL_LM",
        ),
    )
    if start is not None:
        _load(model, start)
    return model


def linear_names(model: Any) -> set[str]:
    """Return the names of the linear layers that can have or have an adapter: all but the head."""
    import torch
    from peft.tuners.lora import LoraLayer

    names: set[str] = set()
    inside: tuple[str, ...] = ()
    head = model.get_output_embeddings()
    for name, part in model.named_modules():
        if isinstance(part, LoraLayer):
            inside = (*inside, f"{name}.")
        elif not isinstance(part, torch.nn.Linear) or part is head or name.startswith(inside):
            continue
        names.add(name.rpartition(".")[2])
    return names


def targets_of(lora: LoraShape, linear: set[str], *, architecture: str) -> set[str]:
    """Return the names of the layers that get an adapter.

    Args:
        linear: the model's linear layers (`linear_names`).
        architecture: transformers' `model_type`.
    """
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as TABLE

    named = lora.target_modules
    if named == "peft":
        listed = TABLE.get(architecture)
        return set(listed) if isinstance(listed, list) else linear
    if named == "all-linear" or (set(named) == LLAMA_LAYERS and not linear >= LLAMA_LAYERS):
        return linear
    return set(named)


def _load(model: Any, adapter: Path) -> None:
    """Load the weights of another stage's adapter into the fresh one."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    weights = load_file(adapter / WEIGHTS)
    wanted = get_peft_model_state_dict(model)
    shapes = [{name: tuple(t.shape) for name, t in side.items()} for side in (wanted, weights)]
    if shapes[0] != shapes[1]:
        raise TwinError(
            f"start from the adapter in {adapter}",
            found="other layers or another rank than the recipe's section lora",
            next_step="materialize fine_tuned_checkpoint with this recipe first",
        )
    set_peft_model_state_dict(model, weights)


def write_adapter(
    folder: Path, model: Any, weights: dict[str, torch.Tensor], *, base_name: str
) -> None:
    """Write a PEFT folder.

    Args:
        weights: float32 masters by parameter name; the model's own may be rounded to bf16.
        base_name: the adapter's name for its base model, not a folder of this machine.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    state = get_peft_model_state_dict(model, state_dict=weights)
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    config = model.peft_config["default"]
    config.base_model_name_or_path = base_name
    config.inference_mode = True
    config.save_pretrained(folder)
