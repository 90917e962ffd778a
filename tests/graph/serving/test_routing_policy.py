"""`routing_policy` in Dagster: it writes the table into the policy object and tells the cost."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from twin_assets.partitions import authors
from twin_assets.serving.routing_policy import routing_policy
from twin_resources.authors import Author, write_author
from twin_resources.dagster_resources import RegistryResource, SettingsResource
from twin_resources.gateway.cost import Throughput
from twin_resources.gateway.following import write_throughput
from twin_resources.gateway.policy import read_policy
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.state.state import State


@pytest.fixture
def instance(home: Settings) -> dg.DagsterInstance:
    write_author(home, Author("ada", "Ada", canary_share=0.25))
    write_author(home, Author("bob", "Bob"))
    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions(str(authors.name), ["ada", "bob"])
    return instance


def materialize(instance: dg.DagsterInstance, author: str) -> dict[str, Any]:
    """Materialize for one author; returns the metadata as plain values and the data version."""
    result = dg.materialize(
        [routing_policy],
        instance=instance,
        partition_key=author,
        resources={"settings": SettingsResource(), "registry": RegistryResource()},
    )
    [event] = result.asset_materializations_for_node("routing_policy")
    values = {name: value.value for name, value in event.metadata.items()}
    return values | {"data_version": (event.tags or {})["dagster/data_version"]}


def test_before_a_release_the_base_answers_and_the_table_is_written(
    home: Settings, instance: dg.DagsterInstance
) -> None:
    told = materialize(instance, "ada")
    assert (told["answers"], told["weights"]) == ("base", {"base": 1.0})
    assert "not measured yet" in told["throughput"]
    policy = read_policy(home.policy_path)
    assert policy.authors["ada"].routing == {
        "schema": 1, "default": "self_hosted", "paid": None, "canary_share": 0.25,
    }  # fmt: skip
    assert "bob" not in policy.authors


def test_a_measurement_changes_the_metadata_and_not_the_data(
    home: Settings, instance: dg.DagsterInstance
) -> None:
    before = materialize(instance, "ada")
    written = home.policy_path.read_bytes()
    path = home.home / "gateway" / "throughput.json"
    write_throughput(path, {"base": Throughput(tokens=1000, requests=5, busy_seconds=10.0)})
    after = materialize(instance, "ada")
    assert after["usd_per_million_tokens"] == pytest.approx(0.02 / 3600 / 100 * 1e6)
    assert after["data_version"] == before["data_version"]
    assert home.policy_path.read_bytes() == written


def test_a_released_version_answers(home: Settings, instance: dg.DagsterInstance) -> None:
    registry = Registry(State.open(home.state_address), policy_path=home.policy_path)
    version = registry.register(
        author="ada",
        checkpoint="c1",
        folder="/c1",
        adapter_gguf=None,
        base="/base",
        base_gguf="/base.gguf",
        template="t",
        dataset_version="d",
    )
    before = materialize(instance, "ada")
    registry.move("ada", version.version, "refused", actor="test", reason="to force it")
    registry.move("ada", version.version, "stable", actor="test", reason="by hand", force=True)
    after = materialize(instance, "ada")
    assert (after["answers"], after["weights"]) == ("ada/v1", {"stable": 1.0})
    assert after["data_version"] != before["data_version"]


def test_what_the_loop_diverted_is_kept_and_then_dropped(
    home: Settings, instance: dg.DagsterInstance
) -> None:
    registry = Registry(State.open(home.state_address), policy_path=home.policy_path)
    for number in (1, 2, 3):
        registry.register(
            author="ada",
            checkpoint=f"c{number}",
            folder="",
            adapter_gguf=None,
            base="",
            base_gguf="",
            template="t",
            dataset_version="d",
        )
        registry.move("ada", number, "refused", actor="test", reason="to force it")
    for number in (1, 2):
        registry.move("ada", number, "stable", actor="test", reason="by hand", force=True)
    divert = {"version": "v2", "alarm": "a", "classes": {"how_to": "v1"}}
    registry.change_routing("ada", lambda before: {**before, "divert": divert})

    told = materialize(instance, "ada")

    assert told["routing"]["divert"] == divert
    found = read_policy(home.policy_path).authors["ada"].divert
    assert found is not None
    assert found.places == {"how_to": "v1"}
    assert [*found.versions] == ["v1"]
    assert materialize(instance, "ada")["data_version"] == told["data_version"]
    registry.move("ada", 3, "stable", actor="test", reason="by hand", force=True)
    assert read_policy(home.policy_path).authors["ada"].divert is None
    assert "divert" not in materialize(instance, "ada")["routing"]
    assert "divert" not in registry.routing()["ada"]
