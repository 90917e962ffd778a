"""The LoRA adapter of a training: made or loaded before the first step, written after the last.

Belongs here: PEFT. Does not belong here: the loop (`train.py`), a checkpoint of an unfinished
training (`training_state.py`).
Formats: PEFT's adapter_config.json and safetensors, https://huggingface.co/docs/peft.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError

if TYPE_CHECKING:
    import torch

    from twin_assets.training.job import Job

WEIGHTS = "adapter_model.safetensors"


def model_with_adapter(job: Job, *, bf16: bool) -> tuple[Any, list[tuple[str, torch.nn.Parameter]]]:
    """The base model with an adapter in training mode, and the adapter's parameters by name.

    Raises:
        TwinError: `job.start` does not fit the recipe.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(
        job.base_folder, dtype=torch.bfloat16 if bf16 else torch.float32, use_safetensors=True
    )
    lora = job.recipe.lora
    model = get_peft_model(
        base,
        LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=list(lora.target_modules),
            task_type="CAUSAL_LM",
        ),
    )
    if job.start is not None:
        _load(model, job.start)
    model.train()
    return model, [(name, p) for name, p in model.named_parameters() if p.requires_grad]


def _load(model: Any, adapter: Path) -> None:
    """Put the weights of another stage's adapter into the fresh one."""
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
        base_name: what the adapter calls its base; its folder is this machine's business.
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
