"""Publish the output of a training as a checkpoint with its manifest.

Scope: the manifest's contents, the hash of the training code. Out of scope: the training data
(`fine_tuning.py`, `preference_tuning.py`), the files (`published_weights.py`), the manifest's
schema and the renaming (`manifest.py`).
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
    read_result,
    read_rows,
    rows_hash,
)
from twin_assets.checkpoints.manifest import Manifest
from twin_assets.checkpoints.published_weights import put_weights
from twin_assets.checkpoints.recipe import Recipe

if TYPE_CHECKING:
    from twin_resources.storage.weights.weights import BaseModel

LIBRARIES = ("torch", "transformers", "peft", "accelerate", "deepspeed")
# files that determine the weights; a change to any of them requires a new training
CODE = (
    *("training/train.py", "training/model.py", "checkpoints/samples.py"),
    *("checkpoints/batches.py", "training/losses.py", "training/adapter.py"),
    *("training/chunked_cross_entropy.py", "training/sharded_loading.py"),
)
LAST_VALUES = ("margin", "accuracy", "reward_chosen")  # of preference tuning, besides the loss


@dataclass(frozen=True)
class TrainingDescription:
    """The fields of a manifest that are known before a training, as in `Manifest`.

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


def training_code(folder: Path = Path(__file__).parents[1]) -> str:
    """Return the hash of the code that determines the weights.

    Comments and docstrings do not count: an edit of their words requires no training.

    Args:
        folder: the folder that the names in `CODE` are relative to.
    """
    trees = (ast.parse((folder / name).read_bytes()) for name in CODE)
    code = "\n".join(ast.unparse(_WithoutProse().visit(tree)) for tree in trees)
    return hashlib.sha256(code.encode()).hexdigest()


class _WithoutProse(ast.NodeTransformer):
    """Remove docstrings, which are expressions of a constant; `ast` has no comments."""

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        return ast.Pass() if isinstance(node.value, ast.Constant) else node


def publish_training(
    described: TrainingDescription, job: Job, output: Path, checkpoints: Path
) -> Path:
    """Publish the weights of a complete job, also as GGUF, and return their folder."""
    made = checkpoints / f"partial-{described.training[:16]}"
    shutil.rmtree(made, ignore_errors=True)
    weights = put_weights(output, made, described.base)
    manifest = _manifest(described, job, read_result(output / "result.json"), weights)
    return manifests.publish(made, checkpoints, manifest)


def _manifest(
    described: TrainingDescription, job: Job, result: TrainingResult, weights: Path
) -> Manifest:
    base, first, last = described.base, result.history[0], result.history[-1]
    dataset, preferences = dict(described.dataset), dict(described.preferences)
    trained_on = {
        "left_out": result.left_out,
        "rows_sha256": rows_hash(read_rows(job.samples)),
    }
    if job.stage == "sft":
        dataset |= {"samples": result.samples, **trained_on}
        if result.raw:
            posts = read_rows(job.posts)
            hashed = {"posts": len(posts), "rows_sha256": rows_hash(posts)}
            dataset["raw"] = {**dataset["raw"], **result.raw, **hashed}
    else:
        preferences |= {"pairs": result.samples, **trained_on}
    return Manifest(
        author=described.author,
        checkpoint=manifests.checkpoint_hash(
            weights, base_revision=base.revision, template=described.template
        ),
        training=described.training,
        stage=job.stage,
        base={
            "name": base.name,
            "revision": base.revision,
            "folder": str(base.folder),
            "gguf": str(base.gguf) if base.gguf else None,
        },
        template=described.template,
        dataset=dataset,
        recipe=described.recipe.model_dump(),
        launch={
            "ranks": job.ranks,
            "precision": result.precision,
            **job.launched_by.model_dump(),
        },
        code=described.code,
        versions={name: version(name) for name in LIBRARIES},
        tokens=result.tokens,
        epochs=result.epochs,
        steps=result.steps,
        metrics={
            "first_loss": first["loss"],
            "last_loss": last["loss"],
            **{f"last_{name}": last[name] for name in LAST_VALUES if name in last},
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
