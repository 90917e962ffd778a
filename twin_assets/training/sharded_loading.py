"""Load a base model under ZeRO-3: rank 0 reads each weight, and every rank keeps its shard.

Scope: the empty model, distributing its weights, and verifying them against the prepared base
model. Out of scope: the model's options (`model.py`), the shards of trained weights
(`training_state.py`), computing the hashes (`weight_hashes.py`).
Source: DeepSpeed's sharded construction,
https://deepspeed.readthedocs.io/en/latest/zero3.html#constructing-massive-models.

A rank never has more of the model in memory than its shard and one weight. transformers' own
loading under ZeRO-3 is not used because of open reports of silently reinitialized weights
(transformers#43964, #45313). Instead, the model is built from weights without storage (torch's
device `meta`), and each weight is distributed by name. The hash of the gathered weight must then
equal the hash of the read weight.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_assets.training.ranks import AllRanksStopError
from twin_resources.storage.weights.weight_hashes import weight_hash

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

MAX_NAMED_WEIGHTS = 4  # maximum number of weights named in a message; the others are only counted
Values = Mapping[str, Any]


def find_zero3_config(accelerator: Accelerator) -> Values | None:
    """Return DeepSpeed's active `zero_optimization` section, or None without ZeRO-3."""
    plugin: Any = getattr(accelerator.state, "deepspeed_plugin", None)
    if plugin is None or plugin.zero_stage != 3:
        return None
    return plugin.deepspeed_config["zero_optimization"]


def load_sharded(
    folder: Path,
    *,
    config: Any,
    dtype: torch.dtype,
    attention: str,
    zero: Values,
    hashes: Path,
    report: Callable[[str], None],
) -> Any | None:
    """Load the model so that each rank keeps its shard of the weights; every rank calls it.

    Args:
        folder: transformers folder with safetensors.
        config: the model's configuration.
        attention: transformers' name of the attention implementation.
        zero: the section that `find_zero3_config` returns.
        hashes: file with the hash of each weight, from preparation. Without it (in a job of an
            older version), only the ranks' weights are compared with the read weights.

    Returns:
        The model, or None if the files store the weights in another layout (experts that
        transformers joins while reading, tied weights stored twice). Each rank must then read the
        whole model.

    Raises:
        AllRanksStopError: a weight cannot be read, or differs from the prepared weight or from the
            ranks' copy; the message names it.
    """
    import torch

    model = _build_empty_model(config, dtype=dtype, attention=attention)
    stored_weights = _find_stored_weights(folder)
    if reason := _find_layout_mismatch(model, stored_weights):
        report(f"every rank reads the whole base model: {reason}")
        return None
    expected_hashes: dict[str, str] = {}
    if hashes.is_file():
        expected_hashes = json.loads(hashes.read_text(encoding="utf-8"))
    else:
        report("the base model was prepared without weight hashes: its files are not verified")
    is_reader = torch.distributed.get_rank() == 0
    distribute = _WeightDistributor(zero, is_bf16=dtype == torch.bfloat16)
    parameter_owners = _find_parameter_owners(model)
    errors: list[str] = []  # known only to rank 0 until the end
    for name, empty_parameter in list(model.named_parameters()):  # a tied weight occurs once
        value, read_hash = torch.empty(empty_parameter.shape, dtype=dtype), ""
        if is_reader:
            try:
                value, read_hash = _read_weight(
                    stored_weights[name].file, name, dtype, expected_hashes.get(name)
                )
            except _WeightError as error:  # the other ranks wait, so an empty value is sent
                errors.append(f"{name} ({error})")
        parameter = torch.nn.Parameter(value, requires_grad=empty_parameter.requires_grad)
        del value
        for module, own_name in parameter_owners[id(empty_parameter)]:
            setattr(module, own_name, parameter)
        distribute(parameter)
        with _gather(parameter):
            if read_hash and _hash(parameter) != read_hash:
                errors.append(f"{name} (the ranks' copy differs from the file)")
        _trim_heap()
    _stop_on_errors(folder, errors)
    report(
        f"loaded the base model in shards: {len(parameter_owners)} weights, "
        f"{len(expected_hashes)} known hashes"
    )
    return model


def cast_added_parameters(model: Any, accelerator: Accelerator) -> None:
    """Cast parameters added to a sharded model to bf16, as DeepSpeed does in an unsharded one.

    Adapters are created in float32, but DeepSpeed assumes that a sharded model is in bf16. Other
    models are unchanged. Call it last before `accelerator.prepare`.
    """
    import torch

    parameters = list(model.parameters())
    if accelerator.mixed_precision == "bf16" and any(map(_is_sharded, parameters)):
        for parameter in parameters:
            if not _is_sharded(parameter):
                parameter.data = parameter.data.to(torch.bfloat16)


class _WeightError(Exception):
    """An error while reading a weight."""


@dataclass(frozen=True)
class _StoredWeight:
    """The file and the shape of a stored weight."""

    file: Path
    shape: tuple[int, ...]


class _WeightDistributor:
    """Callable that sends a parameter's value from rank 0 to all ranks; each keeps its shard.

    Args:
        zero: the section that `find_zero3_config` returns.
        is_bf16: whether weights are bf16.
    """

    def __init__(self, zero: Values, *, is_bf16: bool) -> None:
        self._config = {
            "train_micro_batch_size_per_gpu": 1,  # required by DeepSpeed but has no effect
            "zero_optimization": dict(zero),
            "bf16": {"enabled": is_bf16},
        }
        self._first_parameter: Any = None

    def __call__(self, parameter: torch.nn.Parameter) -> None:
        import torch
        from deepspeed import zero

        if self._first_parameter is None:
            zero.Init(module=torch.nn.ParameterList([parameter]), config_dict_or_path=self._config)
            self._first_parameter = parameter
        else:  # DeepSpeed's method for adding parameters to a sharded model
            self._first_parameter.convert_to_zero_parameters(param_list=[parameter])


def _build_empty_model(config: Any, *, dtype: torch.dtype, attention: str) -> Any:
    """Return the model with its buffers but without weights; nothing is initialized randomly."""
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    with init_empty_weights(include_buffers=False):
        model: Any = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=attention
        )
    model.tie_weights()  # init_empty_weights splits tied weights
    return model


def _find_stored_weights(folder: Path) -> dict[str, _StoredWeight]:
    """Return the weights of a transformers folder by name, reading headers only."""
    from safetensors import safe_open

    stored_weights: dict[str, _StoredWeight] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                stored_weights[name] = _StoredWeight(path, tuple(file.get_slice(name).get_shape()))
    return stored_weights


def _find_layout_mismatch(model: Any, stored: Mapping[str, _StoredWeight]) -> str:
    """Return why the weights cannot be loaded by name, or an empty string if they can."""
    from transformers.conversion_mapping import get_model_conversion_mapping

    if get_model_conversion_mapping(model, add_legacy=False):
        return f"transformers converts the weights of a {type(model).__name__}"
    unique_weights = dict(model.named_parameters())
    all_weights = dict(model.named_parameters(remove_duplicate=False))
    if other_values := model.state_dict().keys() - all_weights.keys():
        return f"it stores values other than weights: {min(other_values)}"
    if missing_names := unique_weights.keys() - stored.keys():
        return f"its files have no {min(missing_names)}"
    if tied_names := (all_weights.keys() - unique_weights.keys()) & stored.keys():
        return f"its files have {min(tied_names)}, which is tied to another weight"
    mismatched_names = [
        name for name, part in unique_weights.items() if stored[name].shape != tuple(part.shape)
    ]
    return f"{mismatched_names[0]} has a different shape in its files" if mismatched_names else ""


def _find_parameter_owners(model: Any) -> dict[int, list[tuple[Any, str]]]:
    """Map each parameter's id to the modules that contain it and its name in each module."""
    owners: dict[int, list[tuple[Any, str]]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        module_name, _, own_name = name.rpartition(".")
        owners.setdefault(id(parameter), []).append((model.get_submodule(module_name), own_name))
    return owners


def _read_weight(
    file: Path, name: str, dtype: torch.dtype, expected_hash: str | None
) -> tuple[torch.Tensor, str]:
    """Read a weight into separate memory; return it in `dtype`, with its `_hash`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as reader:
            stored_value = reader.get_tensor(name)
            if expected_hash is not None and _hash(stored_value) != expected_hash:
                raise _WeightError(f"{file.name} has changed since it was prepared")
            value = stored_value.to(dtype, copy=True)
    except (OSError, SafetensorError) as error:
        raise _WeightError(f"{file.name} cannot be read: {error}") from error
    return value, _hash(value)


def _is_sharded(parameter: Any) -> bool:
    """Return whether the parameter is sharded; its own data are then empty."""
    return hasattr(parameter, "ds_id")


@contextmanager
def _gather(parameter: Any) -> Iterator[None]:
    """Gather a sharded parameter on every rank for inspection; every rank calls it."""
    from deepspeed import zero

    with zero.GatheredParameters([parameter]):
        yield


def _hash(value: torch.Tensor) -> str:
    import torch

    bits: Any = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return weight_hash(value.shape, [memoryview(bits)])


def _trim_heap() -> None:
    """Return the last weight's memory to the kernel, because a shard reuses only part of it.

    Without this call, two ranks that read 200 MB each took 270 MB to keep 98 MB.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # exists only in glibc
        if trim is not None:
            trim(0)


def _stop_on_errors(folder: Path, errors: list[str]) -> None:
    """Stop all ranks if any rank found an invalid weight; every rank calls it."""
    from accelerate.utils import gather_object

    all_errors: list[str] = gather_object(errors)
    if all_errors:
        suffix = (
            f" and {len(all_errors) - MAX_NAMED_WEIGHTS} more"
            if len(all_errors) > MAX_NAMED_WEIGHTS
            else ""
        )
        raise AllRanksStopError(
            f"load the base model in {folder} in shards",
            found=f"{', '.join(all_errors[:MAX_NAMED_WEIGHTS])}{suffix}",
            next_step="check the disk and prepare the base model again: remove its folder and "
            "run `python -m twin_resources.models.base_model prepare`",
        )
