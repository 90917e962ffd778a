"""Define the assets `fine_tuned_checkpoint` and `preference_tuned_checkpoint`.

Scope: the two assets, their metadata and data versions. Out of scope: making a checkpoint
(`fine_tuning.py`), its contents (`manifest.py`), its quality (`checkpoint_evaluation`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from twin_assets.checkpoints.manifest import Manifest, write_pointer
from twin_assets.checkpoints.published_weights import find_weights
from twin_assets.partitions import authors
from twin_assets.training.fine_tuning import fine_tune
from twin_assets.training.live_progress import ProgressReportingLauncher
from twin_assets.training.preference_tuning import TunedCandidate, tune_on_preferences
from twin_resources.authors import read_author
from twin_resources.errors import TwinError
from twin_resources.models.training_launcher import TrainingDiedError, TrainingLauncher
from twin_resources.registry.moves import ModelVersion
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables

MAX_LOSS_ROWS = 24
GPU_METRICS = ("gpu_peak_mb",)  # metrics that exist only for training on GPUs


class FineTuningConfig(dg.Config):
    """Deviations of a training run from its recipe.

    Attributes:
        spoil: `shuffled_answers` to corrupt the data deliberately, which tests that the gate and
            the loop detect it; empty to use the data unchanged. The checkpoint's manifest names it.
    """

    spoil: str = ""


@dg.asset(
    group_name="training",
    partitions_def=authors,
    deps=["instruction_dataset"],
    pool="training",
    retry_policy=dg.RetryPolicy(max_retries=1, delay=10),
    kinds={"deepspeed", "pytorch"},
)
def fine_tuned_checkpoint(
    context: dg.AssetExecutionContext,
    config: FineTuningConfig,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
    training: dg.ResourceParam[TrainingLauncher],
) -> dg.MaterializeResult:
    """LoRA adapter trained on the author's instruction dataset (accelerate + DeepSpeed).

    If data, recipe, base model and code are unchanged, no training takes place.
    """
    author = read_author(settings, context.partition_key)
    with _fail_without_retry():
        launcher = ProgressReportingLauncher(context, training)
        checkpoint = fine_tune(
            author, settings=settings, tables=tables, launcher=launcher, spoil=config.spoil
        )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(checkpoint.manifest.checkpoint),
        metadata={
            "trained": checkpoint.was_trained,
            **_training_metadata(checkpoint.folder, checkpoint.manifest),
        },
    )


@dg.asset(
    group_name="training",
    partitions_def=authors,
    deps=[fine_tuned_checkpoint, "preference_dataset"],
    pool="training",
    retry_policy=dg.RetryPolicy(max_retries=1, delay=10),
    kinds={"deepspeed", "pytorch"},
)
def preference_tuned_checkpoint(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
    training: dg.ResourceParam[TrainingLauncher],
    registry: dg.ResourceParam[Registry],
) -> dg.MaterializeResult:
    """The candidate: preference-tuned (DPO) if there are pairs, else the supervised checkpoint.

    If the inputs are unchanged, no training takes place.
    """
    author = read_author(settings, context.partition_key)
    with _fail_without_retry():
        launcher = ProgressReportingLauncher(context, training)
        candidate = tune_on_preferences(author, settings=settings, tables=tables, launcher=launcher)
    path = _write_candidate_pointer(candidate, settings.checkpoints_dir / author.slug)
    version = _register(candidate, author.slug, registry)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(candidate.manifest.checkpoint),
        metadata=_version_metadata(version, candidate, path),
    )


def _write_candidate_pointer(candidate: TunedCandidate, folder: Path) -> Path:
    return write_pointer(
        folder,
        "candidate",
        {
            "checkpoint": candidate.manifest.checkpoint,
            "folder": str(candidate.folder),
            "stage": candidate.manifest.stage,
            "reason": candidate.reason,
        },
    )


def _register(candidate: TunedCandidate, author: str, registry: Registry) -> ModelVersion:
    """Register the candidate as a version."""
    manifest, folder = candidate.manifest, candidate.folder
    weights = find_weights(folder, base=manifest.base["folder"], base_gguf=manifest.base["gguf"])
    return registry.register(
        author=author,
        checkpoint=manifest.checkpoint,
        folder=str(folder),
        adapter_gguf=weights.adapter_gguf,
        base=manifest.base["folder"],
        base_gguf=weights.model_gguf,
        template=manifest.template,
        dataset_version=manifest.dataset["data_version"],
    )


@contextmanager
def _fail_without_retry() -> Iterator[None]:
    """Allow retries only after a process has died, because any other error would recur."""
    try:
        yield
    except TrainingDiedError:
        raise
    except TwinError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def _version_metadata(
    version: ModelVersion, candidate: TunedCandidate, pointer: Path
) -> dict[str, Any]:
    return {
        "version": version.version,
        "state": version.state,
        "stage": candidate.manifest.stage,
        "reason": candidate.reason,
        "checkpoint": candidate.manifest.checkpoint,
        "candidate": dg.MetadataValue.path(str(pointer)),
        **_preference_metadata(candidate),
    }


def _preference_metadata(
    candidate: TunedCandidate,
) -> dict[str, dg.MetadataValue | str | int | float | bool]:
    """Return the metadata of preference tuning; empty if there was none."""
    manifest = candidate.manifest
    if not manifest.preferences:
        return {}
    return {
        "trained": candidate.was_trained,
        "pairs": manifest.preferences["pairs"],
        "pairs_left_out": dg.MetadataValue.json(manifest.preferences.get("left_out", {})),
        "sources": dg.MetadataValue.json(manifest.preferences["sources"]),
        "pairs_version": manifest.preferences["data_version"],
        "supervised_checkpoint": manifest.preferences["parent"],
        "reward_margin": manifest.metrics["last_margin"],
        "reward_accuracy": manifest.metrics["last_accuracy"],
        **_training_metadata(candidate.folder, manifest),
    }


def _training_metadata(
    folder: Path, manifest: Manifest
) -> dict[str, dg.MetadataValue | str | int | float | bool]:
    """Return the metadata of a training asset: numbers and links.

    It contains no text of a post, because the event log keeps metadata forever.
    """
    return {
        "checkpoint": manifest.checkpoint,
        "manifest": dg.MetadataValue.path(str(folder / "manifest.json")),
        "stage": manifest.stage,
        "base": f"{manifest.base['name']} {manifest.base['revision'][:12]}",
        "dataset_version": manifest.dataset["data_version"],
        "samples": manifest.dataset["samples"],
        "left_out": dg.MetadataValue.json(manifest.dataset.get("left_out", {})),
        "tokens": manifest.tokens,
        "share_of_an_epoch": round(manifest.epochs, 4),
        "tokens_per_second": round(manifest.metrics["tokens_per_second"], 1),
        "seconds": round(manifest.metrics["seconds"], 1),
        "rss_mb": manifest.metrics["rss_mb"],
        **{name: manifest.metrics[name] for name in GPU_METRICS if name in manifest.metrics},
        "first_loss": manifest.metrics["first_loss"],
        "last_loss": manifest.metrics["last_loss"],
        "loss": _build_loss_table(manifest),
    }


def _build_loss_table(manifest: Manifest) -> dg.MetadataValue:
    """Return at most `MAX_LOSS_ROWS` steps, evenly spaced and including the last one."""
    history = manifest.history
    every_n_steps = -(-len(history) // MAX_LOSS_ROWS)
    sampled_rows = [row for row in history if (len(history) - row["step"]) % every_n_steps == 0]
    return dg.MetadataValue.table(
        [dg.TableRecord({name: row[name] for name in sorted(row)}) for row in sampled_rows]
    )
