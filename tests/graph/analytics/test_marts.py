"""Test the marts on real tables, with answers whose sums are known."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl
import pytest

from tests.graph.analytics.conftest import (
    NOON,
    Materialize,
    WriteInteractions,
    make_answer,
    make_votes,
)
from twin_assets.analytics.project import ALL_AUTHORS
from twin_assets.tables_io_manager import TablesIOManager
from twin_resources.storage.tables.tables import TableNotFoundError, Tables

DAY = date(2026, 3, 1)


def read_checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {item.check_name: item.passed for item in result.get_asset_check_evaluations()}


def test_requests_has_one_row_per_answer_without_text(
    write_interactions: WriteInteractions, materialize: Materialize, tables: Tables
) -> None:
    write_interactions(
        "ada",
        [
            make_answer("ada", 1, **make_votes(0.5, "r2", "r1", "r1")),
            make_answer("ada", 2, degraded="no retrieval", chunk_ids=[], cost_usd=None),
            make_answer("ada", 3, edit="SECRET edit", edit_role="author"),
            # Half past eleven in the evening in New York is the next day in UTC.
            make_answer("ada", 4, started_at=datetime(2026, 3, 2, 4, 30, tzinfo=UTC), edit_role=""),
        ],
    )
    result = materialize("requests", author="ada")
    rows = tables.read("requests", "ada")
    assert rows["trace_id"].to_list() == ["ada-001", "ada-002", "ada-003", "ada-004"]
    assert rows["voters"].to_list() == [["r1", "r2"], [], [], []]
    assert rows["passages"].to_list() == [2, 0, 2, 2]
    assert rows["is_degraded"].to_list() == [False, True, False, False]
    assert rows["is_edited"].to_list() == [False, False, True, True]
    assert rows["is_edited_by_author"].to_list() == [False, False, True, False]
    assert rows["day"].to_list() == [DAY, DAY, DAY, date(2026, 3, 2)]
    assert rows["started_at"].dtype == pl.Datetime("us", "UTC")
    assert not any("SECRET" in str(value) for row in rows.iter_rows() for value in row)
    assert len(read_checks(result)) == 11
    assert all(read_checks(result).values())


def test_only_changed_rows_are_written(
    write_interactions: WriteInteractions, materialize: Materialize, tables: Tables
) -> None:
    rows = [make_answer("ada", number, latency_s=0.1 * number) for number in range(50)]

    def materialize_requests() -> tuple[int, str]:
        write_interactions("ada", rows)
        [event] = materialize("requests", author="ada").asset_materializations_for_node("requests")
        return event.metadata["written"].value, (event.tags or {})["dagster/data_version"]  # type: ignore[return-value]

    count, first_version = materialize_requests()
    assert count == 50
    assert materialize_requests() == (0, first_version)
    rows[7] |= make_votes(1.0, "r1")
    count, changed_version = materialize_requests()
    assert count == 1
    assert changed_version != first_version
    rows.pop()
    assert materialize_requests()[0] == 0
    assert tables.read("requests", "ada").height == 49


def test_quality_counts_each_reader_once_a_day(
    write_interactions: WriteInteractions, materialize: Materialize, tables: Tables
) -> None:
    rows = [make_answer("ada", number, **make_votes(1.0, f"r{number}")) for number in range(8)]
    rows += [
        make_answer("ada", 10 + number, **make_votes(0.0, f"r{10 + number}")) for number in range(2)
    ]
    # Forty votes of one reader count as one value.
    rows += [make_answer("ada", 100 + number, **make_votes(0.0, "r0")) for number in range(40)]
    rows += [
        make_answer("ada", 200, judged=0.7, judgements=2),
        make_answer("ada", 201, version="v2"),
    ]
    write_interactions("ada", rows)
    materialize("requests", author="ada")
    materialize("quality_by_day", author="ada")
    by_measure = tables.read("quality_by_day", "ada").partition_by("measure", as_dict=True)
    [thumbs] = by_measure["thumbs",].to_dicts()
    [judged] = by_measure["judged",].to_dicts()
    assert (thumbs["n"], thumbs["method"]) == (10, "wilson_effective")
    assert thumbs["mean"] == pytest.approx((7 + 1 / 41) / 10)
    assert thumbs["n_effective"] == 10
    assert (judged["n"], judged["mean"]) == (1, 0.7)
    assert judged["low"] < 0.2
    assert judged["high"] > 0.9


@pytest.mark.long
def test_cost_covers_all_authors_and_counts_unpriced_answers(
    write_interactions: WriteInteractions, materialize: Materialize, tables: Tables
) -> None:
    write_interactions("ada", [make_answer("ada", n, latency_s=float(n)) for n in range(1, 12)])
    write_interactions(
        "bob",
        [
            make_answer("bob", 1, route="paid", cost_usd=0.25, started_at=NOON + timedelta(days=1)),
            make_answer("bob", 2, cost_usd=None, simulated=True),
        ],
    )
    for author in ("ada", "bob"):
        materialize("requests", author=author)
    result = materialize("cost_by_day")
    rows = tables.read("cost_by_day", ALL_AUTHORS).sort("author", "day").to_dicts()
    ada, simulated, paid = rows
    assert (ada["author"], ada["answers"], ada["priced"]) == ("ada", 11, 11)
    assert ada["cost_usd"] == pytest.approx(0.011)
    assert (ada["latency_s_median"], ada["latency_s_p95"]) == (6.0, 10.5)
    assert (paid["author"], paid["route"], paid["cost_usd"]) == ("bob", "paid", 0.25)
    assert (simulated["is_simulated"], simulated["priced"]) == (True, 0)
    assert simulated["cost_usd_per_answer"] is None
    assert all(read_checks(result).values())


@pytest.mark.long
def test_cost_leaves_out_authors_without_answers(
    write_interactions: WriteInteractions, materialize: Materialize, tables: Tables
) -> None:
    materialize("cost_by_day")
    assert tables.read("cost_by_day", ALL_AUTHORS).is_empty()
    write_interactions("bob", [make_answer("bob", 1)])
    materialize("requests", author="bob")
    materialize("cost_by_day")
    assert tables.read("cost_by_day", ALL_AUTHORS)["author"].to_list() == ["bob"]


def test_a_missing_upstream_table_is_named(materialize: Materialize) -> None:
    with pytest.raises(TableNotFoundError, match="materialize the asset 'interactions'"):
        materialize("requests", author="ada")


@pytest.mark.long
def test_tables_of_all_authors_load_without_a_partition(
    write_interactions: WriteInteractions, materialize: Materialize
) -> None:
    write_interactions("ada", [make_answer("ada", 1)])
    materialize("requests", author="ada")
    materialize("cost_by_day")

    @dg.asset(ins={"cost_by_day": dg.AssetIn(input_manager_key="tables_io")})
    def reader(cost_by_day: pl.DataFrame) -> int:
        return cost_by_day.height

    cost = dg.AssetSpec("cost_by_day")
    result = dg.materialize([reader, cost], resources={"tables_io": TablesIOManager()})
    assert result.output_for_node("reader") == 1
