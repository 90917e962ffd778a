"""Read the effective hyper-parameters, and compare them with the recipe before step 1.

Scope: reading them from the model, the optimizer, the ranks and DeepSpeed's engine, and the
comparison. Out of scope: the recipe's schema (`recipe.py`), applying it (`train.py`).

A recipe that is not fully applied would silently train a different model for hours. Each value is
therefore read where it takes effect, not copied from the recipe, and stored in the manifest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twin_assets.checkpoints.batches import BatchPlan
from twin_assets.training.adapter import list_linear_layers, select_target_modules
from twin_assets.training.chunked_cross_entropy import find_chunked_head
from twin_assets.training.model import choose_attention, supports_sdpa
from twin_assets.training.training_state import unwrap_optimizer
from twin_resources.errors import TwinError
from twin_resources.models.training_launcher import can_compute_in_bf16

if TYPE_CHECKING:
    from accelerate import Accelerator

    from twin_assets.checkpoints.job import Job
    from twin_assets.checkpoints.recipe import LoraShape

Values = dict[str, Any]


def effective_settings(
    accelerator: Accelerator,
    model: Any,
    optimizer: Any,
    plan: BatchPlan,
    job: Job,
    micro_batches: Sequence[Sequence[int]],
) -> Values:
    """Return the effective settings; call it between `prepare` and the first step.

    Args:
        model, optimizer: the results of `accelerator.prepare`.
        job: the job, for the gradient clipping that the loop applies if DeepSpeed does not.
        micro_batches: this rank's micro-batches of the first step.

    Returns:
        JSON values by name; `lora_modules` counts the adapters by the layer's name, and
        `trained_weights` is the number of individual weights.
    """
    import torch

    ranks = accelerator.num_processes
    unwrapped_model: Any = accelerator.unwrap_model(model)
    wrapper: Any = getattr(accelerator, "deepspeed_engine_wrapped", None)
    engine: Any = None if wrapper is None else wrapper.engine
    values = {
        "ranks": ranks,
        "threads_per_rank": torch.get_num_threads(),
        "micro_batch_size": max(len(batch) for batch in micro_batches),
        "accumulation": len(micro_batches),
        "accelerate_accumulation": accelerator.gradient_accumulation_steps,
        "samples_per_step": len(plan.steps[0]),
        "precision": _read_precision(accelerator, engine),
        "device": accelerator.device.type,
        "attention": unwrapped_model.config._attn_implementation,
        "gradient_checkpointing": _uses_gradient_checkpointing(unwrapped_model),
        "loss_chunk": head.rows if (head := find_chunked_head(unwrapped_model)) is not None else 0,
        "max_grad_norm": engine.gradient_clipping()
        if engine is not None
        else job.recipe.max_grad_norm,
        "seed": torch.initial_seed(),
        "trained_weights": sum(
            int(getattr(parameter, "ds_numel", parameter.numel()))
            for parameter in unwrapped_model.parameters()
            if parameter.requires_grad
        ),
    }
    return (
        values
        | _read_optimizer_settings(optimizer)
        | _read_zero_settings(accelerator, engine)
        | _read_lora_settings(unwrapped_model)
    )


def expected_settings(job: Job, model: Any = None) -> Values:
    """Return the `effective_settings` that the recipe and the launch configuration require.

    Args:
        model: the model with its linear layers; without a model, the recipe must name them.
    """
    recipe, launch = job.recipe, job.effective_launch
    on_gpu = launch.device == "cuda"
    precision = launch.mixed_precision
    if precision == "auto":
        precision = "bf16" if can_compute_in_bf16(launch.device) else "fp32"
    zero: Mapping[str, Any] = launch.deepspeed.get("zero_optimization", {})
    values: Values = {
        "ranks": job.ranks,
        "micro_batch_size": recipe.micro_batch_size,
        "accumulation": recipe.accumulation_steps(job.ranks),
        "accelerate_accumulation": recipe.accumulation_steps(job.ranks),
        "samples_per_step": recipe.samples_per_step,
        "precision": precision,
        "device": launch.device,
        "attention": choose_attention(
            recipe, on_gpu=on_gpu, sdpa=model is None or supports_sdpa(model.config)
        ),
        "gradient_checkpointing": recipe.gradient_checkpointing,
        "loss_chunk": recipe.loss_chunk,
        "max_grad_norm": recipe.max_grad_norm,
        "seed": recipe.seed,
        "optimizer": "AdamW",
        "fused": uses_fused_adamw(job),
        "learning_rate": recipe.learning_rate,
        "weight_decay": recipe.weight_decay,
        "zero_stage": zero.get("stage", 0),
        "offload_optimizer": zero.get("offload_optimizer", {}).get("device", "none"),
        "offload_parameters": zero.get("offload_param", {}).get("device", "none"),
    }
    if launch.deepspeed:
        values["deepspeed_samples_per_step"] = recipe.samples_per_step
    if recipe.lora is None:
        return values | {"lora_modules": []}
    lora = recipe.lora
    return values | {
        "lora_modules": sorted(
            lora.target_modules if model is None else _select_target_modules(lora, model)
        ),
        "lora_rank": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
    }


def uses_fused_adamw(job: Job) -> bool:
    """Return whether AdamW uses its fused kernel, which needs the optimizer state on the GPU."""
    zero: Mapping[str, Any] = job.effective_launch.deepspeed.get("zero_optimization", {})
    return job.effective_launch.device == "cuda" and "offload_optimizer" not in zero


def _select_target_modules(lora: LoraShape, model: Any) -> set[str]:
    return select_target_modules(
        lora, list_linear_layers(model), architecture=model.config.model_type
    )


def require_expected_settings(
    effective: Mapping[str, Any], expected_values: Mapping[str, Any], *, recipe: str
) -> None:
    """Compare the effective settings with those of the recipe and the launch configuration.

    Args:
        effective: the result of `effective_settings`.
        expected_values: the result of `expected_settings`; its `lora_modules` lists the layers, and
            `effective` counts them.

    Raises:
        TwinError: the settings differ; the error names each difference, and no step is taken.
    """
    actual = dict(effective) | {"lora_modules": sorted(effective["lora_modules"])}
    mismatches = [
        f"{name} is {actual.get(name)!r} and should be {value!r}"
        for name, value in expected_values.items()
        if not _is_equal(actual.get(name), value)
    ]
    if mismatches:
        raise TwinError(
            f"train with recipe {recipe}",
            found="; ".join(mismatches),
            next_step="correct the recipe or its launch configuration; nothing was trained",
        )


def _is_equal(actual: Any, expected: Any) -> bool:
    if isinstance(expected, float) and isinstance(actual, int | float):
        return abs(actual - expected) <= 1e-12 * max(1.0, abs(expected))
    return actual == expected


def _read_precision(accelerator: Accelerator, engine: Any) -> str:
    """Return the precision of the computation: the engine's, or autocast's."""
    if engine is not None:
        return "bf16" if engine.bfloat16_enabled() else "fp16" if engine.fp16_enabled() else "fp32"
    return {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)


def _read_optimizer_settings(optimizer: Any) -> Values:
    inner_optimizer = unwrap_optimizer(optimizer)
    groups = inner_optimizer.param_groups
    names = {"lr": "learning_rate", "weight_decay": "weight_decay", "betas": "betas", "eps": "eps"}
    values_by_name = {name: {group[key] for group in groups} for key, name in names.items()}
    common_values = {name: _common_value(value) for name, value in values_by_name.items()}
    fused_flags = {bool(group.get("fused")) for group in groups}
    return {
        "optimizer": type(inner_optimizer).__name__,
        "fused": _common_value(fused_flags),
    } | common_values


def _read_zero_settings(accelerator: Accelerator, engine: Any) -> Values:
    disabled_settings = {"zero_stage": 0, "offload_optimizer": "none", "offload_parameters": "none"}
    if engine is None:
        return disabled_settings
    samples_per_rank = (
        engine.train_micro_batch_size_per_gpu() * engine.gradient_accumulation_steps()
    )
    offload_configs = (engine.zero_offload_optimizer(), engine.zero_offload_param())
    names = [_device_name(config.device) if config else "none" for config in offload_configs]
    return {
        "zero_stage": engine.zero_optimization_stage(),
        "offload_optimizer": names[0],
        "offload_parameters": names[1],
        "deepspeed_samples_per_step": samples_per_rank * accelerator.num_processes,
    }


def _device_name(device: Any) -> str:
    """Return the name of a device, which DeepSpeed stores as a JSON value or an enum member."""
    return str(getattr(device, "value", device))


def _read_lora_settings(unwrapped_model: Any) -> Values:
    from peft.tuners.lora import LoraLayer

    layers = {
        name: module
        for name, module in unwrapped_model.named_modules()
        if isinstance(module, LoraLayer)
    }
    if not layers:
        return {"lora_modules": {}}
    values_by_name = {
        "lora_rank": {layer.r["default"] for layer in layers.values()},
        "lora_alpha": {layer.lora_alpha["default"] for layer in layers.values()},
        "lora_dropout": {
            float(getattr(layer.lora_dropout["default"], "p", 0.0)) for layer in layers.values()
        },
    }
    modules = Counter(name.rpartition(".")[2] for name in layers)
    return {"lora_modules": dict(sorted(modules.items()))} | {
        name: _common_value(value) for name, value in values_by_name.items()
    }


def _common_value(values: set[Any]) -> Any:
    """Return the common value, or all values if they differ."""
    return values.copy().pop() if len(values) == 1 else sorted(values)


def _uses_gradient_checkpointing(model: Any) -> bool:
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
