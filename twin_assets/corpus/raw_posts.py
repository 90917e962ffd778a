"""Define the asset `raw_posts`: every imported post from an author's sources, one row per post.

Scope: the asset. Out of scope: reading files (`raw_posts_import`, `importers`), cleaning.
"""

import dagster as dg

from twin_assets.corpus import raw_posts_import
from twin_assets.corpus.preview_tables import find_preview_tables
from twin_assets.partitions import authors
from twin_assets.table_assets import report_materialization, table_asset
from twin_resources.authors import read_author
from twin_resources.processes.progress_lines import log_stages
from twin_resources.settings import Settings
from twin_resources.storage.sources.listing import SOURCES_FINGERPRINT_KEY, fingerprint_sources
from twin_resources.storage.tables.tables import Tables


@table_asset(
    group_name="corpus",
    code_version=raw_posts_import.IMPORT_VERSION,
    check_specs=[
        dg.AssetCheckSpec(
            "every_source_was_read",
            asset="raw_posts",
            description="Every feed answered. If a feed does not answer, its posts stay unchanged.",
            partitions_def=authors,
        )
    ],
)
def raw_posts(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
) -> dg.MaterializeResult:
    """Every imported post. An edited file replaces its row; a deleted file leaves a tombstone."""
    author = read_author(settings, context.partition_key)
    # Take the fingerprint before reading, so a source that changes meanwhile is read again.
    sources_fingerprint = fingerprint_sources(author.sources)
    import_result = raw_posts_import.update_raw_posts(
        tables,
        author,
        earlier=tables,
        finished=find_preview_tables(context.run.tags, tables.state),
        on_progress=log_stages(context.log.info),
    )
    for failure in import_result.failures:
        context.log.warning(failure)
    check = dg.AssetCheckResult(
        check_name="every_source_was_read",
        passed=not import_result.failures,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"sources": len(author.sources), "not_read": import_result.failures},
    )
    columns = ["deleted", "encoding", "remark"]
    posts = tables.read("raw_posts", author.slug, columns=columns)
    metadata = {
        **raw_posts_import.build_import_metadata(import_result, posts),
        SOURCES_FINGERPRINT_KEY: sources_fingerprint,
    }
    return report_materialization(import_result.sync_result, metadata, check_results=[check])
