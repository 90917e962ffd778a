"""Find the weights of a published checkpoint for an export, and define the formats.

Scope: finding the weights. Out of scope: writing an export (`exporting.py`), comparing it with its
checkpoint (`export_parity.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from twin_assets.checkpoints.manifest import ADAPTER_FOLDER, MODEL_FOLDER, Manifest, read_manifest
from twin_resources.errors import TwinError

Format = Literal["adapter", "merged", "gguf-adapter", "gguf"]
Dtype = Literal["float16", "bfloat16", "float32"]
FORMATS: tuple[Format, ...] = get_args(Format)
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
GGUF_NAMES = {"gguf-adapter": "adapter.gguf", "gguf": "model.gguf"}


@dataclass(frozen=True)
class ExportSource:
    """The weights of a checkpoint.

    Attributes:
        base: transformers folder of the base model.
        adapter: PEFT folder; None if every weight was trained.
        model: transformers folder of the fully trained model; None if there is an adapter.
    """

    base: Path
    adapter: Path | None
    model: Path | None

    @property
    def model_folder(self) -> Path:
        """Folder of the model, to which any adapter is added."""
        return self.model or self.base


def find_export_source(checkpoint: Path) -> tuple[ExportSource, Manifest]:
    """Return the weights of a published checkpoint.

    Raises:
        TwinError: there is no checkpoint, or its base model is missing.
    """
    manifest = read_manifest(checkpoint)
    base = Path(manifest.base["folder"])
    if not (base / "config.json").is_file():
        raise TwinError(
            f"export the checkpoint in {checkpoint}",
            found=f"its base model {manifest.base['name']} is not at {base}",
            next_step="run `twin up` to prepare it again, then repeat the export",
        )
    adapter, model = checkpoint / ADAPTER_FOLDER, checkpoint / MODEL_FOLDER
    if not adapter.is_dir() and not model.is_dir():
        raise TwinError(
            f"export the checkpoint in {checkpoint}",
            found=f"it contains neither {ADAPTER_FOLDER}/ nor {MODEL_FOLDER}/",
            next_step="materialize fine_tuned_checkpoint for this author",
        )
    model_folder = model if model.is_dir() else None
    return ExportSource(base, None if model_folder else adapter, model_folder), manifest
