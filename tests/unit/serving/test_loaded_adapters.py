"""Test loading, keeping and unloading adapters on an external server.

The test server has vLLM's routes but no model; `tests/adapter_server.py` has a model.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.adapter_server import serve_adapters
from tests.model_versions import register_version
from tests.postgresql_server import postgresql, postgresql_url
from twin_resources.errors import TwinError
from twin_resources.models.serving import adapter_requests, adapter_routes
from twin_resources.models.serving.fleet import required_adapters
from twin_resources.models.serving.fleet_member import retry_delay_s
from twin_resources.models.serving.loaded_adapters import (
    UNLOAD_DELAY_S,
    AdapterServer,
    FleetAdapters,
    peft_folder,
)
from twin_resources.registry.policy import AuthorPolicy, Policy, ServedVersion
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import ended_leases

__all__ = ["postgresql", "postgresql_url"]  # fixtures
KEY = "sk-there"


class LoadedAdapters:
    """The adapters of a test server, and the number of load requests."""

    name = "a-base"
    base = Path("/models/a-base")

    def __init__(self) -> None:
        self.loaded: dict[str, tuple[str, str]] = {}
        self.lock = threading.Lock()
        self.load_count = 0

    def load(self, name: str, path: str) -> None:
        self.load_count += 1
        self.loaded[name] = ("", path)

    def unload(self, name: str) -> None:
        del self.loaded[name]

    def roots(self) -> dict[str, str]:
        return {name: path for name, (_, path) in self.loaded.items()}


@pytest.fixture
def loaded_adapters() -> LoadedAdapters:
    return LoadedAdapters()


@pytest.fixture
def server_settings(home: Settings, loaded_adapters: LoadedAdapters) -> Iterator[Settings]:
    with serve_adapters(loaded_adapters, key=KEY) as url:
        yield home.model_copy(update={"model_server_url": url, "model_server_key": KEY})


def write_checkpoint(settings: Settings, name: str, *, author: str = "ada") -> Path:
    """Write a checkpoint's folder with an adapter."""
    folder = settings.checkpoints_dir / author / name
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    return folder


def make_adapter(settings: Settings, name: str, *, author: str = "ada") -> Path:
    folder = peft_folder(write_checkpoint(settings, name, author=author))
    assert folder is not None
    return folder


def make_fleet_adapters(settings: Settings, lines: list[str]) -> FleetAdapters:
    return FleetAdapters(settings, log=lines.append, retry_delay_s=retry_delay_s)


def test_a_checkpoint_without_an_adapter_has_no_peft_folder(server_settings: Settings) -> None:
    assert peft_folder("") is None
    folder = write_checkpoint(server_settings, "c1")
    assert peft_folder(str(folder)) == folder / "adapter"
    shutil.rmtree(folder / "adapter")
    assert peft_folder(folder) is None


def test_versions_in_use_require_their_folders(server_settings: Settings) -> None:
    checkpoint = write_checkpoint(server_settings, "c1")

    def make_version(number: int, folder: str, base: str = "/base") -> ServedVersion:
        kind = "answer_model" if base.startswith("http") else "tuned"
        return ServedVersion(number, "c", "t", folder, None, base, "", kind=kind)

    stable, full_model = make_version(1, str(checkpoint)), make_version(2, "/fully/trained")
    answer_model = make_version(1, "", "http://127.0.0.1:9/v1#large")
    policy = Policy(
        authors={"ada": AuthorPolicy(stable, full_model), "bob": AuthorPolicy(answer_model)}
    )

    assert required_adapters(None) == {}
    assert required_adapters(policy) == {"ada/v1": checkpoint / "adapter", "ada/v2": None}


def test_an_adapter_is_loaded_while_it_is_used(
    server_settings: Settings, loaded_adapters: LoadedAdapters
) -> None:
    server, folder = AdapterServer(server_settings), make_adapter(server_settings, "c1")

    with server.keep_adapter_loaded("ada/v1", folder):
        assert loaded_adapters.roots() == {"ada/v1": str(folder)}
        with server.keep_adapter_loaded("ada/v1", folder):
            assert loaded_adapters.load_count == 1
        assert loaded_adapters.roots() == {"ada/v1": str(folder)}, (
            "the outer block still needs the adapter"
        )
    assert loaded_adapters.roots() == {}
    with pytest.raises(RuntimeError, match="gate"), server.keep_adapter_loaded("ada/v1", folder):
        raise RuntimeError("the gate failed")
    assert loaded_adapters.roots() == {}


def test_two_concurrent_loads_succeed(
    server_settings: Settings, loaded_adapters: LoadedAdapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process loads the adapter between listing and the request, which then fails."""
    folder = make_adapter(server_settings, "c1")
    load_adapter = adapter_routes.load_adapter

    def load_twice(url: str, key: str, *, name: str, path: str) -> None:
        load_adapter(url, key, name=name, path=path)
        load_adapter(url, key, name=name, path=path)

    monkeypatch.setattr(adapter_routes, "load_adapter", load_twice)
    AdapterServer(server_settings).ensure_loaded("ada/v1", folder)
    assert loaded_adapters.roots() == {"ada/v1": str(folder)}


def test_the_server_gets_the_path_on_its_file_system(
    server_settings: Settings, loaded_adapters: LoadedAdapters
) -> None:
    mounted_settings = server_settings.model_copy(
        update={"model_server_home": str(server_settings.home / "seen")}
    )
    mounted_folder = server_settings.home / "seen" / "checkpoints" / "ada" / "c1" / "adapter"
    mounted_folder.mkdir(parents=True)
    (mounted_folder / "adapter_config.json").write_text("{}")

    with AdapterServer(mounted_settings).keep_adapter_loaded(
        "ada/v1", make_adapter(server_settings, "c1")
    ):
        assert loaded_adapters.roots() == {"ada/v1": str(mounted_folder)}
    assert loaded_adapters.roots() == {}


def test_another_checkpoint_of_this_home_is_replaced(
    server_settings: Settings, loaded_adapters: LoadedAdapters
) -> None:
    server, old, new = (
        AdapterServer(server_settings),
        *(make_adapter(server_settings, name) for name in ("c1", "c2")),
    )
    server.ensure_loaded("ada/v1", old)
    server.ensure_loaded("ada/v1", new)
    assert loaded_adapters.roots() == {"ada/v1": str(new)}


def test_an_adapter_of_another_owner_is_an_error(
    server_settings: Settings, loaded_adapters: LoadedAdapters
) -> None:
    loaded_adapters.load("ada/v1", "/their/home/checkpoints/ada/c9/adapter")
    server, folder = AdapterServer(server_settings), make_adapter(server_settings, "c1")

    with pytest.raises(TwinError, match="TWIN_MODEL_SERVER_HOME") as error:
        server.ensure_loaded("ada/v1", folder)
    assert "/their/home/checkpoints/ada/c9/adapter" in error.value.found
    assert not server.unload_unused("ada/v1")
    lines: list[str] = []
    fleet = make_fleet_adapters(server_settings, lines)
    for now in (0.0, UNLOAD_DELAY_S * 2):
        assert fleet.step({}, now) == {}
    assert loaded_adapters.roots() == {"ada/v1": "/their/home/checkpoints/ada/c9/adapter"}


def test_the_servers_message_is_reported(server_settings: Settings) -> None:
    server, folder = AdapterServer(server_settings), make_adapter(server_settings, "c1")
    unmounted_settings = server_settings.model_copy(update={"model_server_home": "/not/mounted"})

    with pytest.raises(TwinError, match="HTTP 404: Loading lora ada/v1 failed") as error:
        AdapterServer(unmounted_settings).ensure_loaded("ada/v1", folder)
    assert "TWIN_MODEL_SERVER_HOME" in error.value.next_step
    with pytest.raises(TwinError, match="cannot be found"):
        adapter_routes.unload_adapter(server_settings.model_server_url, KEY, name="ada/v1")
    with pytest.raises(TwinError, match="--lora-modules ada/v2=FOLDER"):
        server.ensure_loaded("ada/v2", None)
    wrong_key_settings = server_settings.model_copy(update={"model_server_key": "sk-wrong"})
    with pytest.raises(TwinError, match="TWIN_MODEL_SERVER_KEY"):
        AdapterServer(wrong_key_settings).ensure_loaded("ada/v1", folder)


def test_a_server_without_adapter_routes_is_an_error(
    home: Settings, loaded_adapters: LoadedAdapters
) -> None:
    with serve_adapters(loaded_adapters, key=KEY, updatable=False) as url:
        settings = home.model_copy(update={"model_server_url": url, "model_server_key": KEY})
        assert not adapter_routes.can_load_adapters(url, KEY)
        with pytest.raises(
            adapter_routes.RouteMissingError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
        ):
            AdapterServer(settings).ensure_loaded("ada/v1", make_adapter(settings, "c1"))
        # an adapter that the operator loaded from its folder is still served
        loaded_adapters.load("ada/v1", str(settings.checkpoints_dir / "ada" / "c1" / "adapter"))
        folder = peft_folder(settings.checkpoints_dir / "ada" / "c1")
        AdapterServer(settings).ensure_loaded("ada/v1", folder)
    with serve_adapters(loaded_adapters, key=KEY) as url:
        assert adapter_routes.can_load_adapters(url, KEY)


def test_the_fleet_reloads_adapters_after_a_restart_of_the_server(
    server_settings: Settings, loaded_adapters: LoadedAdapters
) -> None:
    lines: list[str] = []
    fleet = make_fleet_adapters(server_settings, lines)
    required = {
        f"{author}/v1": make_adapter(server_settings, "c1", author=author)
        for author in ("ada", "bob")
    }

    assert fleet.step(required, 0.0) == {}
    loaded_adapters.loaded.clear()
    assert fleet.step(required, 5.0) == {}

    assert loaded_adapters.roots() == {name: str(folder) for name, folder in required.items()}
    assert loaded_adapters.load_count == 4
    assert lines == ["ada/v1 is loaded", "bob/v1 is loaded"] * 2


def test_the_fleet_unloads_a_replaced_version_after_a_delay(
    server_settings: Settings, loaded_adapters: LoadedAdapters
) -> None:
    lines: list[str] = []
    fleet = make_fleet_adapters(server_settings, lines)
    old, new = (make_adapter(server_settings, name) for name in ("c1", "c2"))
    fleet.step({"ada/v1": old}, 0.0)

    fleet.step({"ada/v2": new}, 10.0)
    fleet.step({"ada/v2": new}, 10.0 + UNLOAD_DELAY_S - 1)
    assert set(loaded_adapters.roots()) == {"ada/v1", "ada/v2"}
    assert not AdapterServer(server_settings).unload_unused("ada/v1"), (
        "the fleet's lease was ignored"
    )
    fleet.step({"ada/v2": new}, 10.0 + UNLOAD_DELAY_S)

    assert loaded_adapters.roots() == {"ada/v2": str(new)}
    assert lines[-1] == "ada/v1 is unloaded"
    # a version that returns before the delay stays loaded
    fleet.step({"ada/v1": old}, 400.0)
    fleet.step({"ada/v2": new}, 410.0)
    fleet.step({"ada/v1": old}, 420.0)
    fleet.step({"ada/v1": old}, 420.0 + 2 * UNLOAD_DELAY_S)
    assert loaded_adapters.roots() == {"ada/v1": str(old)}


def test_only_unused_adapters_are_unloaded(
    server_settings: Settings, loaded_adapters: LoadedAdapters
) -> None:
    fleet = make_fleet_adapters(server_settings, [])
    unused_folder, used_folder = (make_adapter(server_settings, name) for name in ("c1", "c2"))
    loaded_adapters.load("ada/v1", str(unused_folder))
    loaded_adapters.load("a-name-of-its-own", str(unused_folder))
    with AdapterServer(server_settings).keep_adapter_loaded("ada/v2", used_folder):
        for now in (0.0, UNLOAD_DELAY_S, 2 * UNLOAD_DELAY_S):
            fleet.step({}, now)
        assert set(loaded_adapters.roots()) == {"ada/v2", "a-name-of-its-own"}


@pytest.mark.long
def test_hosts_that_share_a_server_keep_each_others_adapters(
    server_settings: Settings,
    loaded_adapters: LoadedAdapters,
    postgresql_url: str,
    tmp_path: Path,
) -> None:
    gpu_host, gateway_host, gate_host = (
        server_settings.model_copy(
            update={
                "home": tmp_path / name,
                "state_url": postgresql_url,
                "model_server_home": str(tmp_path / "gpu"),
            }
        )
        for name in ("gpu", "gateway", "gate")
    )
    for checkpoint in ("c1", "c2"):
        make_adapter(gpu_host, checkpoint)
    stable, candidate = (gateway_host.checkpoints_dir / "ada" / c / "adapter" for c in ("c1", "c2"))
    judged_folders = {
        name: gate_host.checkpoints_dir / "ada" / name / "adapter" for name in ("c1", "c2")
    }
    fleet = make_fleet_adapters(gateway_host, [])
    with closing(State.open(postgresql_url)) as state:
        registry = Registry(state, policy_path=gateway_host.policy_path)
        for checkpoint in ("c1", "c2"):
            number = register_version(registry, "ada", checkpoint).version
            registry.move("ada", number, "refused", actor="gate", reason="a test's own")
        registry.move("ada", 1, "stable", actor="a person", reason="a test's own", force=True)
        fleet.step({"ada/v1": stable}, 0.0)

        with AdapterServer(gate_host).keep_adapter_loaded("ada/v1", judged_folders["c1"]):
            pass
        assert set(loaded_adapters.roots()) == {"ada/v1"}, "a gate unloaded what readers use"
        with AdapterServer(gate_host).keep_adapter_loaded("ada/v2", judged_folders["c2"]):
            for now in (1.0, 2 * UNLOAD_DELAY_S):
                fleet.step({"ada/v1": stable}, now)
            assert set(loaded_adapters.roots()) == {"ada/v1", "ada/v2"}
        assert set(loaded_adapters.roots()) == {"ada/v1"}

        registry.move("ada", 2, "stable", actor="a person", reason="a test's own", force=True)
        for now in (1000.0, 1001.0, 1001.0 + UNLOAD_DELAY_S):
            fleet.step({"ada/v2": candidate}, now)
        assert set(loaded_adapters.roots()) == {"ada/v2"}
        loaded_adapters.load("ada/v1", str(gpu_host.checkpoints_dir / "ada" / "c1" / "adapter"))
        for now in (2000.0, 2001.0 + UNLOAD_DELAY_S):
            fleet.step({"ada/v2": candidate}, now)
        assert set(loaded_adapters.roots()) == {"ada/v2"}, "a killed gate's adapter stayed loaded"


def test_an_adapter_that_no_host_can_load_fails_with_the_servers_reason(
    server_settings: Settings,
    loaded_adapters: LoadedAdapters,
    postgresql_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adapter_requests, "PICKUP_TIMEOUT_S", 1.0)
    gate_host = server_settings.model_copy(
        update={"state_url": postgresql_url, "model_server_home": str(tmp_path / "gpu")}
    )
    folder = make_adapter(gate_host, "c1")
    with (
        pytest.raises(TwinError, match="No adapter found"),
        AdapterServer(gate_host).keep_adapter_loaded("ada/v1", folder),
    ):
        pass
    with closing(State.open(postgresql_url)) as state:
        assert adapter_requests.requested_names(state) == set()
        with state.read_transaction() as connection:
            rows = connection.execute(sa.select(ended_leases.c.name)).scalars().all()
    assert not [name for name in rows if "ada" in name], "a request's name stays in the store"


def test_a_failing_adapter_is_retried_less_often(
    server_settings: Settings, loaded_adapters: LoadedAdapters
) -> None:
    lines: list[str] = []
    fleet = make_fleet_adapters(server_settings, lines)
    missing_folder, good_folder = (
        make_adapter(server_settings, name, author=name) for name in ("gone", "good")
    )
    shutil.rmtree(missing_folder)
    required = {"gone/v1": missing_folder, "good/v1": good_folder}

    problems = [fleet.step(required, now) for now in (0.0, 0.5, 1.0, 2.0, 3.0)]

    assert all(set(problem) == {"gone/v1"} for problem in problems)
    assert "No adapter found" in problems[-1]["gone/v1"]
    assert set(loaded_adapters.roots()) == {"good/v1"}
    assert len([line for line in lines if "gone/v1" in line]) == 1, (
        "the problem was logged more than once"
    )
    missing_folder.mkdir()
    (missing_folder / "adapter_config.json").write_text("{}")
    assert "gone/v1" in fleet.step(required, 4.0), "the adapter was retried before its delay"
    assert fleet.step(required, 8.0) == {}


def test_a_stopped_fleet_releases_its_leases(
    server_settings: Settings, loaded_adapters: LoadedAdapters
) -> None:
    fleet, folder = make_fleet_adapters(server_settings, []), make_adapter(server_settings, "c1")
    fleet.step({"ada/v1": folder}, 0.0)
    fleet.close()
    assert set(loaded_adapters.roots()) == {"ada/v1"}
    assert AdapterServer(server_settings).unload_unused("ada/v1")


LEASE_SCRIPT = """
import sys, time
from twin_resources.models.serving.loaded_adapters import AdapterServer
from twin_resources.settings import load_settings
lease = AdapterServer(load_settings()).acquire_lease("ada/v1")
print("held", flush=True)
time.sleep(600)
"""


def test_a_crash_does_not_keep_an_adapter_loaded(
    server_settings: Settings, loaded_adapters: LoadedAdapters
) -> None:
    server = AdapterServer(server_settings)
    server.ensure_loaded("ada/v1", make_adapter(server_settings, "c1"))
    holder = subprocess.Popen([sys.executable, "-c", LEASE_SCRIPT], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert not server.unload_unused("ada/v1")
    finally:
        holder.kill()
        holder.communicate()

    assert server.unload_unused("ada/v1")
    assert loaded_adapters.roots() == {}
