"""The asset `embeddings`, which holds an author's passages, and its two checks."""

import dagster as dg

from twin_assets.corpus.cleaned_documents import cleaned_documents
from twin_assets.knowledge import passages
from twin_assets.partitions import authors
from twin_assets.table_assets import report_materialization, table_asset
from twin_resources.authors import read_author
from twin_resources.dagster_resources import EmbedderResource
from twin_resources.models.embedder.embedder import find_prepared_embedder
from twin_resources.models.retrieval.index import update_indexes
from twin_resources.models.retrieval.retrieval import EMBEDDINGS_TABLE
from twin_resources.processes.progress_lines import SyncProgressLogger
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables


@table_asset(
    group_name="knowledge", deps=[cleaned_documents], code_version=passages.PASSAGES_VERSION
)
def embeddings(
    context: dg.AssetExecutionContext,
    embedder: EmbedderResource,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
) -> dg.MaterializeResult:
    """Passages of at most 1,000 characters with their vectors, and a full-text index of them."""
    author, model = context.partition_key, embedder.embedder()
    progress = SyncProgressLogger(context.log.info, "embedding passages")
    sync_result = passages.update_embeddings(tables, author, model, progress=progress)
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


@dg.asset_check(asset=embeddings, partitions_def=authors, blocking=True)
def every_passage_is_searchable(
    context: dg.AssetCheckExecutionContext,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
) -> dg.AssetCheckResult:
    """Each passage has a unit vector from the embedder that also embeds questions."""
    revision = find_prepared_embedder(settings)[1].revision
    vectors = tables.read(EMBEDDINGS_TABLE, context.partition_key, columns=["embedder", "vector"])
    counts = passages.count_unusable_vectors(vectors, revision=revision)
    return dg.AssetCheckResult(
        passed=not any(counts.values()),
        metadata={"passages": vectors.height, **counts},
    )


@dg.asset_check(
    asset=embeddings, additional_deps=[cleaned_documents], partitions_def=authors, blocking=True
)
def passages_are_verbatim(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """The passages of each kept post are its text, character by character, and all of it."""
    author = context.partition_key
    kept = tables.read("cleaned_documents", author, columns=["document_id", "text"], where="kept")
    rows = tables.read(EMBEDDINGS_TABLE, author, columns=["document_id", "start", "end", "text"])
    counts = passages.count_misquoted(rows, kept)
    counts["posts_without_passages"] = kept.join(rows, on="document_id", how="anti").height
    counts["passages_without_post"] = rows.join(kept, on="document_id", how="anti").height
    return dg.AssetCheckResult(
        passed=not any(counts.values()), metadata={"passages": rows.height, **counts}
    )
