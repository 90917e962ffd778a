"""Test that the asset plots the detector's stored evidence as one PNG per stream."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from tests.graph.retraining.conftest import LoopWorld, add_new_posts
from tests.materialization import materialize_assets, metadata_of
from twin_assets.feedback.evidence_plot import compute_day_mean_and_bound
from twin_assets.feedback.quality_evidence import quality_evidence
from twin_resources.quality.retraining.score_watch import (
    ComparedDays,
    current_evidence,
    stable_versions,
)


def materialize(world: LoopWorld, author: str) -> dict[str, Any]:
    result = materialize_assets([quality_evidence], author, world.instance)
    return metadata_of(result, "quality_evidence")


@pytest.fixture
def watched_world(world: LoopWorld, monkeypatch: pytest.MonkeyPatch) -> LoopWorld:
    monkeypatch.setenv("TWIN_PACE", "demo")
    world.limits = replace(world.limits, automatic=False)  # the alarm stays open
    add_new_posts(world).add_good("ada", 200)
    world.add_bad("ada", 24)
    world.tick()
    world.tick()
    return world


@pytest.mark.long
def test_numbers_plot_and_alarms_are_shown(watched_world: LoopWorld) -> None:
    metadata = materialize(watched_world, "ada")

    assert metadata["thumbs_values"] == 224
    assert metadata["thumbs_threshold"] == 36
    assert 0.6 < metadata["thumbs_baseline"]["short"] < 0.8
    assert metadata["thumbs"].startswith("![thumbs](data:image/png;base64,")
    assert len(metadata["thumbs"]) < 100_000
    [alarm] = [record.data for record in metadata["alarms"].records]
    assert (alarm["decision"], alarm["run_key"]) == ("held_back", "")
    assert materialize(watched_world, "ada")["data_version"] == metadata["data_version"]


def test_the_plot_ends_at_the_stored_evidence(watched_world: LoopWorld) -> None:
    with watched_world.state.read_transaction() as connection:
        [evidence] = current_evidence(connection)["ada"]
        stable = stable_versions(connection)["ada"]
        days = ComparedDays.from_ledger(connection, stable, "thumbs", watched_world.rules)
    ends = days.find_day_ends(0)
    assert days.evidence(until=ends[-1]).likelihood_ratio == evidence.likelihood_ratio
    assert math.isnan(
        compute_day_mean_and_bound(days, days.evidence(until=ends[14]), after=ends[13])[1]
    )
    mean_and_bound = compute_day_mean_and_bound(days, days.evidence(until=ends[17]), after=ends[16])
    assert mean_and_bound == pytest.approx((0.8, 0.77))
