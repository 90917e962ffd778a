"""Test that valid rows are kept, and invalid rows quarantined with the rules they violate."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from twin_assets.corpus.contracts import (
    FAILED_RULES,
    build_quarantine_columns,
    check_rows,
    split_rows,
)
from twin_assets.corpus.corpus_tables import column_types


class Clocks(dy.Schema):
    name = dy.String(primary_key=True, min_length=1)
    kind = dy.Enum(["wall", "tower"])
    wheels = dy.Int64(min=1)
    parts = dy.List(dy.Struct({"name": dy.String(min_length=2)}))

    @dy.rule()
    def towers_have_many_wheels(cls) -> pl.Expr:
        return (pl.col("kind") != "tower") | (pl.col("wheels") >= 10)


def build_clocks(*rows: tuple[str | None, str, int | None, list[dict[str, str]]]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=column_types(Clocks), orient="row")


VALID_ROW = ("a", "wall", 3, [{"name": "hand"}])
MIXED_ROWS = build_clocks(
    VALID_ROW,
    ("b", "tower", 3, []),
    ("", "wall", 0, []),
    (None, "wall", 5, []),
    ("c", "cuckoo", 5, []),
    ("d", "wall", 5, [{"name": "x"}]),
)


def test_rows_are_split_without_loss() -> None:
    valid_rows, invalid_rows = split_rows(MIXED_ROWS, Clocks)
    assert valid_rows.rows() == build_clocks(VALID_ROW).rows()
    assert valid_rows.schema == dict(column_types(Clocks))
    assert invalid_rows.schema == build_quarantine_columns(Clocks)
    assert valid_rows.height + invalid_rows.height == MIXED_ROWS.height
    rules = dict(invalid_rows.select("name", FAILED_RULES).iter_rows())
    assert rules["b"] == ["towers_have_many_wheels"]
    assert set(rules[""]) == {"name|min_length", "wheels|min"}
    assert any("nullab" in rule for rule in rules[None])
    assert any(rule.startswith("kind|") for rule in rules["c"])
    assert any(rule.startswith("parts|") for rule in rules["d"])


def test_valid_rows_are_not_quarantined() -> None:
    assert split_rows(build_clocks(VALID_ROW), Clocks)[1].height == 0
    assert split_rows(build_clocks(), Clocks)[1].schema == build_quarantine_columns(Clocks)


def test_valid_rows_satisfy_the_contract() -> None:
    report = check_rows(build_clocks(VALID_ROW, ("b", "wall", 1, [])), Clocks)
    assert report.is_satisfied
    assert (report.rows, report.broken_rows) == (2, 0)


def test_invalid_rows_violate_the_contract() -> None:
    report = check_rows(MIXED_ROWS, Clocks)
    assert not report.is_satisfied
    assert (report.rows, report.broken_rows) == (6, 5)
    assert report.by_rule["towers_have_many_wheels"] == 1


def test_two_rows_with_one_key_violate_the_contract() -> None:
    report = check_rows(build_clocks(VALID_ROW, ("b", "wall", 1, []), VALID_ROW), Clocks)
    assert (report.broken_rows, dict(report.by_rule)) == (2, {"primary_key": 2})


def test_missing_columns_and_wrong_types_violate_the_contract() -> None:
    missing_report = check_rows(build_clocks(VALID_ROW).drop("wheels"), Clocks)
    assert not missing_report.is_satisfied
    assert missing_report.missing == ("wheels",)
    type_report = check_rows(
        build_clocks(VALID_ROW).with_columns(pl.col("wheels").cast(pl.String)), Clocks
    )
    assert not type_report.is_satisfied
    assert type_report.wrong_types == {"wheels": "String"}
