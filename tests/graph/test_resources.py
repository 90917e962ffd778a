"""Test that Dagster passes resources to assets and sensors, and then closes connections."""

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


def count_idle_connections(state: State) -> int:
    """Return the number of idle connections in the pool."""
    return state.engine.pool.checkedin()  # type: ignore[attr-defined]


def read_time(state: State) -> State:
    with state.read_transaction() as connection:
        state.now(connection)
    assert count_idle_connections(state) == 1
    return state


def test_an_asset_receives_objects_whose_connections_are_then_closed(tmp_path: Path) -> None:
    states: list[State] = []

    @dg.asset
    def read_resources(
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
        states.extend(map(read_time, (state, tables.state, registry.state)))
        return dg.MaterializeResult()

    resources = default_resources(str(tmp_path))
    used_resources = {
        name: resources[name] for name in read_resources.required_resource_keys if name in resources
    }
    assert dg.materialize([read_resources], resources=used_resources).success
    assert len({id(state) for state in states}) == 3
    assert [count_idle_connections(state) for state in states] == [0, 0, 0]


@pytest.mark.parametrize("fails", [False, True])
def test_a_tick_closes_its_connections_even_when_it_fails(tmp_path: Path, fails: bool) -> None:
    states: list[State] = []

    @dg.sensor(target="*")
    def sensor(state: dg.ResourceParam[State]) -> dg.SkipReason:
        states.append(read_time(state))
        if fails:
            raise RuntimeError("in the middle")
        return dg.SkipReason("nothing")

    def tick() -> None:
        resources = {"state": StateResource(home=str(tmp_path))}
        with dg.build_sensor_context(resources=resources) as context:
            sensor(context)

    if fails:
        with pytest.raises(RuntimeError, match="in the middle"):
            tick()
    else:
        tick()
    assert [count_idle_connections(state) for state in states] == [0]
