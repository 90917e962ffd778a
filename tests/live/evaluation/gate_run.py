"""Run the assets that judge a candidate, from the gate's first part to the report."""

from __future__ import annotations

from typing import Any

import dagster as dg

from tests.materialization import create_instance, materialize_assets, metadata_of
from twin_assets.evaluation.checkpoint_evaluation import checkpoint_evaluation
from twin_assets.evaluation.evaluation_report import evaluation_report
from twin_assets.evaluation.gate import CLAIMS
from twin_assets.serving.released_model import released_model
from twin_assets.serving.routing_policy import routing_policy


def create_instance_of_two_authors() -> dg.DagsterInstance:
    return create_instance("ada", "bob")


class GateRun:
    """A run for one author: first verdict, release, routing policy and report."""

    def __init__(self, instance: dg.DagsterInstance, author: str) -> None:
        self.result = materialize_assets(
            [checkpoint_evaluation, released_model, routing_policy, evaluation_report],
            author,
            instance,
            raise_on_error=False,
        )

    def metadata(self, asset: str) -> dict[str, Any]:
        return metadata_of(self.result, asset)

    def data_version(self, asset: str) -> str:
        [event] = self.result.asset_materializations_for_node(asset)
        return (event.tags or {})["dagster/data_version"]

    def is_released(self) -> bool:
        return bool(self.result.asset_materializations_for_node("released_model"))

    def failed_checks(self) -> list[str]:
        """Return the checks that stop the release."""
        return [
            check.check_name
            for check in self.read_checks("checkpoint_evaluation")
            if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
        ]

    def read_checks(self, asset: str) -> list[dg.AssetCheckEvaluation]:
        """Return the checks, of which there is one for each claim."""
        checks = [
            check
            for check in self.result.get_asset_check_evaluations()
            if check.asset_key == dg.AssetKey(asset)
        ]
        assert {check.check_name for check in checks} == set(CLAIMS)
        return checks

    def find_advisory_checks(self, asset: str) -> set[str]:
        """Return the names of the checks that cannot stop a release."""
        warning = dg.AssetCheckSeverity.WARN
        return {check.check_name for check in self.read_checks(asset) if check.severity is warning}
