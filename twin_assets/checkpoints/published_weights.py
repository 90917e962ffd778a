"""The weights in a checkpoint's folder: an adapter beside its base, or a whole model.

Belongs here: which of the two a folder holds, putting them there, and the files by which they are
served. Does not belong here: the manifest and the folder's name (`manifest.py`), formats for others
(`exporting.py`).
"""
# pyright: strict

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from twin_assets.checkpoints.manifest import ADAPTER, ADAPTER_GGUF, MODEL, MODEL_GGUF

if TYPE_CHECKING:
    from twin_resources.storage.weights.weights import BaseModel


@dataclass(frozen=True)
class PublishedWeights:
    """Where the weights of a checkpoint lie.

    Attributes:
        model: transformers folder that is loaded: the base, or the fully trained model.
        adapter: PEFT folder on top of it; None: there is none.
        model_gguf: what llama.cpp loads; empty where another server serves.
        adapter_gguf: the adapter as llama.cpp loads it, if there is one.
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
    whole = checkpoint / MODEL
    if whole.is_dir():
        file = checkpoint / MODEL_GGUF
        return PublishedWeights(whole, None, str(file) if file.is_file() else "", None)
    file = checkpoint / ADAPTER_GGUF
    adapter_gguf = str(file) if file.is_file() else None
    return PublishedWeights(Path(base), checkpoint / ADAPTER, base_gguf or "", adapter_gguf)


def put_weights(output: Path, made: Path, base: BaseModel) -> Path:
    """Copy what a training made, and write what llama.cpp loads; returns the copied folder.

    Args:
        output: of a complete job.
        base: without a GGUF file another server serves, and none is written.
    """
    from twin_resources.storage.weights import gguf

    whole = (output / MODEL).is_dir()
    copied = made / (MODEL if whole else ADAPTER)
    shutil.copytree(output / copied.name, copied)
    if base.gguf is not None:
        if whole:
            gguf.write_f16(copied, made / MODEL_GGUF)
        else:
            gguf.write_adapter(copied, base.folder, made / ADAPTER_GGUF)
    return copied
