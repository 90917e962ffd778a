"""Define the asset `instruction_dataset`: chat samples with the author's own answers.

Scope: the asset and the checks. Out of scope: how a sample is made (`building`).
"""

from collections.abc import Callable
from typing import Any

import dagster as dg

from twin_assets.corpus.raw_posts import raw_posts
from twin_assets.instructions import (
    building,
    coverage,
    dataset_claims,
    leakage,
    prompt_rendering,
    quoted_answers,
    relevance,
    stored_splits,
)
from twin_assets.instructions.general_set import read_general_set
from twin_assets.instructions.instruction_tables import OF_THE_AUTHOR
from twin_assets.instructions.teacher import teacher_of, why_not_taught
from twin_assets.knowledge.embeddings import embeddings
from twin_assets.partitions import authors
from twin_assets.table_assets import materialized, table_asset
from twin_resources.authors import Author, read_author
from twin_resources.authors.consent import how_to_let_leave
from twin_resources.dagster_resources import (
    EmbedderResource,
    RetrieverResource,
)
from twin_resources.prompt.control_marks import marks_of_home
from twin_resources.settings import Settings
from twin_resources.storage.tables.rows_by_id import is_one_of
from twin_resources.storage.tables.tables import Tables


@table_asset(group_name="instructions", deps=[embeddings], code_version=building.DATASET_VERSION)
def instruction_dataset(
    context: dg.AssetExecutionContext,
    retriever: RetrieverResource,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
) -> dg.MaterializeResult:
    """Questions generated for the author's own passages, rendered as the gateway renders them."""
    author = read_author(settings, context.partition_key)
    untaught = _untaught(settings, author, log=context.log.info)
    built = building.update_dataset(
        tables,
        author,
        retriever=retriever.retriever(),
        teacher=teacher_of(settings, tables.state, author),
        general=read_general_set(settings.general_set, settings) if settings.general_set else None,
        general_share=settings.general_share,
        marks=marks_of_home(settings),
        log=context.log.info,
    )
    return materialized(built.done, built.metadata() | _summary(tables, author.slug) | untaught)


def _untaught(
    settings: Settings, author: Author, *, log: Callable[[str], object]
) -> dict[str, str]:
    """Log why templates write the questions, and return the reason as metadata.

    The result is empty if nothing prevents the use of a teacher.
    """
    why = why_not_taught(settings, author)
    if not why:
        return {}
    log(
        f"templates write the questions, not {settings.teacher_model}: {why}; "
        f"{how_to_let_leave(author)}"
    )
    return {"teacher_not_asked": why}


def _summary(tables: Tables, author: str) -> dict[str, Any]:
    """Return counts as metadata, without any text of a post."""
    columns = ["split", "instruction_source", "context_chunk_ids", "template"]
    rows = tables.read("instruction_dataset", author, columns=columns, where=OF_THE_AUTHOR)
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
    problems = dataset_claims.verbatim(
        tables.read("instruction_dataset", author, columns=columns, where=OF_THE_AUTHOR),
        tables.read("cleaned_documents", author, columns=["document_id", "text"], where="kept"),
    )
    return dg.AssetCheckResult(passed=problems.hold, metadata=dict(vars(problems)))


@dg.asset_check(
    asset=instruction_dataset, additional_deps=[raw_posts], partitions_def=authors, blocking=True
)
def no_answer_holds_quoted_text(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """No answer contains words quoted in its post as imported.

    Blocking: a model that is trained on quotations imitates somebody else's voice.
    """
    found = quoted_answers.quoted_answers_of(tables, context.partition_key)
    return dg.AssetCheckResult(passed=found.none, metadata=dict(vars(found)))


@dg.asset_check(
    asset=instruction_dataset, additional_deps=[embeddings], partitions_def=authors, blocking=True
)
def prompts_mention_their_source(
    context: dg.AssetCheckExecutionContext,
    embedder: EmbedderResource,
    tables: dg.ResourceParam[Tables],
) -> dg.AssetCheckResult:
    """Questions share more words and meaning with their own chunks than with other posts.

    Blocking: a model that is trained on randomly assigned questions learns to ignore them. If too
    few documents have questions for a verdict, the check fails as a warning, which blocks nothing.
    """
    measured = relevance.relevance_of(tables, context.partition_key, embedder=embedder.embedder())
    return dg.AssetCheckResult(
        passed=measured.holds,
        severity=dg.AssetCheckSeverity.ERROR if measured.decided else dg.AssetCheckSeverity.WARN,
        metadata=measured.metadata(),
    )


@dg.asset_check(asset=instruction_dataset, partitions_def=authors, blocking=True)
def no_leakage_across_splits(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """No training sample is in, or nearly in, the held-out split, and no split was changed.

    Blocking: a gate that measures on training data passes any model.
    """
    author = context.partition_key
    columns = ["sample_id", "document_id", "split", "question", "answer", "messages"]
    leaks = leakage.leaks_of(
        tables.read("instruction_dataset", author, columns=[*columns, "context_chunk_ids"]),
        tables.read("document_chunks", author, columns=["chunk_id", "document_id"]),
    )
    stored = stored_splits.splits_of(tables, author)
    if leaks.none and stored.kept:
        stored_splits.hold_splits(tables, author)
    return dg.AssetCheckResult(
        passed=leaks.none and stored.kept,
        metadata={
            **vars(leaks),
            "split_not_drawn": stored.not_drawn,
            "split_changed": stored.changed,
            "versions_compared": stored.versions,
        },
    )


@dg.asset_check(asset=instruction_dataset, partitions_def=authors, blocking=True)
def prompt_renders_fully(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """Every prompt contains its question and passages, and no unfilled part of a template.

    Blocking: one template bug is in every sample, and no loss shows it.
    """
    author = context.partition_key
    columns = ["document_id", "question", "messages", "context_chunk_ids"]
    rows = tables.read("instruction_dataset", author, columns=columns, where=OF_THE_AUTHOR)
    asking = prompt_rendering.asks_openly(rows.select("document_id", "question"))
    rendered = prompt_rendering.rendering(
        rows,
        tables.read("document_chunks", author, columns=["chunk_id", "title", "text"]),
        tables.read(
            "cleaned_documents",
            author,
            columns=["document_id", "title", "text"],
            where=is_one_of("document_id", asking),
        ),
    )
    return dg.AssetCheckResult(passed=rendered.full, metadata=dict(vars(rendered)))


@dg.asset_check(name="coverage", asset=instruction_dataset, partitions_def=authors, blocking=True)
def covers_every_document(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """Every kept document, even a short one, yields a sample or has a reason for having none.

    Blocking: a document that is missing without a reason was lost by a bug, perhaps with others.
    """
    author = context.partition_key
    columns = ["sample_id", "document_id", "split"]
    rows = tables.read("instruction_dataset", author, columns=columns, where=OF_THE_AUTHOR)
    columns = ["document_id", "words"]
    documents = tables.read("cleaned_documents", author, columns=columns, where="kept")
    missing = is_one_of("document_id", coverage.without_samples(rows, documents))
    texts = tables.read("cleaned_documents", author, columns=["document_id", "text"], where=missing)
    drafts = tables.read("instruction_drafts", author, columns=["sample_id", "words"])
    covered = coverage.coverage(rows, drafts, documents, dict(texts.iter_rows()))
    return dg.AssetCheckResult(passed=covered.whole, metadata=covered.metadata())


@dg.asset_check(asset=instruction_dataset, partitions_def=authors, blocking=True)
def general_share_is_as_set(
    context: dg.AssetCheckExecutionContext,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
) -> dg.AssetCheckResult:
    """A general instruction set makes up the share of training samples that the settings ask for.

    Blocking: text that is not the author's and that nobody asked for would pass as the author's. If
    the set is too small for its share, the check fails as a warning.
    """
    columns = ["split", "document_id", "instruction_source", "answer", "messages"]
    rows = tables.read("instruction_dataset", context.partition_key, columns=columns)
    share = settings.general_share if settings.general_set else 0.0
    share_found = dataset_claims.mix(rows, share=share)
    return dg.AssetCheckResult(
        passed=share_found.sound and share_found.enough,
        severity=dg.AssetCheckSeverity.WARN if share_found.sound else dg.AssetCheckSeverity.ERROR,
        metadata={**vars(share_found), "asked_share": share},
    )


@dg.asset_check(asset=instruction_dataset, partitions_def=authors, blocking=True)
def every_sample_names_its_chunk(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """The chunk that a sample names belongs to its document and contains a part of its answer."""
    provenance = _provenance(tables, context.partition_key)
    return dg.AssetCheckResult(passed=provenance.chunk_named, metadata=dict(vars(provenance)))


@dg.asset_check(asset=instruction_dataset, partitions_def=authors, blocking=True)
def no_context_gives_the_answer_away(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """No prompt shows a part of its own answer, or a passage newer than the answer's post."""
    provenance = _provenance(tables, context.partition_key)
    return dg.AssetCheckResult(passed=provenance.context_fair, metadata=dict(vars(provenance)))


def _provenance(tables: Tables, author: str) -> dataset_claims.Provenance:
    columns = ["chunk_id", "document_id", "start", "end", "published_at"]
    return dataset_claims.provenance(
        tables.read(
            "instruction_dataset",
            author,
            columns=["sample_id", *columns, "context_chunk_ids"],
            where=OF_THE_AUTHOR,
        ),
        tables.read("document_chunks", author, columns=columns),
    )
