"""Test a gate on a host without the model server's disk: the server's host loads the adapters."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.adapter_server import BaseWithAdapters, serve_adapters
from tests.live.hosts.host import MODELS, Host
from tests.live.hosts.test_two_hosts import add_version, prepare_host
from twin_resources.models.serving.loaded_adapters import AdapterServer
from twin_resources.registry.registry import Registry
from twin_resources.storage.state.state import State

pytestmark = pytest.mark.live
BODY = {
    "messages": [{"role": "user", "content": "How much oil does a clock need?"}],
    "max_tokens": 12,
    "temperature": 0.0,
}
# Prepares an empty disk, serves the candidate and asks it, as a gate does.
GATE_SCRIPT = """
import httpx, json, sys
from contextlib import closing
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.registry.host_sync import prepare_run
from twin_resources.registry.registry import Registry
from twin_resources.settings import load_settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State

settings = load_settings()
prepare_run(settings, "ann")
with closing(open_home_state(settings)) as state:
    version = Registry(state, policy_path=settings.policy_path).get("ann", int(sys.argv[1]))
with ModelServers(settings).serve_version(version) as server:
    body = json.loads(sys.argv[2]) | {"model": server.alias}
    response = httpx.post(f"{server.url}/chat/completions", json=body, timeout=120)
    print(json.dumps(response.raise_for_status().json()["choices"][0]["message"]), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hosts(
    tmp_path: Path, shared: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Host, Host, Host, BaseWithAdapters]]:
    """Yield the hosts that train, serve and judge, and the server's loaded adapters."""
    training_host = Host(tmp_path / "trains", shared)
    prepare_host(training_host, monkeypatch)
    adapters = BaseWithAdapters(training_host.folder / "tiny", "tiny", "float32")
    with serve_adapters(adapters, key="") as url:
        home = str(tmp_path / "serves" / "home")
        environment = shared | {"TWIN_MODEL_SERVER_URL": url, "TWIN_MODEL_SERVER_HOME": home}
        serving_host, judging_host = (
            Host(tmp_path / name, environment) for name in ("serves", "judges")
        )
        yield training_host, serving_host, judging_host, adapters
        for host in (training_host, serving_host, judging_host):
            host.stop()


def start_gate(host: Host, number: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", GATE_SCRIPT, str(number), json.dumps(BODY)],
        cwd=host.folder,
        env=host.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_gate_asks_its_candidate_on_another_hosts_model_server(
    hosts: tuple[Host, Host, Host, BaseWithAdapters],
) -> None:
    training_host, serving_host, judging_host, adapters = hosts
    serving_host.start(MODELS)
    answers = [adapters.chat(BODY | {"model": "tiny"})["choices"][0]["message"]]
    with closing(State.open(training_host.shared["TWIN_STATE_URL"])) as state:
        registry = Registry(state, policy_path=training_host.settings.policy_path)
        for number in (1, 2):
            add_version(training_host, registry, number)
        for number in (1, 2):
            gate = start_gate(judging_host, number)
            assert gate.stdout is not None
            line = gate.stdout.readline()
            assert line, gate.communicate()[1][-4000:]
            name = f"ann/v{number}"
            expected = adapters.chat(BODY | {"model": name})["choices"][0]["message"]
            assert json.loads(line) == expected not in answers
            answers.append(expected)
            assert Path(adapters.adapter_paths()[name]).is_relative_to(serving_host.folder)
            server = AdapterServer(serving_host.settings)
            assert not server.unload_unused(name), "the gate still asks it"
            gate.kill()
            gate.communicate()
            serving_host.wait(lambda server=server, name=name: server.unload_unused(name))
