"""Enforce a table's contract: rows that break the schema are quarantined with the rule.

Scope: separating good rows from bad rows, and the table of bad rows. Out of scope: the schemas
(`corpus_tables.py` of each stage), the check as Dagster sees it (`twin_assets/contract_checks`).
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

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

FAILED_RULES = "failed_rules"


@dataclass(frozen=True)
class ContractReport:
    """The result of checking rows against their contract.

    Attributes:
        rows: the number of rows checked.
        broken_rows: the number of rows that break a rule.
        by_rule: the number of rows that break each rule.
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


def good_rows(frame: pl.DataFrame, schema: type[dy.Schema]) -> pl.DataFrame:
    """Return the rows that satisfy every rule, in the schema's column order."""
    return _split_rows(frame, schema)[0]


def bad_rows(frame: pl.DataFrame, schema: type[dy.Schema]) -> pl.DataFrame:
    """Return the rows that break a rule, with `failed_rules` (`build_quarantine_columns`)."""
    return _split_rows(frame, schema)[1]


def build_quarantine_columns(schema: type[dy.Schema]) -> dict[str, pl.DataType]:
    """Return the types of the columns in the table of bad rows."""
    return {**column_types(schema), FAILED_RULES: pl.List(pl.String())}


def examine(parts: Iterable[pl.DataFrame], schema: type[dy.Schema]) -> ContractReport:
    """Check rows, part by part, against their contract.

    A rule or primary key that covers several rows is checked within one part;
    `count_duplicate_keys` compares the keys of a whole table.
    """
    expected = column_types(schema)
    by_rule: Counter[str] = Counter()
    rows = bad = 0
    for part in parts:
        missing = tuple(name for name in expected if name not in part.columns)
        types = {
            name: str(part.schema[name])
            for name, dtype in expected.items()
            if name in part.columns and part.schema[name] != dtype
        }
        if missing or types:
            return ContractReport(rows, bad, dict(by_rule), missing, types)
        _, broken = _split_rows(part, schema)
        rows, bad = rows + part.height, bad + broken.height
        by_rule.update(broken[FAILED_RULES].explode(empty_as_null=True).drop_nulls().to_list())
    return ContractReport(rows, bad, dict(by_rule.most_common()))


def count_duplicate_keys(keys: pl.DataFrame) -> int:
    """Return the number of rows in a table whose primary key occurs in another row.

    Args:
        keys: the key columns of all rows.
    """
    return int(keys.is_duplicated().sum()) if keys.width else 0


def schema_version(schema: type[dy.Schema]) -> str:
    """Return a version that changes with the schema's module and with the libraries.

    dataframely has no public representation of a rule to hash, so a changed comment in that module
    also changes the version.
    """
    source = inspect.getsource(sys.modules[schema.__module__])
    libraries = " ".join(f"{name} {version(name)}" for name in ("dataframely", "polars"))
    return hashlib.sha256(f"{schema.__qualname__}\n{libraries}\n{source}".encode()).hexdigest()


def count_quarantined(tables: Tables, table: str, author: str) -> dict[str, int]:
    """Return the number of quarantined rows by rule, or {} without such a table."""
    if not tables.exists(table, author):
        return {}
    rules = tables.read(table, author, columns=[FAILED_RULES])[FAILED_RULES].explode(
        empty_as_null=True
    )
    counts = rules.drop_nulls().value_counts().sort("count", FAILED_RULES, descending=[True, False])
    return {str(rule): int(count) for rule, count in counts.rows()}


def _split_rows(frame: pl.DataFrame, schema: type[dy.Schema]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the good rows, and the bad rows with the rules that they break."""
    stored = column_types(schema)
    good, failure = schema.filter(frame, cast=True)
    details = failure.details()
    # For a value with a wrong type, these rules are "unknown" and the type rule is "invalid".
    rules = [name for name in details.columns if name not in stored]
    broken = [pl.when(pl.col(rule) == "invalid").then(pl.lit(rule)) for rule in rules]
    bad = details.with_columns(
        pl.concat_list(broken).list.drop_nulls().alias(FAILED_RULES)
        if broken
        else pl.lit([], dtype=pl.List(pl.String)).alias(FAILED_RULES)
    )
    return (
        good.select(pl.col(name).cast(dtype) for name, dtype in stored.items()),
        bad.select(
            pl.col(name).cast(dtype) for name, dtype in build_quarantine_columns(schema).items()
        ),
    )
