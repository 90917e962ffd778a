"""Define the job `roll_back`, which restores an earlier version and records the given reason.

Scope: the job and its records.
Out of scope: which versions may be restored (`registry.rollback`), and the command `twin rollback`,
which has the same effect.
"""

import dagster as dg

from twin_resources.dagster_history import newest_metadata
from twin_resources.quality.release import release_summary
from twin_resources.registry.registry import Registry

ACTOR = "job:roll_back"


class RollbackConfig(dg.Config):
    """The version to restore, and the reason.

    Attributes:
        version: the number of a retired version, or 0 for the last stable version.
        reason: the reason, stored permanently in the history.
    """

    version: int = 0
    reason: str


@dg.op
def bring_back(
    context: dg.OpExecutionContext, config: RollbackConfig, registry: dg.ResourceParam[Registry]
) -> None:
    """Roll back in the registry and record the move in Dagster as a materialization."""
    if not config.reason.strip():
        raise dg.Failure(
            "no reason was given: set `reason` in the run config, because it is stored in the "
            "release history"
        )
    author = context.partition_key
    move = registry.rollback(author, config.version or None, actor=ACTOR, reason=config.reason)
    last_move_number = int(
        newest_metadata(context.instance, "released_model", author).get("move", 0)
    )
    new_moves = release_summary.unreported_moves(registry.moves(author), last_move_number)
    metadata = release_summary.release_metadata(
        registry.stable_version(author), new_moves, last_move_number=last_move_number
    )
    context.log_event(
        dg.AssetMaterialization(
            "released_model",
            description=release_summary.describe_move(move),
            metadata=metadata,
            partition=author,
        )
    )


@dg.job(
    partitions_def=dg.DynamicPartitionsDefinition(name="authors"),
    description="Restore an earlier version of an author's model, with a reason.",
    executor_def=dg.in_process_executor,
)
def roll_back() -> None:
    """Run the only step, `bring_back`."""
    bring_back()
