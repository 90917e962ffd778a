"""Define a checkpoint's manifest, its hash and the pointers to it.

Scope: the manifest's schema, the checkpoint hash, publishing a folder under that hash.
Out of scope: training (`train.py`), the model registry (`registry/`), verdicts.

    <checkpoints_dir>/<author>/<checkpoint>/manifest.json
                                            adapter/adapter_model.safetensors, adapter_config.json
                                            adapter.gguf
                                            (model/ and model.gguf instead, after full training)
    <checkpoints_dir>/<author>/fine_tuned.json, candidate.json    {checkpoint, folder, …}
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from twin_assets.checkpoints.job import write_json
from twin_resources.errors import TwinError, check_schema

SCHEMA_VERSION = 1
MANIFEST_FILE = "manifest.json"
ADAPTER_FOLDER = "adapter"
ADAPTER_GGUF_FILE = "adapter.gguf"
MODEL_FOLDER = "model"  # replaces the adapter if all weights were trained
MODEL_GGUF_FILE = "model.gguf"


@dataclass(frozen=True)
class Manifest:
    """The description of one checkpoint.

    Attributes:
        checkpoint: hash of adapter weights, adapter shape, base revision and template.
        training: hash of all inputs that determine the weights, so that the same training does not
            run twice.
        stage: `sft`, or `dpo` on top of it.
        base: name, revision, folder, gguf of the base model.
        template: hash of the samples' prompt template.
        dataset: the dataset of the supervised stage: asset, data_version, lance_version, tag,
            samples, left_out (by reason), spoil, rows_sha256 (of the training rows,
            `job.hash_rows`). With raw posts also raw: asset, data_version, lance_version, tag,
            share, posts, rows_sha256, and the fields of `TrainingResult.raw`.
        recipe: effective hyper-parameters.
        launch: ranks, precision, launch configuration.
        code: hash of the training code.
        versions: versions of the libraries that the training code uses.
        tokens, epochs, steps: the amount of training; epochs counts passes over all samples (or
            pairs) and may be a fraction.
        metrics: first_loss, last_loss, tokens_per_second, seconds, rss_mb, resumed_at;
            on GPUs also gpu_peak_mb.
        history: step, loss, lr, tokens_per_s, grad_norm; dpo also margin, accuracy, reward_chosen.
        created_at: ISO 8601, UTC.
        preferences: empty for `sft`. For `dpo`: asset, data_version, lance_version, tag, pairs,
            left_out (by reason), rows_sha256 and parent (the supervised checkpoint).
        effective: the hyper-parameters that took effect (`resolved_config.py`).
    """

    author: str
    checkpoint: str
    training: str
    stage: str
    base: dict[str, Any]
    template: str
    dataset: dict[str, Any]
    recipe: dict[str, Any]
    launch: dict[str, Any]
    code: str
    versions: dict[str, str]
    tokens: int
    epochs: float
    steps: int
    metrics: dict[str, Any]
    history: list[dict[str, float]]
    created_at: str
    preferences: dict[str, Any] = field(default_factory=dict[str, Any])
    effective: dict[str, Any] = field(default_factory=dict[str, Any])


def compute_checkpoint_hash(weights: Path, *, base_revision: str, template: str) -> str:
    """Return the hash of everything that determines a model's answers: weights, base and prompt.

    Args:
        weights: folder with `adapter_model.safetensors` and `adapter_config.json`, or with the
            `model.safetensors` of a fully trained model.

    Returns:
        The SHA-256 in hex, which does not depend on machine, time or folder.
    """
    full_model = weights / "model.safetensors"
    if full_model.is_file():
        return _hash(full_model, [None, base_revision, template])
    config: dict[str, Any] = json.loads((weights / "adapter_config.json").read_text("utf-8"))
    shape = {name: config[name] for name in ("r", "lora_alpha", "target_modules", "use_rslora")}
    shape["target_modules"] = sorted(shape["target_modules"])
    return _hash(weights / "adapter_model.safetensors", [shape, base_revision, template])


def _hash(tensors: Path, identity: list[Any]) -> str:
    digest = hashlib.sha256()
    with tensors.open("rb") as stream:
        digest.update(hashlib.file_digest(stream, "sha256").digest())
    digest.update(json.dumps(identity, sort_keys=True).encode())
    return digest.hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    path = folder / MANIFEST_FILE
    write_json(path, {"schema": SCHEMA_VERSION} | asdict(manifest))
    return path


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a checkpoint folder.

    Raises:
        TwinError: the manifest is missing, or its schema is newer than this code's.
    """
    path = folder / MANIFEST_FILE
    action = f"read the checkpoint in {folder}"
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TwinError(
            action,
            found=f"no {MANIFEST_FILE}",
            next_step="materialize fine_tuned_checkpoint for this author",
        ) from error
    check_schema(action, document.pop("schema"), SCHEMA_VERSION, next_step="update llm-twin")
    return Manifest(**document)


def find_trained_checkpoint(checkpoints: Path, training: str) -> Path | None:
    """Return the folder of the author's checkpoint that has exactly these inputs, or None."""
    for path in sorted(checkpoints.glob(f"*/{MANIFEST_FILE}")):
        if read_manifest(path.parent).training == training:
            return path.parent
    return None


def publish_checkpoint(partial_folder: Path, checkpoints: Path, manifest: Manifest) -> Path:
    """Write the manifest into `partial_folder` and rename that folder to the checkpoint's hash.

    If a new run produces the same weights, the existing folder is kept, because versions and
    verdicts refer to it. Its manifest is replaced with that of the new run.

    Returns:
        The published folder.
    """
    folder = checkpoints / manifest.checkpoint
    if folder.is_dir():
        write_manifest(folder, manifest)
        shutil.rmtree(partial_folder)
    else:
        write_manifest(partial_folder, manifest)
        checkpoints.mkdir(parents=True, exist_ok=True)
        partial_folder.rename(folder)
    return folder


def write_pointer(checkpoints: Path, name: str, values: dict[str, Any]) -> Path:
    """Write `<checkpoints>/<name>.json`: checkpoint, folder and the asset's own fields."""
    path = checkpoints / f"{name}.json"
    write_json(path, values)
    return path


def read_pointer(checkpoints: Path, name: str) -> dict[str, Any]:
    """Read `<checkpoints>/<name>.json`.

    Raises:
        TwinError: nothing has been trained for this author yet.
    """
    path = checkpoints / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        asset = {"fine_tuned": "fine_tuned_checkpoint"}.get(name, "preference_tuned_checkpoint")
        raise TwinError(
            f"find the {name.replace('_', ' ')} checkpoint of {checkpoints.name}",
            found=f"no file {path}",
            next_step=f"materialize {asset} for this author",
        ) from error
