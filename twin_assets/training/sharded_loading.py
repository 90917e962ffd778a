"""A base model's weights under ZeRO-3: one rank reads one after the other, all keep their shares.

Scope: the empty model, handing its weights out, and the proof that what the ranks keep is
what the base model was prepared with. Out of scope: the model's switches (`model.py`), the
shares of what is trained (`training_state.py`), taking the hashes (`weight_hashes.py`).
Source: DeepSpeed's construction in shares,
https://deepspeed.readthedocs.io/en/latest/zero3.html#constructing-massive-models.

No rank has more of the model at once than its share and one weight. transformers' own way there has
open reports of weights that were silently initialised again (transformers#43964, #45313), so it is
not taken: the model is built of weights that are nowhere (torch's device `meta`), each is handed
out by name, and gathered again it has the hash of what was read.
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

NAMED = 4  # weights that a message names; the rest is counted
Values = Mapping[str, Any]


def zero3_of(accelerator: Accelerator) -> Values | None:
    """DeepSpeed's section `zero_optimization` as it runs; None without ZeRO-3."""
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
    """The model, of whose weights each rank keeps its share; every rank calls it.

    Args:
        folder: transformers folder with safetensors.
        config: its configuration.
        attention: by transformers' name.
        zero: of `zero3_of`.
        hashes: file with the hash of each weight, from preparation; where it is missing (a job of
            an older version) only what the ranks keep is held against what was read.

    Returns:
        None when the files do not hold the weights as the model has them (experts that transformers
        joins while it reads, tied ones stored twice): then each rank has to read all of it.

    Raises:
        AllRanksStop: a weight cannot be read, is not what was prepared, or is not what the ranks
            keep; names it.
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
    for name, empty in list(model.named_parameters()):  # a tied one once
        value, was = torch.empty(empty.shape, dtype=dtype), ""
        if reads:
            try:
                value, was = _read(stored[name].file, name, dtype, wanted.get(name))
            except _WeightError as error:  # the others wait for this weight: they get anything
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
    """Round what was put on a model that is read in shares, as DeepSpeed does to one that is not.

    Adapters are made in float32, and DeepSpeed takes a model that has shares for one of bf16. Of
    another model nothing is touched. Call it last before `accelerator.prepare`.
    """
    import torch

    parameters = list(model.parameters())
    if accelerator.mixed_precision == "bf16" and any(map(_in_shares, parameters)):
        for parameter in parameters:
            if not _in_shares(parameter):
                parameter.data = parameter.data.to(torch.bfloat16)


class _WeightError(Exception):
    """What is wrong with a weight as it was read."""


@dataclass(frozen=True)
class _Stored:
    """Where a weight lies; its shape."""

    file: Path
    shape: tuple[int, ...]


class _Sharing:
    """Rank 0's value of a parameter to all ranks, of which each keeps its share.

    Args:
        zero: of `zero3_of`.
        narrow: weights are bf16.
    """

    def __init__(self, zero: Values, *, narrow: bool) -> None:
        self._config = {
            "train_micro_batch_size_per_gpu": 1,  # it wants one, and nothing here depends on it
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
        else:  # as DeepSpeed adds parameters to a model that is in shares already
            self._first.convert_to_zero_parameters(param_list=[parameter])


def _empty(config: Any, *, dtype: torch.dtype, attention: str) -> Any:
    """The model without weights, with its buffers; no number is drawn by lot."""
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    with init_empty_weights(include_buffers=False):
        model: Any = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=attention
        )
    model.tie_weights()  # within, what was tied has become two
    return model


def _stored(folder: Path) -> dict[str, _Stored]:
    """The weights of a transformers folder by name; reads headers alone."""
    from safetensors import safe_open

    found: dict[str, _Stored] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                found[name] = _Stored(path, tuple(file.get_slice(name).get_shape()))
    return found


def _stored_otherwise(model: Any, stored: Mapping[str, _Stored]) -> str:
    """Why the weights cannot be taken by name; empty: they can."""
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
    """By a parameter's id the modules that have it, and what each calls it."""
    places: dict[int, list[tuple[Any, str]]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        inside, _, own_name = name.rpartition(".")
        places.setdefault(id(parameter), []).append((model.get_submodule(inside), own_name))
    return places


def _read(
    file: Path, name: str, dtype: torch.dtype, wanted: str | None
) -> tuple[torch.Tensor, str]:
    """A weight, not in the file's own memory, and its `_hash` in the dtype that it is kept in."""
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
    """Whether it has been shared out; its own data are empty then."""
    return hasattr(parameter, "ds_id")


@contextmanager
def _gathered(parameter: Any) -> Iterator[None]:
    """A parameter in shares, whole on every rank, to be looked at; every rank calls it."""
    from deepspeed import zero

    with zero.GatheredParameters([parameter]):
        yield


def _hash(value: torch.Tensor) -> str:
    import torch

    bits: Any = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return weight_hash(value.shape, [memoryview(bits)])


def _give_back() -> None:
    """Let the kernel have what the last weight took; a share fills only a part of such a hole.

    Without it two ranks that read 200 MB had taken 270 each, to keep 98.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        if trim is not None:
            trim(0)


def _stop_at_wrong(folder: Path, wrong: list[str]) -> None:
    """Stop all ranks where any of them found a weight wrong; every rank calls it."""
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
