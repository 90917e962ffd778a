"""Test the intervals of `macros/intervals.sql`: textbook values, and coverage of the mean."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from twin_assets.analytics.duckdb_session import DuckDBSession
from twin_assets.analytics.project import read_project
from twin_assets.analytics.rendering import Renderer

SAMPLE_COUNT = 4000


def query_intervals(values: np.ndarray) -> pl.DataFrame:
    """Return the bounds for each row of `values` (samples × n), from the mart's own query."""
    project = read_project()
    model = project.get_model("quality_by_day")
    rendered = Renderer(project).render_model(model)
    sample_count, n = values.shape
    frame = pl.DataFrame(
        {"version": np.repeat(np.arange(sample_count), n).astype(str), "judged": values.ravel()}
    ).with_columns(
        author=pl.lit("ada"),
        day=pl.date(2026, 3, 1),
        prompt_class=pl.lit("question"),
        is_simulated=pl.lit(False),
        voters=pl.lit([], dtype=pl.List(pl.String)),
        vote=pl.lit(None, dtype=pl.Float64),
        votes=pl.lit(0),
        judgements=pl.lit(1),
    )
    columns = [
        column for column in project.get_model("requests").columns if column.name in frame.columns
    ]
    with DuckDBSession() as session:
        session.register(("", "requests"), frame, columns)
        return session.query_rows(rendered)


def test_the_bounds_equal_textbook_values() -> None:
    # statsmodels 0.14, proportion_confint(k, n, method="wilson")
    for hits, n, low, high in ((8, 10, 0.4901625, 0.9433178), (0, 5, 0.0, 0.4344825)):
        [row] = query_intervals(np.array([[1.0] * hits + [0.0] * (n - hits)])).to_dicts()
        assert (row["low"], row["high"]) == pytest.approx((low, high), abs=1e-6)
        assert (row["n"], row["n_effective"], row["method"]) == (n, n, "wilson")


def test_a_small_variance_narrows_the_interval_from_thirty_values_on() -> None:
    rng = np.random.default_rng(7)
    row_for_29_values = query_intervals(rng.beta(6, 4, (1, 29))).to_dicts()[0]
    row_for_30_values = query_intervals(rng.beta(6, 4, (1, 30))).to_dicts()[0]
    assert row_for_29_values["n_effective"] == 29
    assert row_for_29_values["high"] - row_for_29_values["low"] > 0.3
    assert 150 < row_for_30_values["n_effective"] < 30 * 30
    assert row_for_30_values["high"] - row_for_30_values["low"] < 0.15
    [constant_row] = query_intervals(np.full((1, 40), 0.5)).to_dicts()
    assert constant_row["n_effective"] == pytest.approx(1600)


@pytest.mark.long
@pytest.mark.parametrize("n", [5, 30, 200])
@pytest.mark.parametrize("shape", ["thumbs", "beta", "mixed"])
def test_the_interval_covers_the_mean_at_its_nominal_rate(n: int, shape: str) -> None:
    rng = np.random.default_rng([n, len(shape)])
    if shape == "thumbs":
        true_mean, values = 0.8, (rng.random((SAMPLE_COUNT, n)) < 0.8).astype(float)
    elif shape == "beta":
        true_mean, values = 0.75, rng.beta(9, 3, (SAMPLE_COUNT, n))
    else:  # readers with up to three votes a day
        true_mean, values = 0.8, rng.binomial(3, 0.8, (SAMPLE_COUNT, n)) / 3
    intervals = query_intervals(values)
    coverage = ((intervals["low"] <= true_mean) & (true_mean <= intervals["high"])).mean()
    assert coverage is not None
    assert coverage >= 0.93, coverage
