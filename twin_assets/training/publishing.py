"""Publish the output of a training run as a checkpoint with its manifest.

Scope: the manifest's contents, the hash of the training code. Out of scope: the training data
(`fine_tuning.py`, `preference_tuning.py`), the weight files (`published_weights.py`), the
manifest's schema and the final folder (`manifest.py`).
"""

from __future__ import annotations

import ast
import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_assets.checkpoints import manifest as manifests
from twin_assets.checkpoints.job import (
    Job,
    TrainingResult,
    hash_rows,
    read_result,
    read_rows,
)
from twin_assets.checkpoints.manifest import Manifest
from twin_assets.checkpoints.published_weights import copy_weights
from twin_assets.checkpoints.recipe import Recipe

if TYPE_CHECKING:
    from twin_resources.storage.weights.weights import BaseModel

LIBRARIES = ("torch", "transformers", "peft", "accelerate", "deepspeed")
# These files determine the weights; a change to any of them requires a new training run.
TRAINING_CODE_FILES = (
    *("training/train.py", "training/model.py", "checkpoints/samples.py"),
    *("checkpoints/batches.py", "training/losses.py", "training/adapter.py"),
    "training/chunked_cross_entropy.py",
)
# metrics of preference tuning in addition to the loss
PREFERENCE_METRICS = ("margin", "accuracy", "reward_chosen")


@dataclass(frozen=True)
class TrainingDescription:
    """The fields of a manifest that are known before training, as in `Manifest`.

    Attributes:
        recipe: the author's whole recipe, as in its file.
        dataset: the dataset of the supervised stage.
        preferences: the dataset of preference tuning; empty without it.
    """

    author: str
    training: str
    base: BaseModel
    template: str
    recipe: Recipe
    code: str
    dataset: Mapping[str, Any]
    preferences: Mapping[str, Any] = field(default_factory=dict[str, Any])


def training_code_hash(folder: Path = Path(__file__).parents[1]) -> str:
    """Return the hash of the code that determines the weights.

    Comments and docstrings are ignored, so editing them does not require a new training run.

    Args:
        folder: the folder to which the names in `TRAINING_CODE_FILES` are relative.
    """
    trees = (ast.parse((folder / name).read_bytes()) for name in TRAINING_CODE_FILES)
    code = "\n".join(ast.unparse(_DocstringRemover().visit(tree)) for tree in trees)
    return hashlib.sha256(code.encode()).hexdigest()


class _DocstringRemover(ast.NodeTransformer):
    """Remove docstrings, which are constant expressions; an `ast` tree has no comments."""

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        return ast.Pass() if isinstance(node.value, ast.Constant) else node


def publish_training(
    description: TrainingDescription, job: Job, output: Path, checkpoints: Path
) -> Path:
    """Publish the weights of a complete job, including GGUF files, and return their folder."""
    partial_folder = checkpoints / f"partial-{description.training[:16]}"
    shutil.rmtree(partial_folder, ignore_errors=True)
    weights = copy_weights(output, partial_folder, description.base)
    manifest = _build_manifest(description, job, read_result(output / "result.json"), weights)
    return manifests.publish_checkpoint(partial_folder, checkpoints, manifest)


def _build_manifest(
    description: TrainingDescription, job: Job, result: TrainingResult, weights: Path
) -> Manifest:
    base, first_step, last_step = description.base, result.history[0], result.history[-1]
    dataset, preferences = dict(description.dataset), dict(description.preferences)
    training_rows = {
        "left_out": result.left_out,
        "rows_sha256": hash_rows(read_rows(job.samples_path)),
    }
    if job.stage == "sft":
        dataset |= {"samples": result.samples, **training_rows}
        if result.raw:
            posts = read_rows(job.posts_path)
            post_summary = {"posts": len(posts), "rows_sha256": hash_rows(posts)}
            dataset["raw"] = {**dataset["raw"], **result.raw, **post_summary}
    else:
        preferences |= {"pairs": result.samples, **training_rows}
    return Manifest(
        author=description.author,
        checkpoint=manifests.compute_checkpoint_hash(
            weights, base_revision=base.revision, template=description.template
        ),
        training=description.training,
        stage=job.stage,
        base={
            "name": base.name,
            "revision": base.revision,
            "folder": str(base.folder),
            "gguf": str(base.gguf) if base.gguf else None,
        },
        template=description.template,
        dataset=dataset,
        recipe=description.recipe.model_dump(),
        launch={
            "ranks": job.ranks,
            "precision": result.precision,
            **job.effective_launch.model_dump(),
        },
        code=description.code,
        versions={name: version(name) for name in LIBRARIES},
        tokens=result.tokens,
        epochs=result.epochs,
        steps=result.steps,
        metrics={
            "first_loss": first_step["loss"],
            "last_loss": last_step["loss"],
            **{f"last_{name}": last_step[name] for name in PREFERENCE_METRICS if name in last_step},
            "tokens_per_second": result.tokens_per_second,
            "seconds": result.seconds,
            "rss_mb": result.rss_mb,
            **({} if result.gpu_peak_mb is None else {"gpu_peak_mb": result.gpu_peak_mb}),
            "resumed_at": result.resumed_at,
        },
        history=result.history,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        preferences=preferences,
        effective=result.effective,
    )
