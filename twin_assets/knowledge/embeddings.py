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
from twin_resources.storage.tables.rows_by_id import read_by_id
from twin_resources.storage.tables.tables import BATCH_ROWS, Tables


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
    """Each passage has a unit vector from the embedder that also embeds questions.

    A vector is checked only if it is new or the embedder has changed.
    """
    revision = find_prepared_embedder(settings)[1].revision
    unverified_rows = tables.unverified_rows(
        EMBEDDINGS_TABLE,
        context.partition_key,
        claim="every_passage_is_searchable",
        version=revision,
    )
    counts = passages.count_unusable_vectors(
        unverified_rows.read_batches(["embedder", "vector"], batch_size=BATCH_ROWS),
        revision=revision,
    )
    if not any(counts.values()):
        unverified_rows.mark_verified()
    return dg.AssetCheckResult(
        passed=not any(counts.values()),
        metadata={"passages": unverified_rows.row_count, **counts},
    )


@dg.asset_check(
    asset=embeddings, additional_deps=[cleaned_documents], partitions_def=authors, blocking=True
)
def passages_are_verbatim(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """The passages of each kept post are its text, character by character, and leave nothing out.

    A post is compared again only if one of its passages is new.
    """
    author = context.partition_key
    unverified_rows = tables.unverified_rows(
        EMBEDDINGS_TABLE,
        author,
        claim="passages_are_verbatim",
        version=passages.PASSAGES_VERSION,
    )
    counts = {"not_verbatim": 0, "incomplete_posts": 0}
    for batch in unverified_rows.read_batches(["document_id"], batch_size=BATCH_ROWS):
        ids = batch["document_id"].unique()
        columns = ["document_id", "text", "kept"]
        posts = read_by_id(tables, "cleaned_documents", author, "document_id", ids, columns)
        rows = read_by_id(
            tables, EMBEDDINGS_TABLE, author, "document_id", ids,
            ["document_id", "start", "end", "text"],
        )  # fmt: skip
        for name, count in passages.count_misquoted(rows, posts.filter("kept")).items():
            counts[name] += count
    kept = tables.read("cleaned_documents", author, columns=["document_id"], where="kept")
    split = tables.read(EMBEDDINGS_TABLE, author, columns=["document_id"]).unique()
    counts["posts_without_passages"] = kept.join(split, on="document_id", how="anti").height
    counts["passages_without_post"] = split.join(kept, on="document_id", how="anti").height
    if not any(counts.values()):
        unverified_rows.mark_verified()
    return dg.AssetCheckResult(
        passed=not any(counts.values()),
        metadata={"passages": unverified_rows.row_count, **counts},
    )
