"""Define the nightly job `tidy_tables`, which compacts tables and deletes old versions.

Scope: the choice and order of the tables, and the log messages.
Out of scope: merging (`tables/maintenance.py`), the vector index (`retrieval/index.py`).
"""

import dagster as dg

from twin_resources.models.retrieval.index import maintain_vector_index
from twin_resources.models.retrieval.retrieval import EMBEDDINGS_TABLE
from twin_resources.storage.state.failure_isolation import isolate_failure
from twin_resources.storage.state.lease import LeaseBusyError
from twin_resources.storage.tables.tables import CompactionResult, Tables


def compact_author(tables: Tables, author: str) -> tuple[str, list[str]]:
    """Compact every table of an author, one after another.

    Returns:
        A line with the results, and a line for each table that could not be compacted. A table
        that another run has locked is skipped until the next night.
    """
    names = tables.list_assets(author)
    results: list[CompactionResult] = []
    busy_tables: list[str] = []
    failures: list[str] = []
    vector_index = "none"
    for name in names:
        with isolate_failure(f"{author}/{name}", failures.append):
            try:
                results.append(tables.compact(name, author))
                if name == EMBEDDINGS_TABLE:
                    vector_index = maintain_vector_index(tables, author)
            except LeaseBusyError:
                busy_tables.append(name)
    message = (
        f"{author}: {len(names)} tables, {sum(table.merged_count for table in results)} fragments "
        f"merged, {sum(table.bytes_removed for table in results):,} bytes removed, "
        f"vector index: {vector_index}, busy: {', '.join(busy_tables) or 'none'}"
    )
    return message, failures


@dg.op
def tidy(context: dg.OpExecutionContext, tables: dg.ResourceParam[Tables]) -> None:
    """Compact the tables of all authors and log the results.

    Raises:
        Failure: some tables could not be compacted; all others were.
    """
    failures: list[str] = []
    for author in sorted(context.instance.get_dynamic_partitions("authors")):
        message, author_failures = compact_author(tables, author)
        context.log.info(message)
        failures += author_failures
    if failures:
        raise dg.Failure("\n".join(failures))


@dg.job(
    description="Merge small files and index segments of every table, and delete "
    "versions that are weeks old.",
    executor_def=dg.in_process_executor,
)
def tidy_tables() -> None:
    """Run the only step, `tidy`."""
    tidy()


tidy_tables_before_dawn = dg.ScheduleDefinition(
    name="tidy_tables_before_dawn",
    description="Starts `tidy_tables`, which merges files and index segments and "
    "deletes old versions.",
    job=tidy_tables,
    cron_schedule="25 3 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
