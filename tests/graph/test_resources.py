"""What Dagster hands to assets and sensors is the object itself, and Dagster closes it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from twin_assets.definitions import default_resources
from twin_resources.dagster_resources import StateResource
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.models.training_launcher import TrainingLauncher
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables


def pooled(state: State) -> int:
    """Connections that wait for their next use."""
    return state.engine.pool.checkedin()  # type: ignore[attr-defined]


def used(state: State) -> State:
    with state.read_transaction() as connection:
        state.now(connection)
    assert pooled(state) == 1
    return state


def test_an_asset_is_handed_objects_and_what_they_opened_is_closed(tmp_path: Path) -> None:
    handed: list[State] = []

    @dg.asset
    def reads(
        settings: dg.ResourceParam[Settings],
        state: dg.ResourceParam[State],
        tables: dg.ResourceParam[Tables],
        registry: dg.ResourceParam[Registry],
        model_server: dg.ResourceParam[ModelServers],
        training: dg.ResourceParam[TrainingLauncher],
        langfuse: dg.ResourceParam[LangfuseClient],
    ) -> dg.MaterializeResult:
        assert settings.home == tmp_path
        assert tables.base_uri == settings.tables_base
        assert isinstance(model_server, ModelServers)
        assert isinstance(langfuse, LangfuseClient)
        assert callable(training.run)
        handed.extend(map(used, (state, tables.state, registry.state)))
        return dg.MaterializeResult()

    resources = default_resources(str(tmp_path))
    needed = {name: resources[name] for name in reads.required_resource_keys if name in resources}
    assert dg.materialize([reads], resources=needed).success
    assert len({id(state) for state in handed}) == 3
    assert [pooled(state) for state in handed] == [0, 0, 0]


@pytest.mark.parametrize("fails", [False, True])
def test_a_tick_closes_its_connections_also_when_it_fails(tmp_path: Path, fails: bool) -> None:
    handed: list[State] = []

    @dg.sensor(target="*")
    def ticks(state: dg.ResourceParam[State]) -> dg.SkipReason:
        handed.append(used(state))
        if fails:
            raise RuntimeError("in the middle")
        return dg.SkipReason("nothing")

    def tick() -> None:
        resources = {"state": StateResource(home=str(tmp_path))}
        with dg.build_sensor_context(resources=resources) as context:
            ticks(context)

    if fails:
        with pytest.raises(RuntimeError, match="in the middle"):
            tick()
    else:
        tick()
    assert [pooled(state) for state in handed] == [0]
