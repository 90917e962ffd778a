"""Define the asset `embeddings` and the check that its chunks can be found.

Scope: the asset and the check. Out of scope: embedding (`embedding`), searching.
"""

import dagster as dg

from twin_assets.knowledge import embedding
from twin_assets.knowledge.chunks import document_chunks
from twin_assets.partitions import authors
from twin_assets.table_assets import report_materialization, table_asset
from twin_resources.authors import read_author
from twin_resources.dagster_resources import EmbedderResource
from twin_resources.models.embedder.embedder import find_prepared_embedder
from twin_resources.models.retrieval.index import update_indexes
from twin_resources.processes.progress_lines import SyncProgressLogger
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import BATCH_ROWS, Tables


@table_asset(
    group_name="knowledge", deps=[document_chunks], code_version=embedding.EMBEDDING_VERSION
)
def embeddings(
    context: dg.AssetExecutionContext,
    embedder: EmbedderResource,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
) -> dg.MaterializeResult:
    """Vectors and text of all chunks, in one table per author, with a full-text index."""
    author, model = context.partition_key, embedder.embedder()
    progress = SyncProgressLogger(context.log.info, "embedding chunks")
    sync_result = embedding.update_embeddings(tables, author, model, progress=progress)
    indexes: tuple[str, ...] = ()
    if sync_result.row_count:
        language = _find_author_language(settings, tables, author)
        indexes = update_indexes(tables, author, language=language)
    return report_materialization(
        sync_result, {"embedder": model.revision, "indexes": list(indexes)}
    )


def _find_author_language(settings: Settings, tables: Tables, author: str) -> str:
    """Return the author's declared language, else the most frequent one in kept posts, or ""."""
    if declared_language := read_author(settings, author).language:
        return declared_language
    languages = tables.read("cleaned_documents", author, columns=["language"], where="kept")
    language_counts = languages["language"].value_counts(sort=True)
    return str(language_counts["language"][0]) if language_counts.height else ""


@dg.asset_check(
    asset=embeddings, additional_deps=[document_chunks], partitions_def=authors, blocking=True
)
def every_chunk_is_searchable(
    context: dg.AssetCheckExecutionContext,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
) -> dg.AssetCheckResult:
    """Each chunk has one row, with a unit vector from the embedder that also embeds questions.

    A vector is checked only if it is new or the embedder has changed.
    """
    author = context.partition_key
    revision = find_prepared_embedder(settings)[1].revision
    unverified_rows = tables.unverified_rows(
        "embeddings", author, claim="every_chunk_is_searchable", version=revision
    )
    vectors = embedding.count_unusable_vectors(
        unverified_rows.read_batches(["embedder", "vector"], batch_size=BATCH_ROWS),
        revision=revision,
    )
    if not any(vectors.values()):
        unverified_rows.mark_verified()
    counts = vectors | embedding.count_unmatched(
        tables.read("embeddings", author, columns=["chunk_id"])["chunk_id"],
        tables.read("document_chunks", author, columns=["chunk_id"])["chunk_id"],
    )
    return dg.AssetCheckResult(passed=not any(counts.values()), metadata=dict(counts))
