"""Load the model of a training run: base weights, trained parameters, attention and kernels.

Scope: loading, the options that keep results exact (attention, gradient checkpointing), and
writing a fully trained model to files. Out of scope: PEFT (`adapter.py`), the loop (`train.py`),
a checkpoint of an unfinished run (`training_state.py`). Under ZeRO-3, every rank reads the whole
base model, and DeepSpeed shards it afterwards.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_assets.training.adapter import add_adapter
from twin_assets.training.chunked_cross_entropy import chunk_head
from twin_resources.errors import TwinError

if TYPE_CHECKING:
    import torch

    from twin_assets.checkpoints.job import Job
    from twin_assets.checkpoints.recipe import Recipe

WEIGHTS_FILE = "model.safetensors"
FLASH_ATTENTION = ("flash_attn", "flash_attention_2")


def load_training_model(
    job: Job,
    *,
    bf16: bool,
    has_external_masters: bool,
) -> tuple[Any, list[tuple[str, torch.nn.Parameter]]]:
    """Return the model in training mode, and the parameters to train with their names.

    Args:
        bf16: whether to compute in bf16; the base of an adapter is then stored in bf16 too.
        has_external_masters: whether DeepSpeed keeps float32 masters of the trained weights;
            otherwise these weights are their own masters and stay float32.

    Raises:
        TwinError: an option of the recipe is unavailable on this machine or for this model, the
            model lacks a target module, or `job.initial_adapter` does not match the recipe.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    recipe, on_gpu = job.recipe, job.effective_launch.device == "cuda"
    unset_hf_deepspeed_config()  # otherwise from_pretrained makes empty shards (ZeRO-3)
    config = AutoConfig.from_pretrained(job.base_folder)
    attention = choose_attention(recipe, on_gpu=on_gpu, sdpa=supports_sdpa(config))
    is_stored_in_bf16 = bf16 and (recipe.lora is not None or has_external_masters)
    dtype = torch.bfloat16 if is_stored_in_bf16 else torch.float32
    base: Any = AutoModelForCausalLM.from_pretrained(
        job.base_folder, dtype=dtype, use_safetensors=True, attn_implementation=attention
    )
    if recipe.gradient_checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    model = (
        base
        if recipe.lora is None
        else add_adapter(base, recipe.lora, initial_adapter=job.initial_adapter)
    )
    if recipe.loss_chunk:
        chunk_head(model, rows=recipe.loss_chunk)
    model.train()
    return model, [
        (name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad
    ]


def supports_sdpa(config: Any) -> bool:
    """Return whether transformers supports torch's scaled_dot_product_attention for this model.

    That function supports neither the capped logits of Gemma 2 nor the attention sinks of gpt-oss.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    return bool(model_class._supports_sdpa)


def choose_attention(recipe: Recipe, *, on_gpu: bool, sdpa: bool = True) -> str:
    """Return transformers' name of the attention implementation that the recipe requests.

    Args:
        sdpa: the result of `supports_sdpa`; if false, `auto` means flash attention, else eager.

    Raises:
        TwinError: flash attention is requested but unavailable.
    """
    package, name = FLASH_ATTENTION
    is_available = on_gpu and find_spec(package) is not None
    if recipe.attention == "auto":
        return name if is_available else "sdpa" if sdpa else "eager"
    if recipe.attention == name and not is_available:
        raise TwinError(
            f"load the model with attention {name} (recipe {recipe.name})",
            found=f"{package} is not installed" if on_gpu else "a launch configuration for the CPU",
            next_step=f"install {package} on a machine with a GPU, or set attention to auto",
        )
    return recipe.attention


def write_model(folder: Path, base: Path, weights: dict[str, torch.Tensor]) -> None:
    """Write a fully trained model as a transformers folder.

    Args:
        base: transformers folder; config, tokenizer and chat template are copied from it.
        weights: float32 master weights by parameter name, with tied weights only once; they are
            written in the base's dtype.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    dtypes: dict[str, torch.dtype] = {}
    for path in sorted(base.iterdir()):
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as weight_file:
                dtypes |= {name: weight_file.get_tensor(name).dtype for name in weight_file.keys()}  # noqa: SIM118
        elif path.is_file() and not path.name.endswith(".safetensors.index.json"):
            shutil.copy(path, folder)
    if unknown_names := weights.keys() - dtypes.keys():
        raise TwinError(
            "write the trained model",
            found=f"{len(unknown_names)} weights that the base model lacks: {min(unknown_names)} …",
            next_step="report this with the base model's name",
        )
    state = {name: value.to(dtypes[name]).contiguous() for name, value in weights.items()}
    save_file(state, folder / WEIGHTS_FILE, metadata={"format": "pt"})
