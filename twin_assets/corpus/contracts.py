"""Enforce a table's contract: quarantine rows that violate its schema, with the violated rules.

Scope: separating valid from invalid rows, and the columns of the quarantine table. Out of scope:
the schemas (`corpus_tables.py` of each stage), the Dagster check (`twin_assets/contract_checks`).
Method: https://dataframely.readthedocs.io/ (`Schema.filter` and its failure information).
"""
# pyright: strict

from __future__ import annotations

import hashlib
import inspect
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import dataframely as dy
import polars as pl

from twin_assets.corpus.corpus_tables import column_types
from twin_assets.corpus.reconciliation import count_values

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

FAILED_RULES = "failed_rules"


@dataclass(frozen=True)
class ContractReport:
    """The result of checking rows against their contract.

    Attributes:
        rows: the number of rows checked.
        broken_rows: the number of rows that violate a rule.
        by_rule: the number of rows that violate each rule.
        missing: columns of the schema that the table lacks; if any are missing, checking stops.
        wrong_types: the actual type of each column with a wrong type.
    """

    rows: int
    broken_rows: int
    by_rule: Mapping[str, int]
    missing: tuple[str, ...] = ()
    wrong_types: Mapping[str, str] | None = None

    @property
    def is_satisfied(self) -> bool:
        return not (self.broken_rows or self.missing or self.wrong_types)


def select_valid_rows(frame: pl.DataFrame, schema: type[dy.Schema]) -> pl.DataFrame:
    """Return the rows that satisfy every rule, in the schema's column order."""
    return split_rows(frame, schema)[0]


def build_quarantine_columns(schema: type[dy.Schema]) -> dict[str, pl.DataType]:
    """Return the column types of a quarantine table."""
    return {**column_types(schema), FAILED_RULES: pl.List(pl.String())}


def check_batches(batches: Iterable[pl.DataFrame], schema: type[dy.Schema]) -> ContractReport:
    """Check rows against their contract, batch by batch.

    A rule or primary key that covers several rows is checked only within a batch;
    `count_duplicate_keys` compares the keys of a whole table.
    """
    expected_types = column_types(schema)
    by_rule: Counter[str] = Counter()
    rows = invalid_count = 0
    for batch in batches:
        missing_columns = tuple(name for name in expected_types if name not in batch.columns)
        wrong_types = {
            name: str(batch.schema[name])
            for name, dtype in expected_types.items()
            if name in batch.columns and batch.schema[name] != dtype
        }
        if missing_columns or wrong_types:
            return ContractReport(rows, invalid_count, dict(by_rule), missing_columns, wrong_types)
        _, invalid_rows = split_rows(batch, schema)
        rows, invalid_count = rows + batch.height, invalid_count + invalid_rows.height
        by_rule.update(
            invalid_rows[FAILED_RULES].explode(empty_as_null=True).drop_nulls().to_list()
        )
    return ContractReport(rows, invalid_count, dict(by_rule.most_common()))


def count_duplicate_keys(keys: pl.DataFrame) -> int:
    """Return the number of rows whose primary key also occurs in another row.

    Args:
        keys: the key columns of all rows.
    """
    return int(keys.is_duplicated().sum()) if keys.width else 0


def schema_version(schema: type[dy.Schema]) -> str:
    """Return a version that changes with the schema's module and with the libraries.

    dataframely has no public representation of a rule to hash. The version therefore also changes
    with a comment in that module.
    """
    source = inspect.getsource(sys.modules[schema.__module__])
    libraries = " ".join(f"{name} {version(name)}" for name in ("dataframely", "polars"))
    return hashlib.sha256(f"{schema.__qualname__}\n{libraries}\n{source}".encode()).hexdigest()


def count_quarantined(tables: Tables, table: str, author: str) -> dict[str, int]:
    """Return the number of quarantined rows by rule, or {} if the table does not exist."""
    if not tables.exists(table, author):
        return {}
    rules = tables.read(table, author, columns=[FAILED_RULES])[FAILED_RULES]
    return count_values(rules.explode(empty_as_null=True).drop_nulls())


def split_rows(frame: pl.DataFrame, schema: type[dy.Schema]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the valid rows, and the invalid rows with the rules that they violate.

    The columns are those of the schema; `build_quarantine_columns` adds `failed_rules`.
    """
    stored_types = column_types(schema)
    valid_rows, failure = schema.filter(frame, cast=True)
    details = failure.details()
    # For a value with a wrong type, these rules are "unknown" and the type rule is "invalid".
    rules = [name for name in details.columns if name not in stored_types]
    violated_rules = [pl.when(pl.col(rule) == "invalid").then(pl.lit(rule)) for rule in rules]
    invalid_rows = details.with_columns(
        pl.concat_list(violated_rules).list.drop_nulls().alias(FAILED_RULES)
        if violated_rules
        else pl.lit([], dtype=pl.List(pl.String)).alias(FAILED_RULES)
    )
    return (
        valid_rows.select(pl.col(name).cast(dtype) for name, dtype in stored_types.items()),
        invalid_rows.select(
            pl.col(name).cast(dtype) for name, dtype in build_quarantine_columns(schema).items()
        ),
    )
