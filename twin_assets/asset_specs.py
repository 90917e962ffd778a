"""Add the columns and contract of each table to its asset's page in Dagster.

Scope: the function that adds them to all specs, and the mapping from table to contract.
Out of scope: descriptions, groups and kinds (each asset declares its own), the contracts
(`corpus_tables.py`, `instruction_tables.py`), and the metadata of a run.
Source: https://docs.dagster.io/guides/build/assets/metadata-and-tags
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

import dagster as dg
import dataframely as dy
import polars as pl

from twin_assets.corpus.corpus_tables import CleanedDocuments, RawPosts
from twin_assets.feedback.judged_interactions import COLUMNS as JUDGED_COLUMNS
from twin_assets.instructions.instruction_tables import InstructionDataset
from twin_assets.instructions.preference_schema import PreferenceDataset
from twin_assets.knowledge.passages import Passages
from twin_resources.quality.judges.label_rows import COLUMNS as LABEL_COLUMNS
from twin_resources.quality.judges.pairs import COLUMNS as PAIR_COLUMNS
from twin_resources.quality.ledger import interactions_frame

CONTRACTS: Mapping[str, type[dy.Schema]] = {
    "raw_posts": RawPosts,
    "cleaned_documents": CleanedDocuments,
    "embeddings": Passages,
    "instruction_dataset": InstructionDataset,
    "preference_dataset": PreferenceDataset,
}
COLUMN_SCHEMA = "dagster/column_schema"


def complete_spec(spec: dg.AssetSpec) -> dg.AssetSpec:
    """Return the spec; if the asset is a table, its columns and contract description are added.

    The asset's own metadata takes precedence, because a mart declares its columns in its project.
    """
    name = spec.key.path[-1]
    schemas = build_table_schemas()
    columns = {COLUMN_SCHEMA: schemas[name]} if name in schemas else {}
    # The contract's docstring explains its columns.
    contract_description = inspect.getdoc(CONTRACTS[name]) if name in CONTRACTS else None
    return spec.replace_attributes(
        description="\n\n".join(filter(None, [spec.description, contract_description])),
        metadata={**columns, **spec.metadata},
    )


@cache
def build_table_schemas() -> dict[str, dg.TableSchema]:
    """Return the columns of each table asset, from its contract or from the code that writes it."""
    embedding_columns = [
        dg.TableColumn("embedder", "String", description="revision of the embedder"),
        # The length depends on the embedder, which is known only in a prepared home.
        dg.TableColumn("vector", "Array(Float32)", description="vector of length 1"),
    ]
    return {name: to_table_schema(contract) for name, contract in CONTRACTS.items()} | {
        "embeddings": dg.TableSchema(
            [
                *to_table_schema(Passages).columns,
                *embedding_columns,
            ]
        ),
        "interactions": _schema_from_types(interactions_frame.interaction_columns()),
        "judged_interactions": _schema_from_types(JUDGED_COLUMNS),
        "shadow_pairs": _schema_from_types(PAIR_COLUMNS),
        "routing_labels": _schema_from_types(LABEL_COLUMNS),
    }


def to_table_schema(contract: type[dy.Schema]) -> dg.TableSchema:
    """Convert a contract to Dagster's schema: columns with types, and rules across columns."""
    columns = contract.columns()
    rules = [name for name in vars(contract) if not name.startswith("_") and name not in columns]
    return dg.TableSchema(
        [
            dg.TableColumn(
                name,
                type=_type_name(column.dtype),
                description=column.description,
                constraints=dg.TableColumnConstraints(
                    nullable=column.nullable,
                    unique=column.primary_key and len(contract.primary_key()) == 1,
                ),
            )
            for name, column in columns.items()
        ],
        constraints=dg.TableConstraints(other=[rule.replace("_", " ") for rule in rules]),
    )


def _schema_from_types(columns: Mapping[str, Any]) -> dg.TableSchema:
    return dg.TableSchema(
        [dg.TableColumn(name, _type_name(kind)) for name, kind in columns.items()]
    )


def _type_name(dtype: Any) -> str:
    """Return the type's name; it is `String` for an enumeration, as its values are listed apart."""
    return "String" if isinstance(dtype, pl.Enum) else str(dtype)
