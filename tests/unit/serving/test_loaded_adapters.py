"""Test loading, keeping and unloading adapters on an external server.

The server has vLLM's routes and no model behind them (`tests/adapter_server.py` has one).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapter_server import serving
from twin_resources.errors import TwinError
from twin_resources.models.serving import adapter_routes
from twin_resources.models.serving.fleet import required_adapters
from twin_resources.models.serving.fleet_member import retry_delay_s
from twin_resources.models.serving.loaded_adapters import (
    UNLOAD_DELAY_S,
    AdapterServer,
    FleetAdapters,
    peft_folder,
)
from twin_resources.registry.policy import AuthorPolicy, Policy, ServedVersion
from twin_resources.settings import Settings

KEY = "sk-there"


class LoadedAdapters:
    """The adapters of a test server, and the number of load requests."""

    name = "a-base"
    base = Path("/models/a-base")

    def __init__(self) -> None:
        self.loaded: dict[str, tuple[str, str]] = {}
        self.lock = threading.Lock()
        self.loads = 0

    def load(self, name: str, path: str) -> None:
        self.loads += 1
        self.loaded[name] = ("", path)

    def unload(self, name: str) -> None:
        del self.loaded[name]

    def roots(self) -> dict[str, str]:
        return {name: path for name, (_, path) in self.loaded.items()}


@pytest.fixture
def loaded_adapters() -> LoadedAdapters:
    return LoadedAdapters()


@pytest.fixture
def at_server(home: Settings, loaded_adapters: LoadedAdapters) -> Iterator[Settings]:
    with serving(loaded_adapters, key=KEY) as url:
        yield home.model_copy(update={"model_server_url": url, "model_server_key": KEY})


def write_checkpoint(settings: Settings, name: str, *, author: str = "ada") -> Path:
    """Write a checkpoint's folder with an adapter."""
    folder = settings.checkpoints_dir / author / name
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    return folder


def adapter(settings: Settings, name: str, *, author: str = "ada") -> Path:
    found = peft_folder(write_checkpoint(settings, name, author=author))
    assert found is not None
    return found


def fleet_adapters(settings: Settings, lines: list[str]) -> FleetAdapters:
    return FleetAdapters(settings, log=lines.append, retry_delay_s=retry_delay_s)


def test_a_checkpoint_without_an_adapter_has_no_peft_folder(at_server: Settings) -> None:
    assert peft_folder("") is None
    folder = write_checkpoint(at_server, "c1")
    assert peft_folder(str(folder)) == folder / "adapter"
    shutil.rmtree(folder / "adapter")
    assert peft_folder(folder) is None


def test_versions_in_use_require_their_folders(at_server: Settings) -> None:
    folder = write_checkpoint(at_server, "c1")

    def version(number: int, where: str, base: str = "/base") -> ServedVersion:
        kind = "answer_model" if base.startswith("http") else "tuned"
        return ServedVersion(number, "c", "t", where, None, base, "", kind=kind)

    stable, whole = version(1, str(folder)), version(2, "/fully/trained")
    named = version(1, "", "http://127.0.0.1:9/v1#large")
    policy = Policy(authors={"ada": AuthorPolicy(stable, whole), "bob": AuthorPolicy(named)})

    assert required_adapters(None) == {}
    assert required_adapters(policy) == {"ada/v1": folder / "adapter", "ada/v2": None}


def test_an_adapter_is_loaded_while_it_is_used(
    at_server: Settings, loaded_adapters: LoadedAdapters
) -> None:
    server, folder = AdapterServer(at_server), adapter(at_server, "c1")

    with server.keep_adapter_loaded("ada/v1", folder):
        assert loaded_adapters.roots() == {"ada/v1": str(folder)}
        with server.keep_adapter_loaded("ada/v1", folder):
            assert loaded_adapters.loads == 1
        assert loaded_adapters.roots() == {"ada/v1": str(folder)}, "the outer one still asks it"
    assert loaded_adapters.roots() == {}
    with pytest.raises(RuntimeError, match="gate"), server.keep_adapter_loaded("ada/v1", folder):
        raise RuntimeError("the gate failed")
    assert loaded_adapters.roots() == {}


def test_two_concurrent_loads_succeed(
    at_server: Settings, loaded_adapters: LoadedAdapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process loads the adapter between listing and the request, which then fails."""
    folder = adapter(at_server, "c1")
    ask = adapter_routes.load_adapter

    def second(url: str, key: str, *, name: str, path: str) -> None:
        ask(url, key, name=name, path=path)
        ask(url, key, name=name, path=path)

    monkeypatch.setattr(adapter_routes, "load_adapter", second)
    AdapterServer(at_server).ensure_loaded("ada/v1", folder)
    assert loaded_adapters.roots() == {"ada/v1": str(folder)}


def test_the_server_gets_the_path_on_its_file_system(
    at_server: Settings, loaded_adapters: LoadedAdapters
) -> None:
    there = at_server.model_copy(update={"model_server_home": str(at_server.home / "seen")})
    real = at_server.home / "seen" / "checkpoints" / "ada" / "c1" / "adapter"
    real.mkdir(parents=True)
    (real / "adapter_config.json").write_text("{}")

    with AdapterServer(there).keep_adapter_loaded("ada/v1", adapter(at_server, "c1")):
        assert loaded_adapters.roots() == {"ada/v1": str(real)}
    assert loaded_adapters.roots() == {}


def test_another_checkpoint_of_this_home_is_replaced(
    at_server: Settings, loaded_adapters: LoadedAdapters
) -> None:
    server, old, new = AdapterServer(at_server), *(adapter(at_server, c) for c in ("c1", "c2"))
    server.ensure_loaded("ada/v1", old)
    server.ensure_loaded("ada/v1", new)
    assert loaded_adapters.roots() == {"ada/v1": str(new)}


def test_an_adapter_of_another_owner_is_an_error(
    at_server: Settings, loaded_adapters: LoadedAdapters
) -> None:
    loaded_adapters.load("ada/v1", "/their/home/checkpoints/ada/c9/adapter")
    server, folder = AdapterServer(at_server), adapter(at_server, "c1")

    with pytest.raises(TwinError, match="TWIN_MODEL_SERVER_HOME") as refused:
        server.ensure_loaded("ada/v1", folder)
    assert "/their/home/checkpoints/ada/c9/adapter" in refused.value.found
    assert not server.unload_unused("ada/v1")
    lines: list[str] = []
    fleet = fleet_adapters(at_server, lines)
    for now in (0.0, UNLOAD_DELAY_S * 2):
        assert fleet.step({}, now) == {}
    assert loaded_adapters.roots() == {"ada/v1": "/their/home/checkpoints/ada/c9/adapter"}


def test_the_servers_message_is_reported(at_server: Settings) -> None:
    server, folder = AdapterServer(at_server), adapter(at_server, "c1")
    away = at_server.model_copy(update={"model_server_home": "/not/mounted"})

    with pytest.raises(TwinError, match="HTTP 404: Loading lora ada/v1 failed") as refused:
        AdapterServer(away).ensure_loaded("ada/v1", folder)
    assert "TWIN_MODEL_SERVER_HOME" in refused.value.next_step
    with pytest.raises(TwinError, match="cannot be found"):
        adapter_routes.unload_adapter(at_server.model_server_url, KEY, name="ada/v1")
    with pytest.raises(TwinError, match="--lora-modules ada/v2=FOLDER"):
        server.ensure_loaded("ada/v2", None)
    wrong = at_server.model_copy(update={"model_server_key": "sk-wrong"})
    with pytest.raises(TwinError, match="TWIN_MODEL_SERVER_KEY"):
        AdapterServer(wrong).ensure_loaded("ada/v1", folder)


def test_a_server_without_adapter_routes_is_an_error(
    home: Settings, loaded_adapters: LoadedAdapters
) -> None:
    with serving(loaded_adapters, key=KEY, updating=False) as url:
        settings = home.model_copy(update={"model_server_url": url, "model_server_key": KEY})
        assert not adapter_routes.can_load(url, KEY)
        with pytest.raises(
            adapter_routes.RouteMissingError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
        ):
            AdapterServer(settings).ensure_loaded("ada/v1", adapter(settings, "c1"))
        # what a person has loaded by its folder is served all the same
        loaded_adapters.load("ada/v1", str(settings.checkpoints_dir / "ada" / "c1" / "adapter"))
        folder = peft_folder(settings.checkpoints_dir / "ada" / "c1")
        AdapterServer(settings).ensure_loaded("ada/v1", folder)
    with serving(loaded_adapters, key=KEY) as url:
        assert adapter_routes.can_load(url, KEY)


def test_the_fleet_reloads_adapters_after_a_restart_of_the_server(
    at_server: Settings, loaded_adapters: LoadedAdapters
) -> None:
    lines: list[str] = []
    fleet = fleet_adapters(at_server, lines)
    wanted = {f"{one}/v1": adapter(at_server, "c1", author=one) for one in ("ada", "bob")}

    assert fleet.step(wanted, 0.0) == {}
    loaded_adapters.loaded.clear()
    assert fleet.step(wanted, 5.0) == {}

    assert loaded_adapters.roots() == {name: str(folder) for name, folder in wanted.items()}
    assert loaded_adapters.loads == 4
    assert lines == ["ada/v1 is loaded", "bob/v1 is loaded"] * 2


def test_the_fleet_unloads_a_replaced_version_after_a_delay(
    at_server: Settings, loaded_adapters: LoadedAdapters
) -> None:
    lines: list[str] = []
    fleet = fleet_adapters(at_server, lines)
    old, new = (adapter(at_server, c) for c in ("c1", "c2"))
    fleet.step({"ada/v1": old}, 0.0)

    fleet.step({"ada/v2": new}, 10.0)
    fleet.step({"ada/v2": new}, 10.0 + UNLOAD_DELAY_S - 1)
    assert set(loaded_adapters.roots()) == {"ada/v1", "ada/v2"}
    assert not AdapterServer(at_server).unload_unused("ada/v1"), "the fleet holds it"
    fleet.step({"ada/v2": new}, 10.0 + UNLOAD_DELAY_S)

    assert loaded_adapters.roots() == {"ada/v2": str(new)}
    assert lines[-1] == "ada/v1 is unloaded"
    # rolled back before that, it is kept
    fleet.step({"ada/v1": old}, 400.0)
    fleet.step({"ada/v2": new}, 410.0)
    fleet.step({"ada/v1": old}, 420.0)
    fleet.step({"ada/v1": old}, 420.0 + 2 * UNLOAD_DELAY_S)
    assert loaded_adapters.roots() == {"ada/v1": str(old)}


def test_only_unused_adapters_are_unloaded(
    at_server: Settings, loaded_adapters: LoadedAdapters
) -> None:
    fleet = fleet_adapters(at_server, [])
    left, asked = (adapter(at_server, c) for c in ("c1", "c2"))
    loaded_adapters.load("ada/v1", str(left))
    loaded_adapters.load("a-name-of-its-own", str(left))
    with AdapterServer(at_server).keep_adapter_loaded("ada/v2", asked):
        for now in (0.0, UNLOAD_DELAY_S, 2 * UNLOAD_DELAY_S):
            fleet.step({}, now)
        assert set(loaded_adapters.roots()) == {"ada/v2", "a-name-of-its-own"}


def test_a_failing_adapter_is_retried_less_often(
    at_server: Settings, loaded_adapters: LoadedAdapters
) -> None:
    lines: list[str] = []
    fleet = fleet_adapters(at_server, lines)
    gone, good = (adapter(at_server, c, author=c) for c in ("gone", "good"))
    shutil.rmtree(gone)
    wanted = {"gone/v1": gone, "good/v1": good}

    problems = [fleet.step(wanted, now) for now in (0.0, 0.5, 1.0, 2.0, 3.0)]

    assert all(set(problem) == {"gone/v1"} for problem in problems)
    assert "No adapter found" in problems[-1]["gone/v1"]
    assert set(loaded_adapters.roots()) == {"good/v1"}
    assert len([line for line in lines if "gone/v1" in line]) == 1, "told once"
    gone.mkdir()
    (gone / "adapter_config.json").write_text("{}")
    assert "gone/v1" in fleet.step(wanted, 4.0), "not before its pause is over"
    assert fleet.step(wanted, 8.0) == {}


def test_a_stopped_fleet_releases_its_leases(
    at_server: Settings, loaded_adapters: LoadedAdapters
) -> None:
    fleet, folder = fleet_adapters(at_server, []), adapter(at_server, "c1")
    fleet.step({"ada/v1": folder}, 0.0)
    fleet.close()
    assert set(loaded_adapters.roots()) == {"ada/v1"}
    assert AdapterServer(at_server).unload_unused("ada/v1")


HOLDER = """
import sys, time
from twin_resources.models.serving.loaded_adapters import AdapterServer
from twin_resources.settings import load_settings
lease = AdapterServer(load_settings()).acquire_lease("ada/v1")
print("held", flush=True)
time.sleep(600)
"""


def test_a_crash_does_not_keep_an_adapter_loaded(
    at_server: Settings, loaded_adapters: LoadedAdapters
) -> None:
    server = AdapterServer(at_server)
    server.ensure_loaded("ada/v1", adapter(at_server, "c1"))
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert not server.unload_unused("ada/v1")
    finally:
        holder.kill()
        holder.communicate()

    assert server.unload_unused("ada/v1")
    assert loaded_adapters.roots() == {}
