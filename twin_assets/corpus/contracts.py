"""Check rows against their table's contract, and find those that violate it, with the rules.

Method: https://dataframely.readthedocs.io/ (`Schema.filter` and its failure information).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import dataframely as dy
import polars as pl

from twin_assets.corpus.corpus_tables import column_types
from twin_assets.corpus.reconciliation import count_values

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


def build_quarantine_columns(schema: type[dy.Schema]) -> dict[str, pl.DataType]:
    """Return the column types of the rows that violate a schema."""
    return {**column_types(schema), FAILED_RULES: pl.List(pl.String())}


def check_rows(rows: pl.DataFrame, schema: type[dy.Schema]) -> ContractReport:
    """Check the rows of a whole table against their contract."""
    expected_types = column_types(schema)
    missing_columns = tuple(name for name in expected_types if name not in rows.columns)
    wrong_types = {
        name: str(rows.schema[name])
        for name, dtype in expected_types.items()
        if name in rows.columns and rows.schema[name] != dtype
    }
    if missing_columns or wrong_types:
        return ContractReport(rows.height, 0, {}, missing_columns, wrong_types)
    invalid_rows = split_rows(rows, schema)[1]
    rules = invalid_rows[FAILED_RULES].explode(empty_as_null=True).drop_nulls()
    return ContractReport(rows.height, invalid_rows.height, count_values(rules))


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
