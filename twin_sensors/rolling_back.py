"""The job `roll_back`: an earlier version answers again, by hand, with a reason.

Scope: the job and what it records. Out of scope: which versions may come back
(`registry.rollback`); the same as the command `twin rollback`.
"""

import dagster as dg

from twin_resources.dagster_history import newest_metadata
from twin_resources.quality.release import release_summary
from twin_resources.registry.registry import Registry

ACTOR = "job:roll_back"


class RollbackConfig(dg.Config):
    """What to roll back to, and why.

    Attributes:
        version: number of a retired version; 0: the one that was stable last.
        reason: kept for ever in the history.
    """

    version: int = 0
    reason: str


@dg.op
def bring_back(
    context: dg.OpExecutionContext, config: RollbackConfig, registry: dg.ResourceParam[Registry]
) -> None:
    """The registry's move, told to Dagster as a materialization of `released_model`."""
    if not config.reason.strip():
        raise dg.Failure("give a reason: it is the only trace of why the version was taken back")
    author = context.partition_key
    move = registry.rollback(author, config.version or None, actor=ACTOR, reason=config.reason)
    last = int(newest_metadata(context.instance, "released_model", author).get("move", 0))
    moved = release_summary.untold(registry.moves(author), last)
    metadata = release_summary.release_metadata(registry.stable(author), moved, last=last)
    context.log_event(
        dg.AssetMaterialization(
            "released_model",
            description=release_summary.line_of(move),
            metadata=metadata,
            partition=author,
        )
    )


@dg.job(
    partitions_def=dg.DynamicPartitionsDefinition(name="authors"),
    description="Bring an earlier version of an author's model back, with a reason.",
    executor_def=dg.in_process_executor,
)
def roll_back() -> None:
    """One step."""
    bring_back()
