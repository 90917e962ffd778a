"""Find the weights of a published checkpoint for an export, and define the formats.

Scope: finding the weights. Out of scope: writing an export (`exporting.py`), comparing it with its
checkpoint (`export_parity.py`).
"""
# pyright: strict

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from twin_assets.checkpoints.manifest import ADAPTER_FOLDER, MODEL_FOLDER, Manifest, read_manifest
from twin_assets.checkpoints.published_weights import PublishedWeights, find_weights
from twin_resources.errors import TwinError

Format = Literal["adapter", "merged", "gguf-adapter", "gguf"]
Dtype = Literal["float16", "bfloat16", "float32"]
FORMATS: tuple[Format, ...] = get_args(Format)
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
GGUF_NAMES = {"gguf-adapter": "adapter.gguf", "gguf": "model.gguf"}


def find_export_source(checkpoint: Path) -> tuple[PublishedWeights, Manifest]:
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
    weights = find_weights(checkpoint, base=base, base_gguf=None)
    if not (weights.adapter or weights.model).is_dir():
        raise TwinError(
            f"export the checkpoint in {checkpoint}",
            found=f"it contains neither {ADAPTER_FOLDER}/ nor {MODEL_FOLDER}/",
            next_step="materialize fine_tuned_checkpoint for this author",
        )
    return weights, manifest
