"""The asset `cleaned_documents`: every imported post, kept or dropped with a reason; its checks."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from twin_assets.corpus import cleaning, document_claims, reconciliation
from twin_assets.corpus.boilerplate import count_removed_lines
from twin_assets.corpus.corpus_tables import QUARANTINED
from twin_assets.corpus.preview_tables import find_preview_tables
from twin_assets.corpus.raw_posts import raw_posts
from twin_assets.partitions import authors
from twin_assets.table_assets import report_materialization, table_asset
from twin_resources.authors import read_author
from twin_resources.processes.progress_lines import log_stages
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
    result = cleaning.update_cleaned_documents(
        tables,
        author,
        finished=find_preview_tables(context.run.tags, tables.state),
        on_progress=log_stages(context.log.info),
    )
    columns = ["language", "words", "kept", "dropped_because", "personal"]
    documents = tables.read(cleaning.CLEANED_TABLE, author.slug, columns=columns)
    shortened = tables.read(
        cleaning.CLEANED_TABLE,
        author.slug,
        columns=["body", "text"],
        where="kept AND body IS NOT NULL",
    )
    repeated = count_removed_lines(shortened)
    del repeated["lines"]  # texts do not belong into the event log
    statistics = summarize_documents(documents) | {"repeated": repeated}
    return report_materialization(result, statistics)


def summarize_documents(documents: pl.DataFrame) -> dict[str, Any]:
    """Return statistics about the stored documents, without any text, for the event log."""
    kept = documents.filter("kept")
    quarantined = pl.col("dropped_because").str.starts_with(QUARANTINED)
    personal = documents.select("personal").explode("personal", empty_as_null=True).drop_nulls()
    counts = personal.unnest("personal").group_by("kind").agg(pl.col("count").sum())
    return {
        "kept": kept.height,
        "words": int(kept["words"].sum()),
        "quarantined": documents.filter(quarantined).height,
        "dropped": reconciliation.count_dropped_by_reason(documents),
        "languages": reconciliation.count_values(kept["language"]),
        "replaced": reconciliation.sum_counts(dict(counts.iter_rows())),
    }


@dg.asset_check(
    asset=cleaned_documents, additional_deps=[raw_posts], partitions_def=authors, blocking=True
)
def every_import_is_kept_or_explained(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """Check that each row of `raw_posts` has exactly one row: kept, or dropped with a reason."""
    author = context.partition_key
    counts = reconciliation.reconcile_posts(
        tables.read("raw_posts", author, columns=["source_id"]),
        tables.read(
            cleaning.CLEANED_TABLE, author, columns=["source_id", "kept", "dropped_because"]
        ),
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
    """Check the claims about the stored texts, by the measures that their rows have.

    A document that violates a claim is quarantined. The import continues without it, up to the
    share that `TWIN_MOST_QUARANTINED` allows.
    """
    author = read_author(settings, context.partition_key)
    columns = ["document_id", "source", "byline", "kept", "dropped_because"]
    claims = document_claims.check_stored_claims(
        tables.read(
            cleaning.CLEANED_TABLE, author.slug, columns=[*columns, *document_claims.MEASURES]
        ),
        cleaning.list_author_names(author),
        most_quarantined=settings.most_quarantined,
    )
    for name, claim in claims.items():
        yield dg.AssetCheckResult(
            check_name=name,
            passed=claim.holds,
            description=claim.message,
            metadata=dict(claim.counts),
        )
