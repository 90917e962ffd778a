"""Define the asset `cleaned_documents` and its checks.

Every imported post is either kept or dropped with a reason. The kept text is the author's own,
complete, unique and without personal data.

Scope: the asset and the checks. Out of scope: cleaning a post (`cleaning`), the intermediate tables
and the claims' checks (`cleaning_tables`).
"""

from collections.abc import Iterator

import dagster as dg

from twin_assets.corpus import cleaning, document_claims, reconciliation
from twin_assets.corpus.cleaning_tables import (
    CLEANED_TABLE,
    QUARANTINE_TABLE,
    check_stored_claims,
    compute_document_statistics,
    update_cleaned_documents,
)
from twin_assets.corpus.raw_posts import raw_posts
from twin_assets.partitions import authors
from twin_assets.table_assets import report_materialization, table_asset
from twin_resources.authors import read_author
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables


@table_asset(group_name="corpus", deps=[raw_posts], code_version=cleaning.CLEANING_VERSION)
def cleaned_documents(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
) -> dg.MaterializeResult:
    """Markdown text of every kept post, and one row with a reason for every dropped post."""
    author = read_author(settings, context.partition_key)
    run = update_cleaned_documents(tables, author)
    return report_materialization(
        run.cleaned_documents,
        {
            "bytes_written": run.bytes_written,
            "posts_cleaned": run.prepared_posts.computed_count,
            "posts_compared": run.near_duplicates.computed_count,
            "quarantined": run.quarantine.row_count,
            **compute_document_statistics(tables, author.slug),
        },
    )


@dg.asset_check(
    asset=cleaned_documents, additional_deps=[raw_posts], partitions_def=authors, blocking=True
)
def every_import_is_kept_or_explained(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """Check that each row of `raw_posts` has exactly one row: kept, or dropped with a reason."""
    author = context.partition_key
    columns = ["source_id", "kept", "dropped_because"]
    quarantined_posts = tables.read(QUARANTINE_TABLE, author, columns=["source_id"])
    counts = reconciliation.reconcile_posts(
        tables.read("raw_posts", author, columns=["source_id"]),
        tables.read(CLEANED_TABLE, author, columns=columns),
        quarantined_ids=quarantined_posts["source_id"],
    )
    return dg.AssetCheckResult(passed=reconciliation.is_balanced(counts), metadata=dict(counts))


@dg.multi_asset_check(
    name="claims_of_cleaned_documents",
    specs=[
        dg.AssetCheckSpec(
            name,
            asset=cleaned_documents,
            description=description,
            additional_deps=[raw_posts],
            partitions_def=authors,
            blocking=True,
        )
        for name, description in document_claims.CLAIMS.items()
    ],
)
def claims_of_cleaned_documents(
    context: dg.AssetCheckExecutionContext,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
) -> Iterator[dg.AssetCheckResult]:
    """Check the claims about the stored texts; a document is measured again only if it changes.

    A document that violates a claim is quarantined. The import continues without it, up to the
    share that `TWIN_MOST_QUARANTINED` allows.
    """
    author = read_author(settings, context.partition_key)
    claims = check_stored_claims(tables, author, most_quarantined=settings.most_quarantined)
    for name, claim in claims.items():
        yield dg.AssetCheckResult(
            check_name=name,
            passed=claim.holds,
            description=claim.message,
            metadata=dict(claim.counts),
        )
