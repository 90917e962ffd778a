"""Define the nightly job `tidy_tables`, which compacts tables and deletes old versions.

Scope: the choice and order of the tables, and the report.
Out of scope: merging (`tables/upkeep.py`), and the vector index (`retrieval/index.py`).
"""

from dataclasses import dataclass

import dagster as dg

from twin_resources.models.retrieval.index import maintain_vector_index
from twin_resources.models.retrieval.retrieval import EMBEDDINGS_TABLE
from twin_resources.storage.state.failure_isolation import isolate_failure
from twin_resources.storage.state.lease import LeaseBusyError
from twin_resources.storage.tables.tables import CompactionResult, Tables


@dataclass(frozen=True)
class CompactionReport:
    """The results of one night for one author.

    Attributes:
        tables: number of tables checked.
        merged: number of fragments that were merged into fewer fragments, over all tables.
        bytes_removed: total size of the removed files of old versions.
        vector_index: `made`, `rebuilt` or `left`; empty if the author has no passages.
        busy: tables that an import has locked; the next night's run compacts them.
        failed: one line for each table that could not be opened or merged.
    """

    tables: int
    merged: int
    bytes_removed: int
    vector_index: str
    busy: tuple[str, ...]
    failed: tuple[str, ...] = ()


def compact_author(tables: Tables, author: str) -> CompactionReport:
    """Compact every table of an author, one after another."""
    names = tables.list_assets(author)
    results: list[CompactionResult] = []
    busy_tables: list[str] = []
    failures: list[str] = []
    vector_index = ""
    for name in names:
        with isolate_failure(f"{author}/{name}", failures.append):
            try:
                results.append(tables.compact(name, author))
                if name == EMBEDDINGS_TABLE:
                    vector_index = maintain_vector_index(tables, author)
            except LeaseBusyError:
                busy_tables.append(name)
    return CompactionReport(
        tables=len(names),
        merged=sum(table.merged for table in results),
        bytes_removed=sum(table.bytes_removed for table in results),
        vector_index=vector_index,
        busy=tuple(busy_tables),
        failed=tuple(failures),
    )


@dg.op
def tidy(context: dg.OpExecutionContext, tables: dg.ResourceParam[Tables]) -> None:
    """Compact the tables of all authors and log the results.

    Raises:
        Failure: some tables could not be compacted; all others were.
    """
    failures: list[str] = []
    for author in sorted(context.instance.get_dynamic_partitions("authors")):
        report = compact_author(tables, author)
        context.log.info(
            f"{author}: {report.tables} tables, {report.merged} fragments merged, "
            f"{report.bytes_removed:,} bytes removed, "
            f"vector index: {report.vector_index or 'none'}, "
            f"busy: {', '.join(report.busy) or 'none'}"
        )
        failures += report.failed
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
