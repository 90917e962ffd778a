"""Define the asset `preference_dataset`: pairs of answers in which the author's is the chosen one.

Scope: the asset and the checks. Out of scope: building the pairs (`preference_building`), training
on them (`training/checkpoints.py`).
"""

from typing import Any

import dagster as dg
import polars as pl

from twin_assets.instructions import preference_building
from twin_assets.instructions import preference_claims as claims
from twin_assets.partitions import authors
from twin_assets.table_assets import report_materialization, table_asset
from twin_resources.authors import read_author
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables


@table_asset(
    group_name="instructions",
    deps=[preference_building.SAMPLES_TABLE, preference_building.TRACES_TABLE],
    code_version=preference_building.PREFERENCE_VERSION,
)
def preference_dataset(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
) -> dg.MaterializeResult:
    """The author's edits and own text, each paired with an answer by the model."""
    author = read_author(settings, context.partition_key)
    return report_materialization(*preference_building.update_preferences(tables, author))


@dg.asset_check(asset=preference_dataset, partitions_def=authors, blocking=True)
def every_chosen_answer_is_the_authors(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """Each chosen answer is verbatim in its document, or an edit by a key of role author."""
    author = context.partition_key
    columns = ["source", "trace_id", "document_id", "start", "end", "chosen"]
    claim = claims.check_chosen_answers(
        tables.read(preference_building.PAIRS_TABLE, author, columns=columns),
        tables.read("cleaned_documents", author, columns=["document_id", "text"], where="kept"),
        _read_traces(tables, author, ["trace_id", "edit", "edit_role"]),
    )
    return _check_result(claim)


@dg.asset_check(asset=preference_dataset, partitions_def=authors, blocking=True)
def no_reader_owns_the_pairs(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """No reader's votes account for more than 5 % of all pairs."""
    rows = tables.read(preference_building.PAIRS_TABLE, context.partition_key, columns=["voters"])
    return _check_result(claims.measure_reader_shares(rows))


@dg.asset_check(asset=preference_dataset, partitions_def=authors, blocking=True)
def every_pair_names_its_source(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """Each pair names an existing trace, or a chunk that contains a part of the chosen text."""
    author = context.partition_key
    columns = ["source", "trace_id", "document_id", "chunk_id", "start", "end"]
    chunk_columns = ["chunk_id", "document_id", "start", "end"]
    claim = claims.check_sources(
        tables.read(preference_building.PAIRS_TABLE, author, columns=columns),
        tables.read("embeddings", author, columns=chunk_columns),
        _read_traces(tables, author, ["trace_id"]),
    )
    return _check_result(claim)


@dg.asset_check(
    asset=preference_dataset,
    additional_deps=[preference_building.SAMPLES_TABLE],
    partitions_def=authors,
    blocking=True,
)
def no_pair_shows_what_is_held_out(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """No pair has a question, prompt or answer that is equal or similar to a held-out sample's.

    Blocking: such a pair is a leak, like a leak across the splits of `instruction_dataset`.
    """
    author = context.partition_key
    columns = ["pair_id", "question", "context_chunk_ids", "messages", "chosen"]
    claim = claims.check_held_out_exposure(
        tables.read(preference_building.PAIRS_TABLE, author, columns=columns),
        preference_building.read_held_out(tables, author),
    )
    return _check_result(claim)


def _read_traces(tables: Tables, author: str, columns: list[str]) -> pl.DataFrame:
    if not tables.exists(preference_building.TRACES_TABLE, author):
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    return tables.read(preference_building.TRACES_TABLE, author, columns=columns)


def _check_result(claim: Any) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=claim.holds, metadata=dict(vars(claim)))
