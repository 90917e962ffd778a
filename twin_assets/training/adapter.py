"""Create or load the LoRA adapter before the first training step, and write it after the last.

Scope: PEFT. Out of scope: the base model (`model.py`), the loop (`train.py`), a checkpoint of an
unfinished run (`training_state.py`).
Formats: PEFT's adapter_config.json and safetensors, https://huggingface.co/docs/peft.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError

if TYPE_CHECKING:
    import torch

    from twin_assets.checkpoints.recipe import LoraShape

WEIGHTS_FILE = "adapter_model.safetensors"
LLAMA_LAYERS = frozenset(
    {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
)


def add_adapter(base: Any, lora: LoraShape, *, initial_adapter: Path | None) -> Any:
    """Add an adapter to the base model, with new weights or those of `initial_adapter`.

    Raises:
        TwinError: the model lacks a target module, or `initial_adapter` has a different shape.
    """
    from peft import LoraConfig, get_peft_model

    linear_layers = list_linear_layers(base)
    targets = select_target_modules(lora, linear_layers, architecture=base.config.model_type)
    module_names = {name.rpartition(".")[2] for name, _ in base.named_modules()}
    # PEFT ignores missing modules as long as it finds one of them
    if missing_modules := sorted(targets - module_names):
        raise TwinError(
            f"add an adapter to {type(base).__name__}",
            found=f"it has no module {', '.join(missing_modules)}, which lora.target_modules lists",
            next_step="correct lora.target_modules in the recipe, or set it to all-linear "
            f"(the model's linear layers: {', '.join(sorted(linear_layers))})",
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
    if initial_adapter is not None:
        _load_adapter_weights(model, initial_adapter)
    return model


def list_linear_layers(model: Any) -> set[str]:
    """Return the names of the linear layers that have or may get an adapter (not the head)."""
    import torch
    from peft.tuners.lora import LoraLayer

    names: set[str] = set()
    adapter_prefixes: tuple[str, ...] = ()
    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            adapter_prefixes = (*adapter_prefixes, f"{name}.")
        elif (
            not isinstance(module, torch.nn.Linear)
            or module is head
            or name.startswith(adapter_prefixes)
        ):
            continue
        names.add(name.rpartition(".")[2])
    return names


def select_target_modules(
    lora: LoraShape, linear_layers: set[str], *, architecture: str
) -> set[str]:
    """Return the names of the layers that get an adapter.

    Args:
        linear_layers: the model's linear layers (`list_linear_layers`).
        architecture: transformers' `model_type`.
    """
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as TABLE

    requested_modules = lora.target_modules
    if requested_modules == "peft":
        peft_modules = TABLE.get(architecture)
        return set(peft_modules) if isinstance(peft_modules, list) else linear_layers
    if requested_modules == "all-linear" or (
        set(requested_modules) == LLAMA_LAYERS and not linear_layers >= LLAMA_LAYERS
    ):
        return linear_layers
    return set(requested_modules)


def _load_adapter_weights(model: Any, adapter: Path) -> None:
    """Load the weights of an earlier stage's adapter into the new adapter."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    weights = load_file(adapter / WEIGHTS_FILE)
    expected_weights = get_peft_model_state_dict(model)
    shapes = [
        {name: tuple(tensor.shape) for name, tensor in state.items()}
        for state in (expected_weights, weights)
    ]
    if shapes[0] != shapes[1]:
        raise TwinError(
            f"start from the adapter in {adapter}",
            found="its layers or rank differ from the recipe's lora section",
            next_step="materialize fine_tuned_checkpoint with this recipe first",
        )
    set_peft_model_state_dict(model, weights)


def write_adapter(
    folder: Path, model: Any, weights: dict[str, torch.Tensor], *, base_name: str
) -> None:
    """Write a PEFT folder.

    Args:
        weights: float32 master weights by parameter name; the model's own may be rounded to bf16.
        base_name: the base model's name in the adapter's configuration, not a path on this machine.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    state = get_peft_model_state_dict(model, state_dict=weights)
    save_file(state, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    config = model.peft_config["default"]
    config.base_model_name_or_path = base_name
    config.inference_mode = True
    config.save_pretrained(folder)
