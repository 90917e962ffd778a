"""Define the asset `preference_dataset`: pairs of answers in which the author's is chosen.

Scope: the asset and the checks. Out of scope: how a pair is made (`preference_building`), training
on it (`training/checkpoints.py`).
"""

from typing import Any

import dagster as dg
import polars as pl

from twin_assets.instructions import preference_building as building
from twin_assets.instructions import preference_claims as claims
from twin_assets.instructions.answering import answering_of
from twin_assets.partitions import authors
from twin_assets.table_assets import materialized, table_asset
from twin_resources.authors import read_author
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables


@table_asset(
    group_name="instructions",
    deps=[building.SAMPLES, building.TRACES],
    code_version=building.PREFERENCE_VERSION,
)
def preference_dataset(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
    registry: dg.ResourceParam[Registry],
    model_server: dg.ResourceParam[ModelServers],
) -> dg.MaterializeResult:
    """The author's edits and own text, each paired with an answer of the model.

    No answer is requested without a stable version, or without new data since its training.
    """
    author = read_author(settings, context.partition_key)
    answering = answering_of(
        author, settings=settings, tables=tables, registry=registry, servers=model_server
    )
    made = building.update_preferences(tables, author, answering=answering, log=context.log.info)
    return materialized(
        made.done,
        {
            "sources": dict(made.sources),
            "left_out": dict(made.left_out),
            "answers_asked": made.asked,
        },
    )


@dg.asset_check(asset=preference_dataset, partitions_def=authors, blocking=True)
def every_chosen_answer_is_the_authors(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """Each chosen answer is verbatim in its document, or an edit by a key of role author."""
    author = context.partition_key
    columns = ["source", "trace_id", "document_id", "start", "end", "chosen"]
    claim = claims.chosen_by_the_author(
        tables.read(building.DATASET, author, columns=columns),
        tables.read("cleaned_documents", author, columns=["document_id", "text"], where="kept"),
        _traces(tables, author, ["trace_id", "edit", "edit_role"]),
    )
    return _result(claim)


@dg.asset_check(asset=preference_dataset, partitions_def=authors, blocking=True)
def two_answers_differ(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """No pair prefers an answer to itself.

    Blocking: the loss of such a pair is a constant, so it teaches nothing.
    """
    rows = tables.read(building.DATASET, context.partition_key, columns=["chosen", "rejected"])
    return _result(claims.equal_answers(rows))


@dg.asset_check(asset=preference_dataset, partitions_def=authors, blocking=True)
def no_reader_owns_the_pairs(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """No reader's votes made more than 5 % of all pairs."""
    rows = tables.read(building.DATASET, context.partition_key, columns=["voters"])
    return _result(claims.shares_of_readers(rows))


@dg.asset_check(asset=preference_dataset, partitions_def=authors, blocking=True)
def every_pair_names_its_source(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """Each pair names an existing trace, or a chunk that contains a part of the chosen text."""
    author = context.partition_key
    columns = ["source", "trace_id", "document_id", "chunk_id", "start", "end"]
    chunk_columns = ["chunk_id", "document_id", "start", "end"]
    claim = claims.sources_of(
        tables.read(building.DATASET, author, columns=columns),
        tables.read("document_chunks", author, columns=chunk_columns),
        _traces(tables, author, ["trace_id"]),
    )
    return _result(claim)


@dg.asset_check(
    asset=preference_dataset,
    additional_deps=[building.SAMPLES],
    partitions_def=authors,
    blocking=True,
)
def no_pair_shows_what_is_held_out(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """No pair has a question, prompt or answer that is equal or similar to a held-out sample's.

    Blocking: like a leak across the splits of `instruction_dataset`.
    """
    author = context.partition_key
    columns = ["pair_id", "question", "context_chunk_ids", "messages", "chosen"]
    claim = claims.shown_of_held_out(
        tables.read(building.DATASET, author, columns=columns), building.held_out_of(tables, author)
    )
    return _result(claim)


def _traces(tables: Tables, author: str, columns: list[str]) -> pl.DataFrame:
    if not tables.exists(building.TRACES, author):
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    return tables.read(building.TRACES, author, columns=columns)


def _result(claim: Any) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=claim.hold, metadata=dict(vars(claim)))
