"""A table's contract: rows that keep its schema go on, the others are put aside with the rule.

Scope: telling good rows from bad ones, and the table of the bad. Out of scope: the
schemas (`corpus_tables.py` of each stage), the check as Dagster sees it
(`twin_assets/contract_checks`).
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

from twin_assets.corpus.corpus_tables import columns_of

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

RULES = "failed_rules"


@dataclass(frozen=True)
class ContractBreach:
    """How rows keep their contract.

    Attributes:
        rows: looked at.
        bad: rows that break a rule.
        by_rule: rule → rows that break it.
        missing: columns that the schema has and the table has not; then no row was looked at.
        wrong_types: column → the type it has instead.
    """

    rows: int
    bad: int
    by_rule: Mapping[str, int]
    missing: tuple[str, ...] = ()
    wrong_types: Mapping[str, str] | None = None

    @property
    def kept(self) -> bool:
        return not (self.bad or self.missing or self.wrong_types)


def good_rows(frame: pl.DataFrame, schema: type[dy.Schema]) -> pl.DataFrame:
    """The rows that keep every rule, in the schema's column order."""
    return _parted(frame, schema)[0]


def bad_rows(frame: pl.DataFrame, schema: type[dy.Schema]) -> pl.DataFrame:
    """The rows that break a rule, and `failed_rules`, which (`quarantine_columns`)."""
    return _parted(frame, schema)[1]


def quarantine_columns(schema: type[dy.Schema]) -> dict[str, pl.DataType]:
    """Column → type of the table of bad rows."""
    return {**columns_of(schema), RULES: pl.List(pl.String())}


def examine(parts: Iterable[pl.DataFrame], schema: type[dy.Schema]) -> ContractBreach:
    """Hold rows, part by part, against their contract.

    A rule that looks at several rows sees those of one part, and so do primary keys: `keys_twice`
    compares those of a whole table.
    """
    expected = columns_of(schema)
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
            return ContractBreach(rows, bad, dict(by_rule), missing, types)
        _, broken = _parted(part, schema)
        rows, bad = rows + part.height, bad + broken.height
        by_rule.update(broken[RULES].explode(empty_as_null=True).drop_nulls().to_list())
    return ContractBreach(rows, bad, dict(by_rule.most_common()))


def keys_twice(keys: pl.DataFrame) -> int:
    """Rows of a table whose primary key another row has as well.

    Args:
        keys: the key columns of all rows.
    """
    return int(keys.is_duplicated().sum()) if keys.width else 0


def version_of(schema: type[dy.Schema]) -> str:
    """Another one where a rule may say something else: the schema's module, or the libraries.

    dataframely has no public form of a rule to hash, so a comment in that module counts as well.
    """
    source = inspect.getsource(sys.modules[schema.__module__])
    libraries = " ".join(f"{name} {version(name)}" for name in ("dataframely", "polars"))
    return hashlib.sha256(f"{schema.__qualname__}\n{libraries}\n{source}".encode()).hexdigest()


def quarantined(tables: Tables, table: str, author: str) -> dict[str, int]:
    """Rule → rows put aside because of it; empty when there is no such table."""
    if not tables.exists(table, author):
        return {}
    rules = tables.read(table, author, columns=[RULES])[RULES].explode(empty_as_null=True)
    counts = rules.drop_nulls().value_counts().sort("count", RULES, descending=[True, False])
    return {str(rule): int(count) for rule, count in counts.rows()}


def _parted(frame: pl.DataFrame, schema: type[dy.Schema]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Good rows, and bad rows with the rules that they break."""
    stored = columns_of(schema)
    good, failure = schema.filter(frame, cast=True)
    details = failure.details()
    # Rules say "unknown" of a value of another type, of which the rule about types says "invalid".
    rules = [name for name in details.columns if name not in stored]
    broken = [pl.when(pl.col(rule) == "invalid").then(pl.lit(rule)) for rule in rules]
    bad = details.with_columns(
        pl.concat_list(broken).list.drop_nulls().alias(RULES)
        if broken
        else pl.lit([], dtype=pl.List(pl.String)).alias(RULES)
    )
    return (
        good.select(pl.col(name).cast(dtype) for name, dtype in stored.items()),
        bad.select(pl.col(name).cast(dtype) for name, dtype in quarantine_columns(schema).items()),
    )
