"""The model of a training: base weights, what is trained of them, attention and kernels.

Scope: loading, the switches that cost no exactness (attention, gradient
checkpointing), and a fully trained model as files. Out of scope: PEFT (`adapter.py`), the
loop (`train.py`), a checkpoint of an unfinished training (`training_state.py`), the base's weights
in shares under ZeRO-3 (`sharded_loading.py`); where a model cannot be read so, every rank reads
all of it and DeepSpeed shares it out afterwards.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_assets.training.adapter import with_adapter
from twin_assets.training.chunked_cross_entropy import chunk_head
from twin_assets.training.sharded_loading import read_in_shares
from twin_resources.errors import TwinError

if TYPE_CHECKING:
    import torch

    from twin_assets.checkpoints.job import Job
    from twin_assets.checkpoints.recipe import Recipe

WEIGHTS = "model.safetensors"
FLASH = ("flash_attn", "flash_attention_2")


def model_for(
    job: Job,
    *,
    bf16: bool,
    masters_elsewhere: bool,
    zero3: Mapping[str, Any] | None,
    report: Callable[[str], None],
) -> tuple[Any, list[tuple[str, torch.nn.Parameter]]]:
    """The model in training mode, and by name the parameters that are trained.

    Args:
        bf16: compute in it. The base of an adapter is then stored in it too.
        masters_elsewhere: DeepSpeed keeps float32 masters of what is trained; without it the
            trained weights are their own masters and stay float32.
        zero3: of `reading_in_shares.zero3_of`; None: the whole model is read.

    Raises:
        TwinError: a switch of the recipe that cannot be had here or with this model, a target
            module that the model lacks, or a `job.start` that does not fit the recipe.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    recipe, on_gpu = job.recipe, job.launched_by.device == "cuda"
    unset_hf_deepspeed_config()  # else from_pretrained makes empty shares (ZeRO-3)
    config = AutoConfig.from_pretrained(job.base_folder)
    attention = attention_of(recipe, on_gpu=on_gpu, sdpa=computes_sdpa(config))
    narrow = bf16 and (recipe.lora is not None or masters_elsewhere)
    dtype = torch.bfloat16 if narrow else torch.float32
    base = None
    if zero3 is not None:
        base = read_in_shares(
            job.base_folder,
            config=config,
            dtype=dtype,
            attention=attention,
            zero=zero3,
            hashes=job.weight_hashes,
            report=report,
        )
    if base is None:
        base = AutoModelForCausalLM.from_pretrained(
            job.base_folder, dtype=dtype, use_safetensors=True, attn_implementation=attention
        )
    if recipe.gradient_checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    model = base if recipe.lora is None else with_adapter(base, recipe.lora, start=job.start)
    if recipe.loss_chunk:
        chunk_head(model, rows=recipe.loss_chunk)
    model.train()
    return model, [(name, p) for name, p in model.named_parameters() if p.requires_grad]


def computes_sdpa(config: Any) -> bool:
    """Whether transformers computes this architecture by torch's scaled_dot_product_attention.

    Gemma 2 caps its attention's logits and gpt-oss has sinks, which it has no place for.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    return bool(model_class._supports_sdpa)


def attention_of(recipe: Recipe, *, on_gpu: bool, sdpa: bool = True) -> str:
    """The attention implementation that the recipe asks for, by transformers' name.

    Args:
        sdpa: of `computes_sdpa`; without it `auto` is eager where there is no flash attention.

    Raises:
        TwinError: flash attention is asked for and there is none.
    """
    package, name = FLASH
    there = on_gpu and find_spec(package) is not None
    if recipe.attention == "auto":
        return name if there else "sdpa" if sdpa else "eager"
    if recipe.attention == name and not there:
        raise TwinError(
            f"load the model with attention {name} (recipe {recipe.name})",
            found=f"no package {package}" if on_gpu else "a launch configuration for the CPU",
            next_step=f"install {package} on a machine with a GPU, or set attention to auto",
        )
    return recipe.attention


def write_model(folder: Path, base: Path, weights: dict[str, torch.Tensor]) -> None:
    """Write a fully trained model as a transformers folder.

    Args:
        base: transformers folder; config, tokenizer and chat template are copied from it.
        weights: float32 masters by parameter name, tied ones once; written in the base's dtype.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    kinds: dict[str, torch.dtype] = {}
    for path in sorted(base.iterdir()):
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as stored:
                kinds |= {name: stored.get_tensor(name).dtype for name in stored.keys()}  # noqa: SIM118
        elif path.is_file() and not path.name.endswith(".safetensors.index.json"):
            shutil.copy(path, folder)
    if lacking := weights.keys() - kinds.keys():
        raise TwinError(
            "write the trained model",
            found=f"{len(lacking)} weights that its base lacks: {min(lacking)} …",
            next_step="report this with the base model's name",
        )
    state = {name: value.to(kinds[name]).contiguous() for name, value in weights.items()}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
