"""Define the asset `instruction_dataset`: chat samples with the author's own answers.

Scope: the asset and the checks. Out of scope: building the samples (`dataset_building`).
"""

from collections.abc import Callable
from typing import Any

import dagster as dg

from twin_assets.corpus.raw_posts import raw_posts
from twin_assets.instructions import (
    coverage,
    dataset_building,
    dataset_claims,
    leakage,
    prompt_rendering,
    quoted_answers,
    stored_splits,
)
from twin_assets.instructions.teacher import load_teacher, teacher_block_reason
from twin_assets.knowledge.embeddings import embeddings
from twin_assets.partitions import authors
from twin_assets.table_assets import report_materialization, table_asset
from twin_resources.authors import Author, read_author
from twin_resources.authors.consent import external_use_instructions
from twin_resources.dagster_resources import RetrieverResource
from twin_resources.prompt.control_marks import load_home_marks
from twin_resources.settings import Settings
from twin_resources.storage.tables.rows_by_id import sql_in_filter
from twin_resources.storage.tables.tables import Tables


@table_asset(
    group_name="instructions", deps=[embeddings], code_version=dataset_building.DATASET_VERSION
)
def instruction_dataset(
    context: dg.AssetExecutionContext,
    retriever: RetrieverResource,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
) -> dg.MaterializeResult:
    """Questions generated for the author's own passages, rendered as the gateway renders them."""
    author = read_author(settings, context.partition_key)
    missing_teacher = _report_missing_teacher(settings, author, log=context.log.info)
    sync_result, teacher_result = dataset_building.update_dataset(
        tables,
        author,
        retriever=retriever.retriever(),
        teacher=load_teacher(settings, tables.state, author),
        marks=load_home_marks(settings),
        log=context.log.info,
    )
    teacher_metadata = {"teacher": dict(vars(teacher_result))} if teacher_result else {}
    metadata = teacher_metadata | _count_rows(tables, author.slug) | missing_teacher
    return report_materialization(sync_result, metadata)


def _report_missing_teacher(
    settings: Settings, author: Author, *, log: Callable[[str], object]
) -> dict[str, str]:
    """Log why templates write the questions, and return the reason as metadata.

    The result is empty if nothing prevents the use of a teacher.
    """
    reason = teacher_block_reason(settings, author)
    if not reason:
        return {}
    log(
        f"templates write the questions instead of {settings.teacher_model}: {reason}; "
        f"{external_use_instructions(author)}"
    )
    return {"teacher_not_asked": reason}


def _count_rows(tables: Tables, author: str) -> dict[str, Any]:
    """Return counts as metadata, without any text of a post."""
    columns = ["split", "instruction_source", "context_chunk_ids", "template"]
    rows = tables.read("instruction_dataset", author, columns=columns)
    return {
        "splits": dict(sorted(rows["split"].value_counts().iter_rows())),
        "instructions": dict(sorted(rows["instruction_source"].value_counts().iter_rows())),
        "without_context": int((rows["context_chunk_ids"].list.len() == 0).sum()),
        "template": sorted(rows["template"].unique().to_list()),
    }


@dg.asset_check(asset=instruction_dataset, partitions_def=authors, blocking=True)
def every_answer_is_the_authors(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """Each answer consists of whole paragraphs of its document, character by character."""
    author = context.partition_key
    columns = ["document_id", "start", "end", "answer", "messages"]
    errors = dataset_claims.check_verbatim(
        tables.read("instruction_dataset", author, columns=columns),
        tables.read("cleaned_documents", author, columns=["document_id", "text"], where="kept"),
    )
    return dg.AssetCheckResult(passed=errors.holds, metadata=dict(vars(errors)))


@dg.asset_check(
    asset=instruction_dataset, additional_deps=[raw_posts], partitions_def=authors, blocking=True
)
def no_answer_holds_quoted_text(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """No answer contains words that its post, as imported, quotes from someone else.

    Blocking: a model trained on quotations imitates someone else's voice.
    """
    result = quoted_answers.count_stored_quoted_answers(tables, context.partition_key)
    return dg.AssetCheckResult(passed=result.is_clean, metadata=dict(vars(result)))


@dg.asset_check(asset=instruction_dataset, partitions_def=authors, blocking=True)
def no_leakage_across_splits(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """No training sample is in, or nearly in, the held-out split, and no split was changed.

    Blocking: a gate that evaluates on training data passes any model.
    """
    author = context.partition_key
    columns = ["sample_id", "document_id", "split", "question", "answer", "messages"]
    leaks = leakage.measure_leaks(
        tables.read("instruction_dataset", author, columns=[*columns, "context_chunk_ids"]),
        tables.read("embeddings", author, columns=["chunk_id", "document_id"]),
    )
    split_comparison = stored_splits.compare_stored_splits(tables, author)
    if leaks.is_clean and split_comparison.is_unchanged:
        stored_splits.tag_sound_splits(tables, author)
    return dg.AssetCheckResult(
        passed=leaks.is_clean and split_comparison.is_unchanged,
        metadata={
            **vars(leaks),
            "split_not_drawn": split_comparison.not_drawn,
            "split_changed": split_comparison.changed,
            "versions_compared": split_comparison.versions,
        },
    )


@dg.asset_check(asset=instruction_dataset, partitions_def=authors, blocking=True)
def prompt_renders_fully(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """Every prompt contains its question and passages, and no unfilled placeholder.

    Blocking: a template bug affects every sample, and the loss does not show it.
    """
    author = context.partition_key
    columns = ["document_id", "question", "messages", "context_chunk_ids"]
    rows = tables.read("instruction_dataset", author, columns=columns)
    document_ids = prompt_rendering.find_documents_with_placeholders(
        rows.select("document_id", "question")
    )
    result = prompt_rendering.check_rendering(
        rows,
        tables.read("embeddings", author, columns=["chunk_id", "title", "text"]),
        tables.read(
            "cleaned_documents",
            author,
            columns=["document_id", "title", "text"],
            where=sql_in_filter("document_id", document_ids),
        ),
    )
    return dg.AssetCheckResult(passed=result.holds, metadata=dict(vars(result)))


@dg.asset_check(name="coverage", asset=instruction_dataset, partitions_def=authors, blocking=True)
def covers_every_document(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """Every kept document, even a short one, yields a sample, or there is a known reason for none.

    Blocking: if a document is missing without a reason, a bug has lost it and perhaps others.
    """
    author = context.partition_key
    columns = ["sample_id", "document_id", "split"]
    rows = tables.read("instruction_dataset", author, columns=columns)
    columns = ["document_id", "words"]
    documents = tables.read("cleaned_documents", author, columns=columns, where="kept")
    missing_filter = sql_in_filter(
        "document_id", coverage.find_documents_without_samples(rows, documents)
    )
    texts = tables.read(
        "cleaned_documents", author, columns=["document_id", "text"], where=missing_filter
    )
    drafts = tables.read("instruction_drafts", author, columns=["sample_id", "words"])
    result = coverage.measure_coverage(rows, drafts, documents, dict(texts.iter_rows()))
    return dg.AssetCheckResult(passed=result.is_complete, metadata=dict(vars(result)))


@dg.asset_check(asset=instruction_dataset, partitions_def=authors, blocking=True)
def every_sample_names_its_chunk(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """The chunk that a sample names belongs to its document and contains a part of its answer."""
    provenance = _check_provenance(tables, context.partition_key)
    return dg.AssetCheckResult(passed=provenance.are_chunks_valid, metadata=dict(vars(provenance)))


@dg.asset_check(asset=instruction_dataset, partitions_def=authors, blocking=True)
def no_context_gives_the_answer_away(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """No prompt shows a part of its answer, or a passage newer than the answer's post."""
    provenance = _check_provenance(tables, context.partition_key)
    return dg.AssetCheckResult(
        passed=provenance.are_contexts_valid, metadata=dict(vars(provenance))
    )


def _check_provenance(tables: Tables, author: str) -> dataset_claims.ProvenanceErrors:
    columns = ["chunk_id", "document_id", "start", "end", "published_at"]
    return dataset_claims.check_provenance(
        tables.read(
            "instruction_dataset", author, columns=["sample_id", *columns, "context_chunk_ids"]
        ),
        tables.read("embeddings", author, columns=columns),
    )
