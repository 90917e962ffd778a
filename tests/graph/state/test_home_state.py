"""A state store without rows of a home is refused there and never empties its policy."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
from twin_cli.commands.doctor import stores
from twin_cli.commands.doctor.findings import run_check
from twin_cli.commands.outcome import open_registry

from tests.registered import register_version
from twin_resources.dagster_resources import RegistryResource
from twin_resources.registry.home_state import EmptyStateStoreError, check_store_belongs_to_home
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
def living(home: Settings) -> Settings:
    """A home whose author has a stable version."""
    registry = open_registry(home)
    register(registry, "mara", "c1")
    registry.state.close()
    assert read_policy(home.policy_path).authors["mara"].stable is not None
    return home


def with_state_url(living: Settings, monkeypatch: pytest.MonkeyPatch, url: str) -> Settings:
    """The same home once `TWIN_STATE_URL` is set."""
    monkeypatch.setenv("TWIN_STATE_URL", url)
    return living.model_copy(update={"state_url": url})


def test_an_empty_store_beside_a_living_home_is_refused_everywhere_and_changes_nothing(
    living: Settings, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = living.policy_path.read_bytes()
    settings = with_state_url(living, monkeypatch, store_url)
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
    assert check.verdict == "fail", "its tables are made now"
    state.close()
    assert living.policy_path.read_bytes() == policy


def test_a_run_of_dagster_is_refused_before_its_step(
    living: Settings, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_state_url(living, monkeypatch, store_url)

    @dg.asset
    def released(registry: dg.ResourceParam[Registry]) -> None:
        registry.publish()

    result = dg.materialize(
        [released], resources={"registry": RegistryResource()}, raise_on_error=False
    )
    assert not result.success
    assert read_policy(living.policy_path).authors["mara"].stable is not None


def test_a_store_that_was_lost_is_refused(living: Settings) -> None:
    file = living.home / "state.sqlite"
    file.unlink()
    [check] = run_check("state", lambda: stores.check_state(living))
    assert (check.verdict, "twin restore" in check.remedy) == ("fail", True)
    file.write_bytes(b"")  # what some tools leave of a file that they could not write
    assert next(iter(stores.check_state(living))).verdict == "fail"
    with pytest.raises(EmptyStateStoreError, match="restore its last backup"):
        open_registry(living)


def test_a_store_with_rows_of_another_home_beside_is_refused_before_there_is_a_version(
    home: Settings, store_url: str
) -> None:
    first = State.open(home.state_address)
    check_store_belongs_to_home(home, first)
    settings = home.model_copy(update={"state_url": store_url})
    check_store_belongs_to_home(settings, State.open(store_url))  # nothing was kept yet
    with first.transaction() as connection:
        from twin_resources.storage.state.state_tables import routing

        connection.execute(routing.insert().values(author="a", table={}, written_at="now"))
    with pytest.raises(
        EmptyStateStoreError, match=r"state\.sqlite is the state store of this home"
    ):
        check_store_belongs_to_home(settings, State.open(store_url))


def test_the_last_author_may_be_forgotten(living: Settings) -> None:
    registry = open_registry(living)
    from twin_resources.storage.state.state_tables import model_versions

    with registry.state.transaction() as connection:
        connection.execute(model_versions.delete())
    assert registry.publish(erased_author="mara").authors == {}
    assert read_policy(living.policy_path).authors == {}
    assert registry.publish().authors == {}
