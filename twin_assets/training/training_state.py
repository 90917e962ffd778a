"""Save, find and restore the complete state of a training run between two steps.

Scope: master weights, optimizer moments, random number generators and position, as
safetensors and JSON. Out of scope: the published adapter (`train.py`).
Source: DeepSpeed's accessors of partitioned state,
https://deepspeed.readthedocs.io/en/latest/zero3.html#debugging. DeepSpeed's own checkpoints are
pickles, which this project neither writes nor reads. Tensors stored by parameter name also do not
depend on the number of ranks.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_assets.checkpoints.job import write_json
from twin_resources.errors import TwinError

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

NamedParameters = list[tuple[str, "torch.nn.Parameter"]]
PARTIAL_FOLDER = "partial"  # folder of an incomplete checkpoint
MOMENTS = ("exp_avg", "exp_avg_sq")  # AdamW's state for each weight, besides the step count


def gather_master_weights(
    named_parameters: Iterable[tuple[str, torch.nn.Parameter]], *, keep: bool = True
) -> dict[str, torch.Tensor]:
    """Return the optimizer's unsharded float32 weights on the CPU; every rank calls it.

    Args:
        keep: false on a rank that only takes part in gathering and needs no weights.
    """
    weights: dict[str, torch.Tensor] = {}
    for name, parameter in named_parameters:
        full_master = _gather_master_weight(parameter)
        if keep:
            # without DeepSpeed the parameter is its own master weight
            value = parameter if full_master is None else full_master
            weights[name] = value.detach().float().cpu().contiguous()
    return weights


def set_master_weights(named_parameters: NamedParameters, weights: dict[str, torch.Tensor]) -> None:
    """Set the float32 weights that the optimizer updates, after `accelerator.prepare`.

    DeepSpeed makes its own master weights from the bf16 weights. Without DeepSpeed, the parameter
    is its own master weight.
    """
    import torch

    for name, parameter in named_parameters:
        if _gather_master_weight(parameter) is None:
            with torch.no_grad():
                parameter.copy_(weights[name])
        else:
            _set_full_value(parameter, weights[name])


def save_state(
    accelerator: Accelerator,
    named_parameters: NamedParameters,
    optimizer: Any,
    folder: Path,
    position: dict[str, Any],
) -> None:
    """Write a complete checkpoint and delete the previous one; every rank calls it.

    Args:
        named_parameters: trainable parameters by name.
        optimizer: the optimizer that `accelerator.prepare` returned, after at least one step.
        folder: folder that contains one `step-<n>` folder.
        position: JSON values; `step` is the number of completed steps.
    """
    from safetensors.torch import save_file

    final_folder = folder / f"step-{position['step']:06d}"
    partial_folder = folder / PARTIAL_FOLDER
    if accelerator.is_main_process:
        shutil.rmtree(partial_folder, ignore_errors=True)
        partial_folder.mkdir(parents=True)
    is_main = accelerator.is_main_process
    weights = gather_master_weights(named_parameters, keep=is_main)
    moments = {
        key: _gather_moments(named_parameters, optimizer, key, keep=is_main) for key in MOMENTS
    }
    accelerator.wait_for_everyone()
    random_states = read_generator_states(accelerator.device)
    save_file(random_states, partial_folder / f"generator-{accelerator.process_index}.safetensors")
    if accelerator.is_main_process:
        save_file(weights, partial_folder / "weights.safetensors")
        for key, tensors in moments.items():
            save_file(tensors, partial_folder / f"{key}.safetensors")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        files = {
            path.name: _hash_file(path) for path in sorted(partial_folder.glob("*.safetensors"))
        }
        write_json(partial_folder / "state.json", position | {"files": files})
        shutil.rmtree(final_folder, ignore_errors=True)
        partial_folder.rename(final_folder)
        for old_folder in folder.glob("step-*"):
            if old_folder != final_folder:
                shutil.rmtree(old_folder)
    accelerator.wait_for_everyone()


def find_last_complete_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest checkpoint whose files match its manifest, and the manifest, or None."""
    for path in sorted(folder.glob("step-*"), reverse=True):
        manifest = path / "state.json"
        if not manifest.is_file():
            continue
        try:
            position: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
        except ValueError:  # a power failure left the file incomplete
            continue
        digests = {file.name: _hash_file(file) for file in path.glob("*.safetensors")}
        if digests == position["files"]:
            return path, position
    return None


def load_weights(named_parameters: NamedParameters, checkpoint: Path) -> None:
    """Load the weights of a checkpoint into the model, before `accelerator.prepare`."""
    import torch
    from safetensors.torch import load_file

    weights = load_file(checkpoint / "weights.safetensors")
    _require_same_names(named_parameters, weights, checkpoint)
    with torch.no_grad():
        for name, parameter in named_parameters:
            parameter.copy_(weights[name])


def load_optimizer(
    accelerator: Accelerator,
    named_parameters: NamedParameters,
    optimizer: Any,
    checkpoint: Path,
    *,
    step: int,
) -> None:
    """Restore master weights, moments and random state, after `accelerator.prepare`.

    The master weights are set again because DeepSpeed makes them from the bf16 weights.
    """
    import torch
    from safetensors.torch import load_file

    weights = load_file(checkpoint / "weights.safetensors")
    moments = {key: load_file(checkpoint / f"{key}.safetensors") for key in MOMENTS}
    inner_optimizer = unwrap_optimizer(optimizer)
    zero: Any = _find_zero_optimizer(optimizer)
    is_fused = bool(inner_optimizer.param_groups[0].get("fused"))
    for flat_tensor in _list_optimized_tensors(zero, inner_optimizer):
        # the fused kernel keeps the step count on the weights' device; otherwise it is on the CPU
        step_device = flat_tensor.device if is_fused else torch.device("cpu")
        inner_optimizer.state[flat_tensor] = {
            "step": torch.tensor(float(step), device=step_device),
            **{key: torch.zeros_like(flat_tensor) for key in MOMENTS},
        }
    if hasattr(zero, "_lazy_init_hp_params_optimizer_state"):  # stages 1 and 2
        # DeepSpeed does this after its first step, which a resumed run has already passed
        zero._lazy_init_hp_params_optimizer_state()
    for name, parameter in named_parameters:
        if zero is None:
            for key in MOMENTS:
                inner_optimizer.state[parameter][key].copy_(moments[key][name])
        else:
            _set_full_value(parameter, weights[name])
            for key in MOMENTS:
                _set_full_value(parameter, moments[key][name], key)
    states_path = checkpoint / f"generator-{accelerator.process_index}.safetensors"
    if states_path.is_file():  # missing if the run resumes with more ranks; affects only dropout
        set_generator_states(load_file(states_path), accelerator.device)


def read_generator_states(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the states of the random number generators (CPU, GPU) that dropout uses."""
    import torch

    states = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_generator_states(states: dict[str, torch.Tensor], device: torch.device) -> None:
    """Restore generator states; those from a CPU run do not include the GPU's."""
    import torch

    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def unwrap_optimizer(optimizer: Any) -> torch.optim.Optimizer:
    """Return the innermost optimizer, without accelerate's and DeepSpeed's wrappers."""
    zero = _find_zero_optimizer(optimizer)
    return optimizer.optimizer if zero is None else zero.optimizer


def _gather_moments(
    named_parameters: NamedParameters, optimizer: Any, key: str, *, keep: bool
) -> dict[str, torch.Tensor]:
    inner_optimizer = unwrap_optimizer(optimizer)
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in named_parameters:
        full_moment = _gather_moment(parameter, key)
        if keep:
            value = inner_optimizer.state[parameter][key] if full_moment is None else full_moment
            tensors[name] = value.detach().float().cpu().contiguous()
    return tensors


def _gather_master_weight(parameter: torch.nn.Parameter) -> torch.Tensor | None:
    """Return DeepSpeed's float32 master of a parameter, or None without a separate master."""
    if sys.modules.get("deepspeed") is None:  # importing it would cost a rank 1.7 CPU s
        return None
    from deepspeed.utils import safe_get_full_fp32_param

    return safe_get_full_fp32_param(parameter)


def _gather_moment(parameter: torch.nn.Parameter, key: str) -> torch.Tensor | None:
    """Return DeepSpeed's moment of a parameter, or None if the optimizer stores it."""
    if sys.modules.get("deepspeed") is None:
        return None
    from deepspeed.utils import safe_get_full_optimizer_state

    return safe_get_full_optimizer_state(parameter, key)


def _set_full_value(
    parameter: torch.nn.Parameter, value: torch.Tensor, key: str | None = None
) -> None:
    """Set a parameter's float32 master, or its moment `key`, under ZeRO from an unsharded value."""
    from deepspeed import utils

    shard: Any = getattr(parameter, "ds_tensor", None)
    if shard is None:  # stages 1 and 2
        if key is None:
            utils.safe_set_full_fp32_param(parameter, value)
        else:
            utils.safe_set_full_optimizer_state(parameter, value, key)
        return
    # stage 3: DeepSpeed's setter of unsharded values requires a multiple of the number of ranks
    own_shard = _extract_shard(shard, value)
    if key is None:
        utils.safe_set_local_fp32_param(parameter, own_shard)
    else:
        utils.safe_set_local_optimizer_state(parameter, own_shard, key)


def _extract_shard(shard: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return this rank's part of an unsharded value, flat and padded to its shard's length."""
    import torch

    size, rank = shard.numel(), torch.distributed.get_rank()
    own_shard = torch.zeros(size)
    part = value.flatten()[size * rank : size * (rank + 1)]
    own_shard[: part.numel()] = part
    return own_shard


def _list_optimized_tensors(zero: Any, inner: torch.optim.Optimizer) -> list[torch.Tensor]:
    """Return the tensors whose state the optimizer stores; under ZeRO, this rank's flat shards."""
    if hasattr(zero, "fp32_partitioned_groups_flat"):  # stage 3 sets param_groups only in a step
        return list(zero.fp32_partitioned_groups_flat)
    return [tensor for group in inner.param_groups for tensor in group["params"]]


def _find_zero_optimizer(optimizer: Any) -> Any | None:
    """Return DeepSpeed's optimizer inside accelerate's wrapper, or None without DeepSpeed."""
    inner_optimizer = optimizer.optimizer
    return inner_optimizer if hasattr(inner_optimizer, "optimizer") else None


def _require_same_names(
    named_parameters: NamedParameters, weights: dict[str, Any], checkpoint: Path
) -> None:
    expected_names = {name for name, _ in named_parameters}
    if expected_names != weights.keys():
        raise TwinError(
            f"resume from {checkpoint}",
            found=f"{len(expected_names ^ weights.keys())} weights that are only in the "
            "checkpoint or only in the model",
            next_step=f"remove {checkpoint.parent} and train from the start",
        )


def _hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
