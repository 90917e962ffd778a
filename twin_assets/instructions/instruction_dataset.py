"""The asset `instruction_dataset` and its checks: chat samples whose answers are the author's own.

Belongs here: the asset and the checks. Does not belong here: how a sample is made (`building`).
"""

from typing import Any

import dagster as dg
import polars as pl

from twin_assets.instructions import building, claims, leakage
from twin_assets.knowledge.embeddings import embeddings
from twin_assets.partitions import authors
from twin_resources.dagster_resources import RetrieverResource, SettingsResource, TablesResource


@dg.asset(
    deps=[embeddings],
    partitions_def=authors,
    group_name="instructions",
    io_manager_key="tables_io",
    kinds={"lance"},
    code_version=building.DATASET_VERSION,
)
def instruction_dataset(
    context: dg.AssetExecutionContext,
    retriever: RetrieverResource,
    settings: SettingsResource,
    tables: TablesResource,
) -> dg.MaterializeResult:
    """Questions made up for the author's own passages, rendered as the gateway renders them."""
    author, store = settings.author(context.partition_key), tables.tables()
    done = building.update_dataset(
        store,
        author,
        retriever=retriever.retriever(),
        teacher_model=settings.settings().teacher_model,
    )
    rows = store.read(
        "instruction_dataset",
        author.slug,
        columns=["split", "instruction_source", "context_chunk_ids", "template"],
    )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(done.data_version),
        metadata={**done.metadata(), **_summary(rows)},
    )


def _summary(rows: pl.DataFrame) -> dict[str, Any]:
    """Counts for a person; no text of a post."""
    return {
        "splits": dict(sorted(rows["split"].value_counts().iter_rows())),
        "instructions": dict(sorted(rows["instruction_source"].value_counts().iter_rows())),
        "without_context": int((rows["context_chunk_ids"].list.len() == 0).sum()),
        "template": sorted(rows["template"].unique().to_list()),
    }


@dg.asset_check(asset=instruction_dataset, partitions_def=authors, blocking=True)
def every_answer_is_verbatim(
    context: dg.AssetCheckExecutionContext, tables: TablesResource
) -> dg.AssetCheckResult:
    """Each answer is whole paragraphs of its document, character by character."""
    author, store = context.partition_key, tables.tables()
    columns = ["document_id", "start", "end", "answer", "messages"]
    found = claims.verbatim(
        store.read("instruction_dataset", author, columns=columns),
        store.read("cleaned_documents", author, columns=["document_id", "text"], where="kept"),
    )
    return dg.AssetCheckResult(passed=found.hold, metadata=dict(vars(found)))


@dg.asset_check(asset=instruction_dataset, partitions_def=authors, blocking=True)
def no_leakage_across_splits(
    context: dg.AssetCheckExecutionContext, tables: TablesResource
) -> dg.AssetCheckResult:
    """No prompt, question or document of the training split is (nearly) in the held-out one."""
    author, store = context.partition_key, tables.tables()
    columns = ["sample_id", "document_id", "split", "question", "messages", "context_chunk_ids"]
    found = leakage.leaks_of(
        store.read("instruction_dataset", author, columns=columns),
        store.read("document_chunks", author, columns=["chunk_id", "document_id"]),
    )
    return dg.AssetCheckResult(passed=found.none, metadata=dict(vars(found)))


@dg.asset_check(asset=instruction_dataset, partitions_def=authors, blocking=True)
def every_sample_names_its_chunk(
    context: dg.AssetCheckExecutionContext, tables: TablesResource
) -> dg.AssetCheckResult:
    """The chunk that a sample names is its document's and holds a part of its answer."""
    found = _provenance(tables, context.partition_key)
    return dg.AssetCheckResult(passed=found.chunk_named, metadata=dict(vars(found)))


@dg.asset_check(asset=instruction_dataset, partitions_def=authors, blocking=True)
def no_context_gives_the_answer_away(
    context: dg.AssetCheckExecutionContext, tables: TablesResource
) -> dg.AssetCheckResult:
    """No prompt shows a part of its own answer, or a passage newer than the answer's post."""
    found = _provenance(tables, context.partition_key)
    return dg.AssetCheckResult(passed=found.context_fair, metadata=dict(vars(found)))


def _provenance(tables: TablesResource, author: str) -> claims.Provenance:
    store = tables.tables()
    columns = ["chunk_id", "document_id", "start", "end", "published_at"]
    return claims.provenance(
        store.read(
            "instruction_dataset",
            author,
            columns=["sample_id", *columns, "context_chunk_ids"],
        ),
        store.read("document_chunks", author, columns=columns),
    )
