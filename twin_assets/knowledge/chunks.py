"""Define the asset `document_chunks` and the check of its chunks' lengths.

Scope: the asset and the check. Out of scope: choosing the cuts (`chunking`), embedding.
"""

import dagster as dg

from twin_assets.corpus.cleaned_documents import cleaned_documents
from twin_assets.knowledge import chunking
from twin_assets.partitions import authors
from twin_assets.table_assets import report_materialization, table_asset
from twin_resources.models.embedder.embedder import load_tokenizer
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import BATCH_ROWS, Tables, Upstream


@table_asset(
    group_name="knowledge", deps=[cleaned_documents], code_version=chunking.CHUNKING_VERSION
)
def document_chunks(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
) -> dg.MaterializeResult:
    """Chunks of at most 128 tokens, as the embedder's tokenizer counts, with their offsets."""
    author = context.partition_key
    tokenizer = chunking.limit_to_chunk_tokens(load_tokenizer(settings))
    sync_result = tables.sync(
        Upstream("cleaned_documents", author, columns=chunking.DOCUMENT_COLUMNS),
        "document_chunks",
        author=author,
        key="document_id",
        function=lambda documents: chunking.chunk_documents(documents, tokenizer),
        # a different embedder counts tokens differently, so the cuts differ
        version=f"{chunking.CHUNKING_VERSION}:{tokenizer.revision}:{tokenizer.token_limit}",
        schema=chunking.chunk_columns(),
        row_key="chunk_id",
    )
    return report_materialization(sync_result, {"token_limit": tokenizer.token_limit})


@dg.asset_check(asset=document_chunks, partitions_def=authors, blocking=True)
def no_chunk_is_truncated(
    context: dg.AssetCheckExecutionContext,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
) -> dg.AssetCheckResult:
    """No chunk, including its title, exceeds the token limit when the tokenizer recounts it.

    The limit is at most the embedder's. A chunk is recounted only if it is new or the tokenizer has
    changed.
    """
    tokenizer = chunking.limit_to_chunk_tokens(load_tokenizer(settings))
    new_rows = tables.unverified_rows(
        "document_chunks",
        context.partition_key,
        claim="no_chunk_is_truncated",
        # the chunker's version determines the counted text (title and text since version 3)
        version=f"{chunking.CHUNKING_VERSION}:{tokenizer.revision}:{tokenizer.token_limit}",
    )
    columns = ["heading", "text", "token_count"]
    lengths = chunking.measure_chunk_lengths(
        new_rows.read_batches(columns, batch_size=BATCH_ROWS), tokenizer
    )
    passed = lengths["too_long"] == 0 and lengths["miscounted"] == 0
    if passed:
        new_rows.mark_verified()
    return dg.AssetCheckResult(
        passed=passed,
        metadata={"chunks": new_rows.row_count, "token_limit": tokenizer.token_limit, **lengths},
    )
