"""A table's contract: rows that keep its schema go on, the others are put aside with the rule.

Belongs here: telling good rows from bad ones, and the table of the bad. Does not belong here: the
schemas (`schema.py` of each stage), the check as Dagster sees it (`twin_assets/contract_checks`).
Method: https://dataframely.readthedocs.io/ (`Schema.filter` and its failure information).
"""
# pyright: strict

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dataframely as dy
import polars as pl

from twin_assets.corpus.schema import columns_of

if TYPE_CHECKING:
    from twin_resources.tables.tables import Tables

RULES = "failed_rules"


@dataclass(frozen=True)
class Broken:
    """How a table keeps its contract.

    Attributes:
        rows: looked at.
        bad: rows that break a rule.
        by_rule: rule → rows that break it.
        missing: columns that the schema has and the table has not; then no row was looked at.
        wrong_types: column → the type it has instead.
        twice: primary keys that several rows have.
    """

    rows: int
    bad: int
    by_rule: Mapping[str, int]
    missing: tuple[str, ...] = ()
    wrong_types: Mapping[str, str] | None = None
    twice: int = 0

    @property
    def kept(self) -> bool:
        return not (self.bad or self.missing or self.wrong_types or self.twice)


def good_rows(frame: pl.DataFrame, schema: type[dy.Schema]) -> pl.DataFrame:
    """The rows that keep every rule, in the schema's column order."""
    return _parted(frame, schema)[0]


def bad_rows(frame: pl.DataFrame, schema: type[dy.Schema]) -> pl.DataFrame:
    """The rows that break a rule, and `failed_rules`, which (`quarantine_columns`)."""
    return _parted(frame, schema)[1]


def quarantine_columns(schema: type[dy.Schema]) -> dict[str, pl.DataType]:
    """Column → type of the table of bad rows."""
    return {**columns_of(schema), RULES: pl.List(pl.String())}


def examine(parts: Iterable[pl.DataFrame], schema: type[dy.Schema]) -> Broken:
    """Hold a whole table, part by part, against its contract.

    A rule that looks at several rows sees those of one part; primary keys are compared over all.
    """
    expected = columns_of(schema)
    keys = schema.primary_key()
    by_rule: Counter[str] = Counter()
    rows = bad = 0
    seen: list[pl.DataFrame] = []
    for part in parts:
        missing = tuple(name for name in expected if name not in part.columns)
        types = {
            name: str(part.schema[name])
            for name, dtype in expected.items()
            if name in part.columns and part.schema[name] != dtype
        }
        if missing or types:
            return Broken(rows, bad, dict(by_rule), missing, types)
        _, broken = _parted(part, schema)
        rows, bad = rows + part.height, bad + broken.height
        by_rule.update(broken[RULES].explode(empty_as_null=True).drop_nulls().to_list())
        if keys:
            seen.append(part.select(keys))
    twice = int(pl.concat(seen).is_duplicated().sum()) if seen else 0
    return Broken(rows, bad, dict(by_rule.most_common()), twice=twice)


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
