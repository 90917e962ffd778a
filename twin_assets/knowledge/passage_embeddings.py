"""Define the asset `passage_embeddings` and the check that its quotations are verbatim.

Scope: the asset and the check. Out of scope: cutting (`quotable_rows`), quoting
(`twin_resources/models/quotes`).
"""

import dagster as dg
import polars as pl

from twin_assets.corpus.cleaned_documents import cleaned_documents
from twin_assets.knowledge import quotable_rows
from twin_assets.partitions import authors
from twin_assets.table_assets import report_materialization, table_asset
from twin_resources.dagster_resources import EmbedderResource
from twin_resources.models.quotes.passages import PASSAGES_VERSION
from twin_resources.models.quotes.quoter import PASSAGES_TABLE, update_index
from twin_resources.processes.progress_lines import SyncProgressLogger
from twin_resources.storage.tables.rows_by_id import read_by_id
from twin_resources.storage.tables.tables import Tables

MAX_ROWS_PER_BATCH = 50_000  # 25 MB of passages per scan of the documents' texts


@table_asset(group_name="knowledge", deps=[cleaned_documents], code_version=PASSAGES_VERSION)
def passage_embeddings(
    context: dg.AssetExecutionContext, embedder: EmbedderResource, tables: dg.ResourceParam[Tables]
) -> dg.MaterializeResult:
    """Quotable paragraphs of at most 120 words, with passage vectors and token vectors."""
    author, model = context.partition_key, embedder.embedder()
    progress = SyncProgressLogger(context.log.info, "embedding paragraphs")
    sync_result = quotable_rows.update_passages(tables, author, model, progress=progress)
    if sync_result.row_count:
        update_index(tables, author)
    return report_materialization(sync_result, {"embedder": model.revision})


@dg.asset_check(
    asset=passage_embeddings,
    additional_deps=[cleaned_documents],
    partitions_def=authors,
    blocking=True,
)
def quotations_are_verbatim(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """Each passage matches its part of the kept post character by character.

    A passage is checked once, when it is new.
    """
    author = context.partition_key
    claim = "quotations_are_verbatim"
    unverified_rows = tables.unverified_rows(
        PASSAGES_TABLE, author, claim=claim, version=PASSAGES_VERSION
    )
    columns = ["document_id", "start", "end", "text"]
    misquoted_count = sum(
        quotable_rows.count_misquoted(batch, _read_kept_texts(tables, author, batch["document_id"]))
        for batch in unverified_rows.read_batches(columns, batch_size=MAX_ROWS_PER_BATCH)
        if batch.height
    )
    if not misquoted_count:
        unverified_rows.mark_verified()
    return dg.AssetCheckResult(
        passed=misquoted_count == 0,
        metadata={"passages": unverified_rows.row_count, "not_verbatim": misquoted_count},
    )


def _read_kept_texts(tables: Tables, author: str, documents: pl.Series) -> pl.DataFrame:
    """Return `document_id` and `text` of the kept documents among these."""
    ids, columns = documents.unique(), ["document_id", "text", "kept"]
    rows = read_by_id(tables, "cleaned_documents", author, "document_id", ids, columns)
    return rows.filter("kept")
