"""The weights in a checkpoint's folder: an adapter beside its base, or a whole model.

Scope: which of the two a folder holds, putting them there, and the files by which they are
served. Out of scope: the manifest and the folder's name (`manifest.py`), formats for others
(`exporting.py`).
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
    """Where the weights of a checkpoint lie.

    Attributes:
        model: transformers folder that is loaded: the base, or the fully trained model.
        adapter: PEFT folder on top of it; None: there is none.
        model_gguf: what llama.cpp loads: the base, or a file of this checkpoint's own; empty where
            another server serves.
        adapter_gguf: the adapter as llama.cpp loads it; None: there is none, or `model_gguf` holds
            it already.
    """

    model: Path
    adapter: Path | None
    model_gguf: str
    adapter_gguf: str | None


def weights_of(checkpoint: Path, *, base: str | Path, base_gguf: str | None) -> PublishedWeights:
    """The weights in a published checkpoint's folder.

    Args:
        base, base_gguf: of the base model, as the manifest names them.
    """
    whole, alone = checkpoint / MODEL, checkpoint / MODEL_GGUF
    if whole.is_dir():
        return PublishedWeights(whole, None, str(alone) if alone.is_file() else "", None)
    if alone.is_file():  # the adapter merged: llama.cpp takes none beside this base
        return PublishedWeights(Path(base), checkpoint / ADAPTER, str(alone), None)
    file = checkpoint / ADAPTER_GGUF
    adapter_gguf = str(file) if file.is_file() else None
    return PublishedWeights(Path(base), checkpoint / ADAPTER, base_gguf or "", adapter_gguf)


def put_weights(output: Path, made: Path, base: BaseModel) -> Path:
    """Copy what a training made, and write what llama.cpp loads; returns the copied folder.

    Args:
        output: of a complete job.
        base: without a GGUF file another server serves, and none is written.
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
    """A GGUF adapter where llama.cpp takes one beside this base, else the two as one model."""
    from twin_resources.storage.weights.kept_converter import NotExpressible, write_adapter

    if base.adapters == "beside":
        try:
            write_adapter(adapter, base.folder, made / ADAPTER_GGUF, wheels=base.wheels)
        except NotExpressible:
            pass  # of this adapter's layers: merged, it is served all the same
        else:
            return
    with tempfile.TemporaryDirectory(dir=made.parent, prefix="merged-") as folder:
        write_merged(base.folder, adapter, Path(folder), dtype="float32")  # rounded once, in GGUF
        _write_model(Path(folder), made / MODEL_GGUF, base)
