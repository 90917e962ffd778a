"""Test that the fleet's process follows the policy without gaps in service."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from openai import OpenAI

from tests.live.serving.conftest import TinyModel
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.registry.policy import AuthorPolicy, Policy, ServedVersion, write_policy
from twin_resources.settings import Settings
from twin_resources.storage.weights.weights import prepare_base_model

pytestmark = pytest.mark.live

Servers = dict[str, dict[str, Any]]


class FleetProcess:
    """The process `python -m twin_resources.models.serving.fleet` of one home."""

    def __init__(self, settings: Settings, **environment: str) -> None:
        self.settings = settings
        self.log = settings.logs_dir / "fleet.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "twin_resources.models.serving.fleet"],
                env=os.environ | environment,
                stdout=log,
                stderr=log,
            )

    def document(self) -> dict[str, Any]:
        if not self.settings.servers_path.exists():
            return {"servers": {}, "problems": {}}
        return json.loads(self.settings.servers_path.read_text(encoding="utf-8"))

    def servers(self) -> Servers:
        return self.document()["servers"]

    def wait(self, condition: Callable[[Servers], bool], *, within_s: float = 180.0) -> Servers:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            servers = self.servers()
            if condition(servers):
                return servers
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        pytest.fail(f"not within {within_s} s; {self.document()}; log:\n{self.log.read_text()}")


@pytest.fixture
def start_fleet(home: Settings) -> Iterator[Callable[..., FleetProcess]]:
    processes: list[FleetProcess] = []

    def start(**environment: str) -> FleetProcess:
        processes.append(FleetProcess(home, **environment))
        return processes[-1]

    yield start
    for fleet in processes:
        if fleet.process.poll() is None:
            fleet.process.terminate()
            fleet.process.wait(15)


@pytest.fixture
def prepared_home(home: Settings, model: TinyModel, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return a home with the tiny base model prepared."""
    monkeypatch.setenv("TWIN_BASE_MODEL", str(model.base))
    settings = home.model_copy(update={"base_model": str(model.base)})
    prepare_base_model(settings, report=lambda _line: None)
    return settings


def make_version(number: int, model: TinyModel, *, adapter: Path | None = None) -> ServedVersion:
    return ServedVersion(
        version=number,
        checkpoint=f"{number:064x}",
        template="t",
        folder="f",
        adapter_gguf=str(adapter or model.adapter_gguf),
        base=str(model.base),
        base_gguf=str(model.base_gguf),
    )


def release(settings: Settings, **stable: ServedVersion) -> None:
    authors = {slug: AuthorPolicy(item, weights={"stable": 1.0}) for slug, item in stable.items()}
    write_policy(settings.policy_path, Policy("now", "gate-1", authors))


def create_client(server: dict[str, Any]) -> OpenAI:
    return OpenAI(base_url=server["url"], api_key=server["key"], max_retries=0)


def find_server_processes(servers: Servers) -> list[psutil.Process]:
    return [psutil.Process(server["pid"]) for server in servers.values()]


def test_the_old_version_drains_after_the_new_one_has_started(
    prepared_home: Settings, model: TinyModel, start_fleet: Callable[..., FleetProcess]
) -> None:
    fleet = start_fleet()
    base = fleet.wait(lambda servers: "base" in servers)["base"]
    assert oct(prepared_home.servers_path.stat().st_mode & 0o777) == "0o600"
    release(prepared_home, ada=make_version(1, model))
    first = fleet.wait(lambda servers: "ada/v1" in servers)["ada/v1"]
    old_process = psutil.Process(first["pid"])

    # the old version streams a long answer while the new one replaces it
    chunks: list[str] = []
    stream = create_client(first).chat.completions.create(
        model="ada/v1",
        messages=[{"role": "user", "content": "Go on."}],
        max_tokens=3500,
        stream=True,
        extra_body={"ignore_eos": True},
    )

    def read() -> None:
        chunks.extend(chunk.choices[0].finish_reason or "" for chunk in stream if chunk.choices)

    reader = threading.Thread(target=read)
    reader.start()
    release(prepared_home, ada=make_version(2, model))
    gap_count = 0
    while "ada/v2" not in (servers := fleet.servers()):
        gap_count += "ada/v1" not in servers
        time.sleep(0.01)
    assert gap_count == 0, "the old version stopped before the new one answered"
    fleet.wait(lambda servers: "ada/v1" not in servers)
    was_running = old_process.is_running()
    reader.join(120)

    assert was_running, "the old version ended immediately"
    assert chunks[-1] == "length", "the stream of the old version was cut"
    deadline = time.monotonic() + 120
    while old_process.is_running() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not old_process.is_running(), "the old version never ended"
    assert fleet.servers()["base"]["pid"] == base["pid"], "the base was restarted without a reason"


def test_a_crashed_server_is_restarted(
    prepared_home: Settings, start_fleet: Callable[..., FleetProcess]
) -> None:
    fleet = start_fleet()
    first = fleet.wait(lambda servers: "base" in servers)["base"]

    os.kill(first["pid"], signal.SIGKILL)

    fleet.wait(lambda servers: "base" not in servers)
    assert "base" in fleet.document()["problems"]
    restarted_server = fleet.wait(lambda servers: "base" in servers)["base"]
    assert restarted_server["pid"] != first["pid"]
    assert create_client(restarted_server).models.list().data[0].id == "base"
    assert fleet.document()["problems"] == {}


def test_a_version_that_cannot_start_does_not_affect_others(
    prepared_home: Settings,
    model: TinyModel,
    start_fleet: Callable[..., FleetProcess],
    tmp_path: Path,
) -> None:
    broken_version = make_version(1, model, adapter=tmp_path / "gone.gguf")
    release(prepared_home, ada=broken_version, bob=make_version(7, model))

    fleet = start_fleet()
    fleet.wait(lambda servers: {"base", "bob/v7"} <= set(servers))
    assert "gone.gguf" in fleet.document()["problems"]["ada/v1"]

    # another author's release must not wait for it
    release(prepared_home, ada=broken_version, bob=make_version(8, model))
    fleet.wait(lambda servers: "bob/v8" in servers and "bob/v7" not in servers)
    prepared_home.policy_path.write_text("{ not json", encoding="utf-8")
    deadline = time.monotonic() + 120
    while "policy.json" not in fleet.document()["problems"] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "policy.json" in fleet.document()["problems"]
    assert "bob/v8" in fleet.servers()


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_no_server_outlives_the_fleet(
    signal_number: signal.Signals,
    prepared_home: Settings,
    model: TinyModel,
    start_fleet: Callable[..., FleetProcess],
) -> None:
    release(prepared_home, ada=make_version(1, model))
    fleet = start_fleet()
    running = find_server_processes(fleet.wait(lambda servers: len(servers) == 2))

    fleet.process.send_signal(signal_number)
    code = fleet.process.wait(60)

    _, alive = psutil.wait_procs(running, timeout=60)
    assert alive == []
    if signal_number == signal.SIGTERM:
        assert code == 0
        assert fleet.servers() == {}
    else:  # the next fleet replaces the remaining entries of the file before it serves anything
        next_fleet = start_fleet()
        old_pids = {process.pid for process in running}
        servers = next_fleet.wait(
            lambda servers: old_pids.isdisjoint(server["pid"] for server in servers.values())
        )
        assert all(process.is_running() for process in find_server_processes(servers))
        next_fleet.wait(lambda servers: len(servers) == 2)


def test_the_fleet_waits_for_the_base_model(
    home: Settings, model: TinyModel, start_fleet: Callable[..., FleetProcess]
) -> None:
    fleet = start_fleet(TWIN_BASE_MODEL=str(model.base))
    deadline = time.monotonic() + 120
    while "base" not in fleet.document()["problems"] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "prepare" in fleet.document()["problems"]["base"]

    settings = home.model_copy(update={"base_model": str(model.base)})
    prepare_base_model(settings, report=lambda _line: None)

    fleet.wait(lambda servers: "base" in servers)


def test_an_external_server_is_published_with_its_offered_names(
    home: Settings, model: TinyModel, start_fleet: Callable[..., FleetProcess]
) -> None:
    release(home, ada=make_version(1, model), bob=make_version(1, model))
    with ModelServers(home).serve(model.base_gguf, alias="ada/v1") as external_server:
        fleet = start_fleet(
            TWIN_MODEL_SERVER_URL=external_server.url, TWIN_MODEL_SERVER_KEY=external_server.key
        )
        published = fleet.wait(lambda servers: "ada/v1" in servers)

        assert published["ada/v1"]["url"] == external_server.url
        assert published["ada/v1"]["pid"] is None
        assert set(published) == {"ada/v1"}
        assert "--lora-modules bob/v1" in fleet.document()["problems"]["bob/v1"]
        headers = {"Authorization": f"Bearer {published['ada/v1']['key']}"}
        assert httpx.get(f"{external_server.url}/models", headers=headers).status_code == 200
        fleet.process.terminate()
        fleet.process.wait(10)
        assert httpx.get(f"{external_server.url}/models", headers=headers).status_code == 200
