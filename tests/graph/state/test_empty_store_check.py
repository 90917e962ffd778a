"""Test that a home refuses an empty state store, and never empties its policy."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
from twin_cli.commands.doctor import stores
from twin_cli.commands.doctor.findings import run_check
from twin_cli.commands.outcome import open_registry

from tests.model_versions import register_version
from twin_resources.dagster_resources import RegistryResource
from twin_resources.registry.empty_store_check import (
    EmptyStateStoreError,
    check_store_belongs_to_home,
)
from twin_resources.registry.policy import read_policy
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State

PATHS: dict[str, Any] = {"folder": "/f", "adapter_gguf": "/a", "base": "/b", "base_gguf": "/g"}


def register(registry: Registry, author: str, checkpoint: str) -> None:
    version = register_version(registry, author, checkpoint, **PATHS)
    registry.move(author, version.version, "parked", actor="test", reason="test")
    registry.move(author, version.version, "stable", actor="test", reason="test", force=True)


@pytest.fixture
def versioned_home(home: Settings) -> Settings:
    """Return a home whose author has a stable version."""
    registry = open_registry(home)
    register(registry, "mara", "c1")
    registry.state.close()
    assert read_policy(home.policy_path).authors["mara"].stable is not None
    return home


def set_state_url(versioned_home: Settings, monkeypatch: pytest.MonkeyPatch, url: str) -> Settings:
    """Set `TWIN_STATE_URL`, and return the home's settings with it."""
    monkeypatch.setenv("TWIN_STATE_URL", url)
    return versioned_home.model_copy(update={"state_url": url})


def test_an_empty_store_is_refused_for_a_home_with_versions(
    versioned_home: Settings, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = versioned_home.policy_path.read_bytes()
    settings = set_state_url(versioned_home, monkeypatch, store_url)
    [check] = run_check("state", lambda: stores.check_state(settings))
    assert check.verdict == "fail"
    assert "`twin backup FILE`" in check.remedy
    with pytest.raises(EmptyStateStoreError, match=r"lists versions of mara.*twin restore"):
        open_registry(settings)
    with pytest.raises(EmptyStateStoreError):
        RegistryResource().registry()
    state = State.open(store_url)
    registry = Registry(state, policy_path=settings.policy_path)
    with pytest.raises(EmptyStateStoreError):
        registry.publish()
    with pytest.raises(EmptyStateStoreError):
        register_version(registry, "new", "c", **PATHS)
    with pytest.raises(EmptyStateStoreError):
        registry.set_routing("mara", {"canary_share": 0.5})
    assert registry.versions("new") == []
    [check] = run_check("state", lambda: stores.check_state(settings))
    assert check.verdict == "fail", "an empty store with tables passed"
    state.close()
    assert versioned_home.policy_path.read_bytes() == policy


def test_a_dagster_run_is_refused_before_its_step(
    versioned_home: Settings, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_state_url(versioned_home, monkeypatch, store_url)

    @dg.asset
    def publish_policy(registry: dg.ResourceParam[Registry]) -> None:
        registry.publish()

    result = dg.materialize(
        [publish_policy], resources={"registry": RegistryResource()}, raise_on_error=False
    )
    assert not result.success
    assert read_policy(versioned_home.policy_path).authors["mara"].stable is not None


def test_a_lost_store_is_refused(versioned_home: Settings) -> None:
    file = versioned_home.home / "state.sqlite"
    file.unlink()
    [check] = run_check("state", lambda: stores.check_state(versioned_home))
    assert (check.verdict, "twin restore" in check.remedy) == ("fail", True)
    file.write_bytes(b"")  # as some tools do when a write fails
    assert next(iter(stores.check_state(versioned_home))).verdict == "fail"
    with pytest.raises(EmptyStateStoreError, match="restore its last backup"):
        open_registry(versioned_home)


def test_a_new_store_is_refused_when_the_former_one_has_rows(
    home: Settings, store_url: str
) -> None:
    first = State.open(home.state_address)
    check_store_belongs_to_home(home, first)
    settings = home.model_copy(update={"state_url": store_url})
    check_store_belongs_to_home(settings, State.open(store_url))  # both are empty
    with first.transaction() as connection:
        from twin_resources.storage.state.state_tables import routing

        connection.execute(routing.insert().values(author="a", table={}, written_at="now"))
    with pytest.raises(
        EmptyStateStoreError, match=r"state\.sqlite is the state store of this home"
    ):
        check_store_belongs_to_home(settings, State.open(store_url))


def test_the_last_author_may_be_forgotten(versioned_home: Settings) -> None:
    registry = open_registry(versioned_home)
    from twin_resources.storage.state.state_tables import model_versions

    with registry.state.transaction() as connection:
        connection.execute(model_versions.delete())
    assert registry.publish(erased_author="mara").authors == {}
    assert read_policy(versioned_home.policy_path).authors == {}
    assert registry.publish().authors == {}
