"""The asset `cleaned_documents` and its check: every imported post is kept or dropped, none is
lost.

Belongs here: the asset and the check. Does not belong here: how a post is cleaned (`cleaning`).
"""

import dagster as dg
import polars as pl

from twin_assets.corpus import cleaning
from twin_assets.corpus.raw_posts import raw_posts
from twin_assets.corpus.schema import CleanedDocuments, columns_of
from twin_assets.partitions import authors
from twin_resources.dagster_resources import TablesResource
from twin_resources.tables.tables import Upstream


@dg.asset(
    deps=[raw_posts],
    partitions_def=authors,
    group_name="corpus",
    io_manager_key="tables_io",
    kinds={"lance"},
    code_version=cleaning.CLEANING_VERSION,
)
def cleaned_documents(
    context: dg.AssetExecutionContext, tables: TablesResource
) -> dg.MaterializeResult:
    """Markdown text of every kept post; every dropped post is a row with its reason."""
    author, store = context.partition_key, tables.tables()
    done = store.rework(
        Upstream("raw_posts", author, columns=cleaning.RAW_COLUMNS),
        "cleaned_documents",
        author=author,
        key="source_id",
        function=cleaning.clean_posts,
        version=cleaning.CLEANING_VERSION,
        schema=columns_of(CleanedDocuments),
        row_key="document_id",
        group="content_hash",  # an exact duplicate is decided over all posts with the same body
    )
    verdicts = store.read("cleaned_documents", author, columns=["dropped_because", "words"])
    return dg.MaterializeResult(
        data_version=dg.DataVersion(done.data_version),
        metadata={
            **done.metadata(),
            "kept": int((verdicts["dropped_because"] == "").sum()),
            "words": int(verdicts.filter(pl.col("dropped_because") == "")["words"].sum()),
            "dropped": cleaning.dropped_by_reason(verdicts),
        },
    )


@dg.asset_check(
    asset=cleaned_documents, additional_deps=[raw_posts], partitions_def=authors, blocking=True
)
def kept_plus_dropped_is_imported(
    context: dg.AssetCheckExecutionContext, tables: TablesResource
) -> dg.AssetCheckResult:
    """Each row of `raw_posts` is exactly one row here: kept, or dropped with a reason."""
    author, store = context.partition_key, tables.tables()
    columns = ["source_id", "kept", "dropped_because"]
    claims = cleaning.account_for(
        store.read("raw_posts", author, columns=["source_id"]),
        store.read("cleaned_documents", author, columns=columns),
    )
    return dg.AssetCheckResult(
        passed=claims.balanced,
        metadata={
            "imported": claims.imported,
            "kept": claims.kept,
            "dropped": claims.dropped,
            "missing": claims.missing,
            "unknown": claims.unknown,
            "twice": claims.twice,
            "without_reason": claims.without_reason,
        },
    )
