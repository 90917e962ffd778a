"""A claim as an asset check: what refuses fails, what is stated only says so and passes."""

from __future__ import annotations

import dagster as dg
import pytest

from twin_assets.evaluation.checkpoint_evaluation import check_of
from twin_resources.registry.moves import Claim


@pytest.mark.parametrize(("met", "passed"), [(True, True), (False, False), (None, False)])
def test_a_claim_that_decides_passes_only_when_it_is_met(met: bool | None, passed: bool) -> None:
    check = check_of(Claim("beats_base_model", met, 0.9, 1.0, "better by 10 %"), "c" * 64)

    assert check.passed is passed
    assert check.severity is dg.AssetCheckSeverity.ERROR
    assert check.description == "better by 10 %"
    assert check.metadata["decided"].value is (met is not None)


@pytest.mark.parametrize(
    ("met", "said"), [(True, "; met: "), (False, "; not met: "), (None, "; not decided: ")]
)
def test_a_stated_claim_is_no_failure_and_tells_what_was_found(met: bool | None, said: str) -> None:
    claim = Claim("rests_on_its_passages", met, -0.2, -0.15, "support .08")

    check = check_of(claim, "c" * 64, stated_only=True)

    assert check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert check.description is not None
    assert f"stated only, for a small base model{said}support .08" == check.description
    assert check.metadata["met"].value is (met is True)
