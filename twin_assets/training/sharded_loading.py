"""Load a base model under ZeRO-3: rank 0 reads one weight at a time and all keep their shards.

Scope: the empty model, distributing its weights, and the proof that the ranks keep the weights
that the base model was prepared with. Out of scope: the model's options (`model.py`), the shards
of trained weights (`training_state.py`), computing the hashes (`weight_hashes.py`).
Source: DeepSpeed's sharded construction,
https://deepspeed.readthedocs.io/en/latest/zero3.html#constructing-massive-models.

No rank holds more of the model at once than its shard and one weight. transformers' own loading
under ZeRO-3 is not used because of open reports of weights that were silently reinitialized
(transformers#43964, #45313). Instead, the model is built from weights without storage (torch's
device `meta`), each weight is distributed by name, and the hash of the gathered weight must equal
the hash of the weight that was read.
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

from twin_assets.training.ranks import AllRanksStop
from twin_resources.storage.weights.weight_hashes import weight_hash

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

NAMED = 4  # maximum number of weights named in a message; the rest are only counted
Values = Mapping[str, Any]


def zero3_of(accelerator: Accelerator) -> Values | None:
    """Return DeepSpeed's active `zero_optimization` section, or None without ZeRO-3."""
    plugin: Any = getattr(accelerator.state, "deepspeed_plugin", None)
    if plugin is None or plugin.zero_stage != 3:
        return None
    return plugin.deepspeed_config["zero_optimization"]


def read_in_shares(
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
        zero: the section that `zero3_of` returns.
        hashes: file with the hash of each weight, from preparation; if it is missing (a job of an
            older version), only the ranks' weights are compared with what was read.

    Returns:
        The model, or None if the files do not store the weights as the model has them (experts that
        transformers joins while reading, tied weights stored twice). Each rank must then read the
        whole model.

    Raises:
        AllRanksStop: a weight cannot be read, differs from what was prepared, or differs from what
            the ranks keep; the message names it.
    """
    import torch

    model = _empty(config, dtype=dtype, attention=attention)
    stored = _stored(folder)
    if why := _stored_otherwise(model, stored):
        report(f"every rank reads the whole base model: {why}")
        return None
    wanted: dict[str, str] = {}
    if hashes.is_file():
        wanted = json.loads(hashes.read_text(encoding="utf-8"))
    else:
        report("no hashes of the base model's weights from its preparation: its files are trusted")
    reads = torch.distributed.get_rank() == 0
    share_out = _Sharing(zero, narrow=dtype == torch.bfloat16)
    places = _places(model)
    wrong: list[str] = []  # known to rank 0 alone until the end
    for name, empty in list(model.named_parameters()):  # a tied weight occurs once
        value, was = torch.empty(empty.shape, dtype=dtype), ""
        if reads:
            try:
                value, was = _read(stored[name].file, name, dtype, wanted.get(name))
            except _WeightError as error:  # the others wait for this weight, so send any value
                wrong.append(f"{name} ({error})")
        parameter = torch.nn.Parameter(value, requires_grad=empty.requires_grad)
        del value
        for module, own_name in places[id(empty)]:
            setattr(module, own_name, parameter)
        share_out(parameter)
        with _gathered(parameter):
            if was and _hash(parameter) != was:
                wrong.append(f"{name} (the ranks keep something else than was read)")
        _give_back()
    _stop_at_wrong(folder, wrong)
    report(f"read the base model in shares: {len(places)} weights, {len(wanted)} hashes known")
    return model


def narrow_added(model: Any, accelerator: Accelerator) -> None:
    """Cast parameters added to a sharded model to bf16, as DeepSpeed does in an unsharded one.

    Adapters are created in float32, but DeepSpeed assumes that a sharded model is in bf16. Other
    models are unchanged. Call it last before `accelerator.prepare`.
    """
    import torch

    parameters = list(model.parameters())
    if accelerator.mixed_precision == "bf16" and any(map(_in_shares, parameters)):
        for parameter in parameters:
            if not _in_shares(parameter):
                parameter.data = parameter.data.to(torch.bfloat16)


class _WeightError(Exception):
    """An error in a weight as it was read."""


@dataclass(frozen=True)
class _Stored:
    """The file and the shape of a stored weight."""

    file: Path
    shape: tuple[int, ...]


class _Sharing:
    """Distributor of a parameter's value from rank 0 to all ranks, each of which keeps its shard.

    Args:
        zero: the section that `zero3_of` returns.
        narrow: whether weights are bf16.
    """

    def __init__(self, zero: Values, *, narrow: bool) -> None:
        self._config = {
            "train_micro_batch_size_per_gpu": 1,  # DeepSpeed requires it; nothing depends on it
            "zero_optimization": dict(zero),
            "bf16": {"enabled": narrow},
        }
        self._first: Any = None

    def __call__(self, parameter: torch.nn.Parameter) -> None:
        import torch
        from deepspeed import zero

        if self._first is None:
            zero.Init(module=torch.nn.ParameterList([parameter]), config_dict_or_path=self._config)
            self._first = parameter
        else:  # DeepSpeed's own way to add parameters to a sharded model
            self._first.convert_to_zero_parameters(param_list=[parameter])


def _empty(config: Any, *, dtype: torch.dtype, attention: str) -> Any:
    """Return the model with its buffers but without weights; nothing is initialized randomly."""
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    with init_empty_weights(include_buffers=False):
        model: Any = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=attention
        )
    model.tie_weights()  # init_empty_weights splits tied weights
    return model


def _stored(folder: Path) -> dict[str, _Stored]:
    """Return the weights of a transformers folder by name, reading headers only."""
    from safetensors import safe_open

    found: dict[str, _Stored] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                found[name] = _Stored(path, tuple(file.get_slice(name).get_shape()))
    return found


def _stored_otherwise(model: Any, stored: Mapping[str, _Stored]) -> str:
    """Return why the weights cannot be loaded by name; empty if they can."""
    from transformers.conversion_mapping import get_model_conversion_mapping

    if get_model_conversion_mapping(model, add_legacy=False):
        return f"transformers converts the weights of a {type(model).__name__}"
    once = dict(model.named_parameters())
    every = dict(model.named_parameters(remove_duplicate=False))
    if kept := model.state_dict().keys() - every.keys():
        return f"it stores more than weights: {min(kept)}"
    if lacking := once.keys() - stored.keys():
        return f"its files have no {min(lacking)}"
    if twice := (every.keys() - once.keys()) & stored.keys():
        return f"its files have {min(twice)}, which is tied to another weight"
    unlike = [name for name, part in once.items() if stored[name].shape != tuple(part.shape)]
    return f"{unlike[0]} has another shape in its files" if unlike else ""


def _places(model: Any) -> dict[int, list[tuple[Any, str]]]:
    """Map each parameter's id to the modules that have it and its name in each."""
    places: dict[int, list[tuple[Any, str]]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        inside, _, own_name = name.rpartition(".")
        places.setdefault(id(parameter), []).append((model.get_submodule(inside), own_name))
    return places


def _read(
    file: Path, name: str, dtype: torch.dtype, wanted: str | None
) -> tuple[torch.Tensor, str]:
    """Read a weight into memory of its own; return it in `dtype`, with its `_hash`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            stored = opened.get_tensor(name)
            if wanted is not None and _hash(stored) != wanted:
                raise _WeightError(f"{file.name} holds other bytes than were prepared")
            value = stored.to(dtype, copy=True)
    except (OSError, SafetensorError) as error:
        raise _WeightError(f"{file.name} cannot be read: {error}") from error
    return value, _hash(value)


def _in_shares(parameter: Any) -> bool:
    """Return whether the parameter is sharded; its own data are then empty."""
    return hasattr(parameter, "ds_id")


@contextmanager
def _gathered(parameter: Any) -> Iterator[None]:
    """Gather a sharded parameter on every rank for inspection; every rank calls it."""
    from deepspeed import zero

    with zero.GatheredParameters([parameter]):
        yield


def _hash(value: torch.Tensor) -> str:
    import torch

    bits: Any = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return weight_hash(value.shape, [memoryview(bits)])


def _give_back() -> None:
    """Return the last weight's memory to the kernel; a shard fills only part of the gap it left.

    Without this, two ranks that read 200 MB had taken 270 MB each to keep 98 MB.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        if trim is not None:
            trim(0)


def _stop_at_wrong(folder: Path, wrong: list[str]) -> None:
    """Stop all ranks if any of them found an invalid weight; every rank calls it."""
    from accelerate.utils import gather_object

    found: list[str] = gather_object(wrong)
    if found:
        more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
        raise AllRanksStop(
            f"read the base model in {folder} in shares",
            found=f"{', '.join(found[:NAMED])}{more}",
            next_step="look at the disk and prepare the base model again: remove its folder and "
            "run `python -m twin_resources.models.base_model prepare`",
        )
