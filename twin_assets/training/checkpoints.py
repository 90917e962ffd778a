"""The assets `fine_tuned_checkpoint` and `preference_tuned_checkpoint`.

Belongs here: the two assets, their metadata and data versions. Does not belong here: how a
checkpoint is made (`fine_tuning.py`) or what is in it (`manifest.py`), whether it is good
(`checkpoint_evaluation`).
"""

from pathlib import Path

import dagster as dg

from twin_assets.partitions import authors
from twin_assets.training.fine_tuning import FineTuned, fine_tune
from twin_assets.training.manifest import (
    ADAPTER_GGUF,
    Manifest,
    read_manifest,
    read_pointer,
    write_pointer,
)
from twin_resources.dagster_resources import (
    RegistryResource,
    SettingsResource,
    TablesResource,
    TrainingLauncherResource,
)
from twin_resources.errors import TwinError
from twin_resources.training_launcher import TrainingDied

LOSS_ROWS = 24
NO_PREFERENCES = "no preference pairs yet: the supervised checkpoint is the candidate"


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
    settings: SettingsResource,
    tables: TablesResource,
    training: TrainingLauncherResource,
) -> dg.MaterializeResult:
    """LoRA adapter trained on the author's instruction dataset (accelerate + DeepSpeed).

    With the same data, recipe, base model and code nothing is trained again. Only processes that
    died are worth a retry: everything else would fail the same way.
    """
    with dg.open_pipes_session(
        context, dg.PipesTempFileContextInjector(), dg.PipesTempFileMessageReader()
    ) as session:
        try:
            tuned = fine_tune(
                settings.author(context.partition_key),
                settings=settings.settings(),
                tables=tables.tables(),
                launcher=training.launcher(),
                environment=session.get_bootstrap_env_vars(),
                # steps reach the run through Pipes, from rank 0
                on_message=lambda message: (
                    context.log.info(message["text"]) if "text" in message else None
                ),
            )
        except TrainingDied:
            raise
        except TwinError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
    return dg.MaterializeResult(
        data_version=dg.DataVersion(tuned.manifest.checkpoint), metadata=_metadata(tuned)
    )


@dg.asset(
    group_name="training",
    partitions_def=authors,
    deps=[fine_tuned_checkpoint],
    kinds={"deepspeed", "pytorch"},
)
def preference_tuned_checkpoint(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    registry: RegistryResource,
) -> dg.MaterializeResult:
    """The candidate: preference tuning on top where there are pairs, else the supervised one."""
    author = context.partition_key
    checkpoints = settings.settings().checkpoints_dir / author
    folder = Path(read_pointer(checkpoints, "fine_tuned")["folder"])
    manifest = read_manifest(folder)
    path = write_pointer(
        checkpoints,
        "candidate",
        {
            "checkpoint": manifest.checkpoint,
            "folder": str(folder),
            "stage": manifest.stage,
            "reason": NO_PREFERENCES,
        },
    )
    gguf = folder / ADAPTER_GGUF
    model = registry.registry().register(
        author=author,
        checkpoint=manifest.checkpoint,
        folder=str(folder),
        adapter_gguf=str(gguf) if gguf.is_file() else None,
        base=manifest.base["folder"],
        base_gguf=manifest.base["gguf"] or "",
        template=manifest.template,
        dataset_version=manifest.dataset["data_version"],
    )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest.checkpoint),
        metadata={
            "version": model.version,
            "state": model.state,
            "stage": manifest.stage,
            "reason": NO_PREFERENCES,
            "checkpoint": manifest.checkpoint,
            "candidate": dg.MetadataValue.path(str(path)),
        },
    )


def _metadata(tuned: FineTuned) -> dict[str, dg.MetadataValue | str | int | float | bool]:
    """Numbers and links; no text of a post, because the event log keeps it for ever."""
    manifest = tuned.manifest
    return {
        "trained": tuned.trained,
        "checkpoint": manifest.checkpoint,
        "manifest": dg.MetadataValue.path(str(tuned.folder / "manifest.json")),
        "stage": manifest.stage,
        "base": f"{manifest.base['name']} {manifest.base['revision'][:12]}",
        "dataset_version": manifest.dataset["data_version"],
        "samples": manifest.dataset["samples"],
        "tokens": manifest.tokens,
        "share_of_an_epoch": round(manifest.epochs, 4),
        "tokens_per_second": round(manifest.metrics["tokens_per_second"], 1),
        "seconds": round(manifest.metrics["seconds"], 1),
        "rss_mb": manifest.metrics["rss_mb"],
        "first_loss": manifest.metrics["first_loss"],
        "last_loss": manifest.metrics["last_loss"],
        "loss": _loss_table(manifest),
    }


def _loss_table(manifest: Manifest) -> dg.MetadataValue:
    """At most `LOSS_ROWS` steps, evenly spaced, the last one among them."""
    history = manifest.history
    every = -(-len(history) // LOSS_ROWS)
    chosen = [row for row in history if (len(history) - row["step"]) % every == 0]
    return dg.MetadataValue.table(
        [dg.TableRecord({name: row[name] for name in sorted(row)}) for row in chosen]
    )
