"""Store and find the weights in a checkpoint's folder: an adapter or a whole model.

Scope: which of the two a folder holds, copying them there, and the files for serving them. Out of
scope: the manifest and the folder's name (`manifest.py`), other export formats (`exporting.py`).
"""
# pyright: strict

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from twin_assets.checkpoints.manifest import ADAPTER, ADAPTER_GGUF, MODEL, MODEL_GGUF
from twin_assets.checkpoints.merged_weights import write_merged

if TYPE_CHECKING:
    from twin_resources.storage.weights.weights import BaseModel


@dataclass(frozen=True)
class PublishedWeights:
    """The locations of a checkpoint's weights.

    Attributes:
        model: transformers folder to load: the base, or the fully trained model.
        adapter: PEFT folder to load on top of it, or None without an adapter.
        model_gguf: the file for llama.cpp: the base, or the checkpoint's own file; empty if
            another server is used.
        adapter_gguf: the adapter's file for llama.cpp, or None if there is none or `model_gguf`
            already includes it.
    """

    model: Path
    adapter: Path | None
    model_gguf: str
    adapter_gguf: str | None


def weights_of(checkpoint: Path, *, base: str | Path, base_gguf: str | None) -> PublishedWeights:
    """Return the weights in a published checkpoint's folder.

    Args:
        base, base_gguf: paths of the base model from the manifest.
    """
    whole, alone = checkpoint / MODEL, checkpoint / MODEL_GGUF
    if whole.is_dir():
        return PublishedWeights(whole, None, str(alone) if alone.is_file() else "", None)
    if alone.is_file():  # a merged adapter: llama.cpp supports no separate one for this base
        return PublishedWeights(Path(base), checkpoint / ADAPTER, str(alone), None)
    file = checkpoint / ADAPTER_GGUF
    adapter_gguf = str(file) if file.is_file() else None
    return PublishedWeights(Path(base), checkpoint / ADAPTER, base_gguf or "", adapter_gguf)


def put_weights(output: Path, made: Path, base: BaseModel) -> Path:
    """Copy a training's output, write the files for llama.cpp and return the copied folder.

    Args:
        output: output folder of a complete job.
        base: the base model; without its GGUF file another server is used and none is written.
    """
    whole = (output / MODEL).is_dir()
    copied = made / (MODEL if whole else ADAPTER)
    shutil.copytree(output / copied.name, copied)
    if base.gguf is not None:
        if whole:
            _write_model(copied, made / MODEL_GGUF, base)
        else:
            _write_adapter(copied, made, base)
    return copied


def _write_model(model: Path, out: Path, base: BaseModel) -> None:
    from twin_resources.storage.weights.kept_converter import write_model

    write_model(model, out, wheels=base.wheels, precision=base.precision)


def _write_adapter(adapter: Path, made: Path, base: BaseModel) -> None:
    """Write a GGUF adapter if llama.cpp supports it for this base, else a merged model."""
    from twin_resources.storage.weights.kept_converter import NotExpressible, write_adapter

    if base.adapters == "beside":
        try:
            write_adapter(adapter, base.folder, made / ADAPTER_GGUF, wheels=base.wheels)
        except NotExpressible:
            pass  # llama.cpp lacks this adapter's layers, so the merged model is served
        else:
            return
    with tempfile.TemporaryDirectory(dir=made.parent, prefix="merged-") as folder:
        write_merged(base.folder, adapter, Path(folder), dtype="float32")  # rounded once, in GGUF
        _write_model(Path(folder), made / MODEL_GGUF, base)
