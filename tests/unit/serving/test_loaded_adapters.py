"""Loading and unloading adapters on an external server.

The test server has vLLM's routes but no model; `tests/adapter_server.py` has a model.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapter_server import serve_adapters
from tests.erasure_targets import author_target
from tests.model_versions import register_version
from twin_resources.erasure.checkpoint_folders import Checkpoints
from twin_resources.erasure.data_store import Installation
from twin_resources.errors import TwinError
from twin_resources.models.serving import adapter_routes
from twin_resources.models.serving.loaded_adapters import (
    UNLOAD_DELAY_S,
    AdapterServer,
    FleetAdapters,
    peft_folder,
    required_adapters,
)
from twin_resources.registry.policy import (
    AuthorPolicy,
    Policy,
    ServedVersion,
    read_policy,
    write_policy,
)
from twin_resources.settings import Settings

KEY = "sk-there"
V1, V2 = "ada/v1-c1c1c1c1", "ada/v2-c2c2c2c2"


class LoadedAdapters:
    """The adapters of a test server."""

    name = "a-base"
    base = Path("/models/a-base")

    def __init__(self) -> None:
        self.loaded: dict[str, tuple[str, str]] = {}
        self.lock = threading.Lock()

    def load(self, name: str, path: str) -> None:
        self.loaded[name] = ("", path)

    def unload(self, name: str) -> None:
        del self.loaded[name]

    def roots(self) -> dict[str, str]:
        return {name: path for name, (_, path) in self.loaded.items()}


@pytest.fixture
def loaded_adapters() -> LoadedAdapters:
    return LoadedAdapters()


@pytest.fixture
def settings(home: Settings, loaded_adapters: LoadedAdapters) -> Iterator[Settings]:
    with serve_adapters(loaded_adapters, key=KEY) as url:
        yield home.model_copy(update={"model_server_url": url, "model_server_key": KEY})


def make_adapter(settings: Settings, checkpoint: str, *, author: str = "ada") -> Path:
    folder = settings.checkpoints_dir / author / checkpoint / "adapter"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    return folder


def make_policy(settings: Settings) -> Policy:
    """Return a policy with a tuned version, a full model, and an answer model elsewhere."""

    def version(number: int, folder: str, base: str = "/base") -> ServedVersion:
        kind = "answer_model" if base.startswith("http") else "tuned"
        checkpoint = Path(folder).name
        return ServedVersion(number, checkpoint, "t", folder, None, base, "", kind=kind)

    tuned = version(1, str(settings.checkpoints_dir / "ada" / "c1c1c1c1d1"))
    answer_model = version(1, "", "http://127.0.0.1:9/v1#large")
    authors = {
        "ada": AuthorPolicy(tuned, version(2, "/fully/trained")), "bob": AuthorPolicy(answer_model)
    }  # fmt: skip
    return Policy(authors=authors)


def test_a_version_is_served_under_its_checkpoints_hash(settings: Settings) -> None:
    folder = make_adapter(settings, "c1c1c1c1d1")
    assert (peft_folder(""), peft_folder(folder)) == (None, None)
    assert required_adapters(None) == {}
    assert required_adapters(make_policy(settings)) == {
        "ada/v1": (V1, folder), "ada/v2": ("ada/v2", None)
    }  # fmt: skip


def test_a_candidate_is_loaded_while_it_is_asked_and_a_released_one_stays(
    settings: Settings, loaded_adapters: LoadedAdapters
) -> None:
    server, folder = AdapterServer(settings), make_adapter(settings, "c1c1c1c1d1")
    with server.keep_adapter_loaded(V1, folder):
        with AdapterServer(settings).keep_adapter_loaded(V1, folder):  # the gate's second one
            assert loaded_adapters.roots() == {V1: str(folder)}
        assert loaded_adapters.roots() == {V1: str(folder)}, "the first one still asks it"
    assert loaded_adapters.roots() == {}
    with server.keep_adapter_loaded(V1, folder):
        write_policy(settings.policy_path, make_policy(settings))
    assert loaded_adapters.roots() == {V1: str(folder)}


def test_two_concurrent_loads_succeed(
    settings: Settings, loaded_adapters: LoadedAdapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process loads the adapter between listing and the request, which then fails."""
    folder, load_adapter = make_adapter(settings, "c1"), adapter_routes.load_adapter

    def load_twice(url: str, key: str, *, name: str, path: str) -> None:
        load_adapter(url, key, name=name, path=path)
        load_adapter(url, key, name=name, path=path)

    monkeypatch.setattr(adapter_routes, "load_adapter", load_twice)
    AdapterServer(settings).load(V1, folder)
    assert loaded_adapters.roots() == {V1: str(folder)}


def test_the_server_gets_the_path_on_its_file_system(
    settings: Settings, loaded_adapters: LoadedAdapters
) -> None:
    seen = settings.model_copy(update={"model_server_home": str(settings.home / "seen")})
    folder = make_adapter(settings, "c1")
    seen_folder = settings.home / "seen" / folder.relative_to(settings.home)
    with pytest.raises(TwinError, match="No adapter found"):
        AdapterServer(seen).load(V1, folder)
    seen_folder.mkdir(parents=True)
    (seen_folder / "adapter_config.json").write_text("{}")
    AdapterServer(seen).load(V1, folder)
    assert loaded_adapters.roots() == {V1: str(seen_folder)}


def test_the_servers_message_is_reported(settings: Settings) -> None:
    server, folder = AdapterServer(settings), make_adapter(settings, "c1")
    with pytest.raises(TwinError, match="cannot be found"):
        server.unload(V1)
    with pytest.raises(TwinError, match="--lora-modules ada/v2=FOLDER"):
        server.load("ada/v2", None)
    wrong_key = settings.model_copy(update={"model_server_key": "sk-wrong"})
    with (
        pytest.raises(TwinError, match="TWIN_MODEL_SERVER_KEY"),
        AdapterServer(wrong_key).keep_adapter_loaded(V1, folder),
    ):
        pass


def test_a_server_without_adapter_routes_is_an_error(
    home: Settings, loaded_adapters: LoadedAdapters
) -> None:
    with serve_adapters(loaded_adapters, key=KEY, updatable=False) as url:
        settings = home.model_copy(update={"model_server_url": url, "model_server_key": KEY})
        assert not adapter_routes.can_load_adapters(url, KEY)
        with pytest.raises(
            adapter_routes.RouteMissingError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
        ):
            AdapterServer(settings).load(V1, make_adapter(settings, "c1"))
    with serve_adapters(loaded_adapters, key=KEY) as url:
        assert adapter_routes.can_load_adapters(url, KEY)


def test_the_fleet_loads_what_is_required_and_unloads_what_was_replaced(
    settings: Settings, loaded_adapters: LoadedAdapters
) -> None:
    lines: list[str] = []
    fleet = FleetAdapters(settings, log=lines.append)
    first, second = make_adapter(settings, "c1"), make_adapter(settings, "c2")
    loaded_adapters.load("a-name-of-its-own", "/elsewhere")
    assert fleet.step({V1: first, "ada/v9": None}, 0.0)[1].keys() == {"ada/v9"}
    loaded_adapters.unload(V1)  # the server restarted
    offered, problems = fleet.step({V1: first}, 5.0)
    assert (set(offered), problems) == ({"a-base", "a-name-of-its-own", V1}, {})
    fleet.step({V2: second}, 10.0)
    fleet.step({V1: first}, 20.0)  # it comes back before the delay, and stays
    fleet.step({V1: first}, 20.0 + UNLOAD_DELAY_S)
    assert loaded_adapters.roots() == {"a-name-of-its-own": "/elsewhere", V1: str(first)}
    assert lines[-1] == f"{V2} is unloaded"
    assert lines.count(f"{V1} is loaded") == 2


def test_the_adapters_of_a_checkpoint_and_of_an_author_are_found(
    settings: Settings, loaded_adapters: LoadedAdapters
) -> None:
    for name in (V1, V2):
        loaded_adapters.load(name, "/checkpoints")
    server = AdapterServer(settings)
    assert server.find_loaded(["c1c1c1c1d1"]) == [V1]
    assert server.find_loaded([], author="ada") == [V1, V2]
    assert server.find_loaded([], author="ad") == []


def test_a_forgotten_authors_adapters_are_unloaded_before_their_files_go(
    settings: Settings, loaded_adapters: LoadedAdapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM reads a folder again when memory is short, and a missing one ends it for all authors."""
    installation = Installation.for_settings(settings)
    folder = make_adapter(settings, "c1c1c1c1d1").parent
    register_version(installation.registry, "ada", "c1c1c1c1d1", folder=str(folder))
    installation.registry.move("ada", 1, "refused", actor="t", reason="t")
    installation.registry.move("ada", 1, "stable", actor="t", reason="t", force=True)
    required = required_adapters(read_policy(settings.policy_path))
    assert required == {"ada/v1": (V1, folder / "adapter")}
    FleetAdapters(settings, log=lambda _line: None).step(dict(required.values()), 0.0)
    unloaded_with_files: list[bool] = []
    unload = loaded_adapters.unload

    def unload_and_look(name: str) -> None:
        unloaded_with_files.append(folder.exists())
        unload(name)

    monkeypatch.setattr(loaded_adapters, "unload", unload_and_look)
    checkpoints, target = Checkpoints(installation), author_target("ada")
    assert f"{V1} on the model server" in checkpoints.find_remaining(target)
    checkpoints.erase(target)
    assert (checkpoints.find_remaining(target), folder.exists()) == ([], False)
    assert unloaded_with_files == [True]
    assert required_adapters(read_policy(settings.policy_path)) == {}, "the fleet loads it again"
    installation.state.close()
