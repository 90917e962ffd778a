"""Define the asset `raw_posts`: every post of an author's sources as imported, one row per post.

Scope: the asset. Out of scope: reading files (`importing`, `importers`), cleaning.
"""

import dagster as dg

from twin_assets.corpus import imported_sources, importing
from twin_assets.partitions import authors
from twin_assets.table_assets import materialized, table_asset
from twin_resources.authors import read_author
from twin_resources.settings import Settings
from twin_resources.storage.sources.listing import SOURCES_MARK, mark_of_sources
from twin_resources.storage.tables.tables import Tables


@table_asset(
    group_name="corpus",
    code_version=importing.IMPORT_VERSION,
    check_specs=[
        dg.AssetCheckSpec(
            "every_source_was_read",
            asset="raw_posts",
            description="Every feed answered; the posts of one that did not stay as they were.",
            partitions_def=authors,
        )
    ],
)
def raw_posts(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
) -> dg.MaterializeResult:
    """Every post as imported; an edited file replaces its row, a deleted one leaves a tombstone."""
    author = read_author(settings, context.partition_key)
    # The mark precedes reading: a source that changes meanwhile has another mark and is read again.
    mark = mark_of_sources(author.sources)
    done = imported_sources.update_raw_posts(tables, author)
    for line in done.failed:
        context.log.warning(line)
    check = dg.AssetCheckResult(
        check_name="every_source_was_read",
        passed=not done.failed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"sources": len(author.sources), "not_read": done.failed},
    )
    told = {**done.told, SOURCES_MARK: mark}
    return materialized(done.posts, told, check_results=[check])
