"""Store and find the weights in a checkpoint's folder: an adapter or a full model.

Scope: detecting which of the two a folder contains, copying it there, and the files for serving.
Out of scope: the manifest and the folder's name (`manifest.py`), other export formats
(`export.py`).
"""
# pyright: strict

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from twin_assets.checkpoints.manifest import (
    ADAPTER_FOLDER,
    ADAPTER_GGUF_FILE,
    MODEL_FOLDER,
    MODEL_GGUF_FILE,
)
from twin_assets.checkpoints.merged_weights import write_merged_model

if TYPE_CHECKING:
    from twin_resources.storage.weights.weights import BaseModel


@dataclass(frozen=True)
class PublishedWeights:
    """The locations of a checkpoint's weights.

    Attributes:
        model: transformers folder to load: the base, or the fully trained model.
        adapter: PEFT folder to load on top of `model`, or None without an adapter.
        model_gguf: the model file for llama.cpp, of the base or of the checkpoint; empty if
            another server is used.
        adapter_gguf: the adapter's file for llama.cpp, or None if there is none or `model_gguf`
            already includes it.
    """

    model: Path
    adapter: Path | None
    model_gguf: str
    adapter_gguf: str | None


def find_weights(checkpoint: Path, *, base: str | Path, base_gguf: str | None) -> PublishedWeights:
    """Return the weights in a published checkpoint's folder.

    Args:
        base, base_gguf: paths of the base model from the manifest.
    """
    full_model, full_model_gguf = checkpoint / MODEL_FOLDER, checkpoint / MODEL_GGUF_FILE
    if full_model.is_dir():
        return PublishedWeights(
            full_model, None, str(full_model_gguf) if full_model_gguf.is_file() else "", None
        )
    # The adapter was merged, because llama.cpp supports no separate adapter for this base.
    if full_model_gguf.is_file():
        return PublishedWeights(Path(base), checkpoint / ADAPTER_FOLDER, str(full_model_gguf), None)
    adapter_gguf_path = checkpoint / ADAPTER_GGUF_FILE
    adapter_gguf = str(adapter_gguf_path) if adapter_gguf_path.is_file() else None
    return PublishedWeights(Path(base), checkpoint / ADAPTER_FOLDER, base_gguf or "", adapter_gguf)


def copy_weights(output: Path, partial_folder: Path, base: BaseModel) -> Path:
    """Copy a run's output, write the files for llama.cpp and return the copied folder.

    Args:
        output: output folder of a complete job.
        base: the base model; if it has no GGUF file, another server is used and no GGUF file is
            written.
    """
    is_full_model = (output / MODEL_FOLDER).is_dir()
    weights_folder = partial_folder / (MODEL_FOLDER if is_full_model else ADAPTER_FOLDER)
    shutil.copytree(output / weights_folder.name, weights_folder)
    if base.gguf is not None:
        if is_full_model:
            _write_model_gguf(weights_folder, partial_folder / MODEL_GGUF_FILE, base)
        else:
            _write_adapter_gguf(weights_folder, partial_folder, base)
    return weights_folder


def _write_model_gguf(model: Path, gguf_path: Path, base: BaseModel) -> None:
    from twin_resources.storage.weights.gguf import write_model

    write_model(model, gguf_path, precision=base.precision)


def _write_adapter_gguf(adapter: Path, partial_folder: Path, base: BaseModel) -> None:
    """Write a GGUF adapter if llama.cpp supports it for this base, else a merged model."""
    from twin_resources.storage.weights.gguf import write_adapter

    if base.adapters == "beside":
        write_adapter(adapter, base.folder, partial_folder / ADAPTER_GGUF_FILE)
        return
    with tempfile.TemporaryDirectory(dir=partial_folder.parent, prefix="merged-") as folder:
        # The weights are rounded only once, in the GGUF file.
        write_merged_model(base.folder, adapter, Path(folder), dtype="float32")
        _write_model_gguf(Path(folder), partial_folder / MODEL_GGUF_FILE, base)
