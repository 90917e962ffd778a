"""Two hosts of one home: what one releases, pauses or takes back is so on both."""

from __future__ import annotations

import hashlib
import shutil
from contextlib import closing

import pytest

from tests.live.gateway.stack import embed_passages
from tests.live.hosts.host import GATEWAY, MODELS, Host
from tests.live.serving.conftest import make_adapter
from tests.live.tiny_model import FEW_TOKENS, make_tiny_model
from tests.model_versions import register_version
from tests.prepared_base import base_folder
from tests.prepared_embedder import prepare_weights
from twin_resources.authors import Author, write_author
from twin_resources.authors.pausing import pause_author, resume_author
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.registry.registry import Registry
from twin_resources.storage.state.state import State
from twin_resources.storage.weights import gguf
from twin_resources.storage.weights.weights import prepare_base_model

pytestmark = pytest.mark.live
QUESTION = "How much oil does a clock need?"
STABLE = "twin/ann@stable"


def prepare_host(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a host an author, tables, the embedder and the base model, as after a training."""
    settings = host.settings
    for name, value in host.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(host.folder)
    make_tiny_model(host.folder / "tiny", base_folder(), vocabulary=FEW_TOKENS, spread=0.2)
    prepare_base_model(settings, report=lambda _: None)
    for prepared in prepare_weights().iterdir():
        if prepared.is_dir() and prepared.name != "wheels":
            shutil.copytree(prepared, settings.weights_dir / prepared.name)
    embed_passages(settings, "ann")
    write_author(settings, Author("ann", "Ann Bell", temperature=0.0, answer="voice"))


def add_version(host: Host, registry: Registry, number: int) -> None:
    """Register a version as a training does."""
    settings = host.settings
    checkpoint = hashlib.sha256(str(number).encode()).hexdigest()
    folder = settings.checkpoints_dir / "ann" / checkpoint
    prepared = next(path.parent for path in settings.weights_dir.glob("tiny/*/base_model.json"))
    base, base_gguf = host.folder / "tiny", next(prepared.glob("*.gguf"))
    make_adapter(base, folder / "adapter", scale=0.3 * number)
    adapter = gguf.write_adapter(folder / "adapter", base, folder / "adapter.gguf")
    register_version(
        registry,
        "ann",
        checkpoint,
        folder=str(folder),
        adapter_gguf=str(adapter),
        base=str(base),
        base_gguf=str(base_gguf),
        template=DEFAULT_TEMPLATE.hash,
    )


def release(registry: Registry, number: int) -> None:
    registry.move("ann", number, "refused", actor="gate", reason="a test's own")
    registry.move("ann", number, "stable", actor="a person", reason="a test's own", force=True)


def ask(host: Host) -> str:
    response = host.ask(STABLE, QUESTION)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["twin"]["answer"] == "voice"
    return str(answer["choices"][0]["message"]["content"])


def is_serving(host: Host, number: int) -> bool:
    status, document = host.readiness()
    return (
        status == 200
        and f"ann/v{number}" in document["servers"]
        and host.version(STABLE) == f"v{number}"
    )


def test_a_release_a_rollback_and_a_pause_reach_both_hosts(
    hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = hosts
    prepare_host(first, monkeypatch)
    with closing(State.open(first.shared["TWIN_STATE_URL"])) as state:
        registry = Registry(state, policy_path=first.settings.policy_path)
        add_version(first, registry, 1)
        release(registry, 1)
        for host in hosts:
            host.start(GATEWAY, MODELS)
        for host in hosts:
            host.wait(lambda host=host: is_serving(host, 1))
        answers = [ask(host) for host in hosts]
        assert answers[0] == answers[1] != ""
        servers = [host.settings.servers_path.read_text(encoding="utf-8") for host in hosts]
        assert servers[0] != servers[1], "a host serves with the other one's model servers"

        add_version(first, registry, 2)
        release(registry, 2)
        for host in hosts:
            host.wait(lambda host=host: is_serving(host, 2))
        assert ask(first) == ask(second) not in ("", answers[0])

        rolled_back = second.run("twin_cli", "rollback", "--reason", "a test's own")
        assert "every host of the deployment follows this" in rolled_back.stdout, rolled_back.stderr
        for host in hosts:
            host.wait(lambda host=host: is_serving(host, 1))
        assert [ask(host) for host in hosts] == answers

    pause_author(first.settings, "ann", reason="a test's own")
    second.wait(lambda: second.ask(STABLE, QUESTION).status_code == 503)
    resume_author(second.settings, "ann")
    first.wait(lambda: first.ask(STABLE, QUESTION).status_code == 200)
