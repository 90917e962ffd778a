"""Define the asset `other_authors_adapter`, which later candidates must beat.

Scope: the asset and its metadata. Out of scope: training it (`other_authors/reference_adapter.py`),
comparing with it (`measures/other_authors.py`), and scheduling it
(`twin_sensors/reference_training.py`).
"""

import dagster as dg

from twin_assets.evaluation.other_authors.reference_adapter import train_reference
from twin_assets.partitions import authors
from twin_assets.training.checkpoints import fail_without_retry, training_metadata
from twin_assets.training.live_progress import ProgressReportingLauncher
from twin_resources.authors import read_author
from twin_resources.models.training_launcher import TrainingLauncher
from twin_resources.settings import Settings
from twin_resources.storage.storage_faults import translate_disk_full
from twin_resources.storage.tables.tables import Tables


@dg.asset(
    group_name="evaluation",
    partitions_def=authors,
    # runs after the first release and its report, so that no reader waits for it
    deps=["evaluation_report"],
    pool="training",
    retry_policy=dg.RetryPolicy(max_retries=1, delay=10),
    kinds={"deepspeed", "pytorch"},
)
def other_authors_adapter(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
    training: dg.ResourceParam[TrainingLauncher],
) -> dg.MaterializeResult:
    """Adapter of the author's base model and recipe, trained on the bundled authors' posts.

    Later candidates must make the author's passages likelier than this adapter does. All authors
    with the same base model and recipe share one adapter.
    """
    author = read_author(settings, context.partition_key)
    description = f"train the adapter of other authors for {author.slug}"
    with fail_without_retry(), translate_disk_full(description, settings.home):
        launcher = ProgressReportingLauncher(context, training)
        trained_reference = train_reference(
            author, settings=settings, tables=tables, launcher=launcher
        )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(trained_reference.manifest.checkpoint),
        metadata={
            "trained": trained_reference.was_trained,
            "authors": ", ".join(trained_reference.authors),
            **training_metadata(trained_reference.folder, trained_reference.manifest),
        },
    )
