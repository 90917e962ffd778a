"""Test that a version released on one host answers on another host with an empty folder."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import closing

import pytest

from tests.graph.s3 import make_s3_client
from tests.live.gateway.stack import embed_passages
from tests.live.hosts.host import GATEWAY, MODELS, Host
from tests.live.serving.conftest import make_adapter
from tests.live.tiny_model import FEW_TOKENS, make_tiny_model
from tests.model_versions import register_version
from tests.prepared_base import base_folder
from tests.prepared_embedder import prepare_weights
from twin_resources.authors import Author, write_author
from twin_resources.authors.pausing import pause_author, pause_path, resume_author
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.registry.host_sync import share_weights
from twin_resources.registry.registry import Registry
from twin_resources.registry.shared_files import share_file
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
    share_file(
        settings, write_author(settings, Author("ann", "Ann Bell", temperature=0.0, answer="voice"))
    )


def add_version(host: Host, registry: Registry, number: int) -> list[str]:
    """Store and register a version as a training does; return the stored folders."""
    settings = host.settings
    checkpoint = hashlib.sha256(str(number).encode()).hexdigest()
    folder = settings.checkpoints_dir / "ann" / checkpoint
    prepared = next(path.parent for path in settings.weights_dir.glob("tiny/*/base_model.json"))
    base, base_gguf = host.folder / "tiny", next(prepared.glob("*.gguf"))
    make_adapter(base, folder / "adapter", scale=0.3 * number)
    adapter = gguf.write_adapter(folder / "adapter", base, folder / "adapter.gguf")
    stored = share_weights(settings, str(folder), str(base_gguf))
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
    return stored


def release(registry: Registry, number: int) -> None:
    registry.move("ann", number, "refused", actor="gate", reason="a test's own")
    registry.move("ann", number, "stable", actor="a person", reason="a test's own", force=True)


def ask(host: Host) -> str:
    answer = host.ask(STABLE, QUESTION)
    assert answer["twin"]["answer"] == "voice"
    return str(answer["choices"][0]["message"]["content"])


def is_serving(host: Host, number: int) -> bool:
    status, document = host.readiness()
    return (
        status == 200
        and f"ann/v{number}" in document["servers"]
        and host.version(STABLE) == f"v{number}"
    )


def roll_back_from_another_computer(host: Host) -> None:
    """Use the deployment through a context, on a computer without home, programs or settings."""
    computer = Host(host.folder.parent / "computer", {})
    context = computer.folder / ".config" / "llm-twin" / "prod.env"
    context.parent.mkdir(parents=True)
    values = {**host.shared, "TWIN_GATEWAY_URL": f"http://127.0.0.1:{host.port}/v1"}
    context.write_text("".join(f"{name}={value!r}\n" for name, value in values.items()))
    context.chmod(0o600)

    def run(*arguments: str) -> str:
        completed = computer.run("twin_cli", "--context", "prod", *arguments)
        assert completed.returncode == 0, completed.stdout + completed.stderr
        return completed.stdout

    status = run("status")
    assert ": ready" in status
    assert status.split()[-2:] == ["twin/ann", "v2"]
    assert json.loads(run("ask", QUESTION, "--model", STABLE, "--json"))["version"] == "v2"
    rolled_back = run("rollback", "--reason", "a test's own")
    assert "every host of the deployment follows this" in rolled_back
    assert run("status").split()[-2:] == ["twin/ann", "v1"]
    assert "request 1: retrain Ann Bell" in run("retrain", "--reason", "a test's own")
    result = computer.run("twin_cli", "--context", "prod", "retrain", "--wait", "--reason", "x")
    assert result.returncode == 1
    assert "no stack is running" in result.stderr
    bucket = host.shared["TWIN_TABLES_URI"].split("/")[2]
    post = f"# On oil\n\n{'A clock needs one drop of oil for each pivot, and no more. ' * 8}"
    make_s3_client(host.shared["AWS_ENDPOINT"]).put_object(
        Bucket=bucket, Key="posts/a.md", Body=post
    )
    source = f"s3://{bucket}/posts"
    assert "sensor new_posts imports this" in run("import", source, "--author", "ann")
    author_file = host.settings.authors_dir / "ann.toml"
    host.wait(lambda: source in author_file.read_text(encoding="utf-8"))
    checks = json.loads(run("doctor", "--json"))["checks"]
    assert [check["verdict"] for check in checks if check["name"] == "gateway"] == ["ok"]


def test_a_release_and_a_rollback_reach_a_host_with_an_empty_folder(
    hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = hosts
    second.start(GATEWAY)
    second.wait(lambda: second.readiness()[0] == 503)
    second.wait(lambda: second.readiness()[1]["problems"] == [])
    assert second.readiness()[1]["authors"] == []

    prepare_host(first, monkeypatch)
    with closing(State.open(first.shared["TWIN_STATE_URL"])) as state:
        registry = Registry(state, policy_path=first.settings.policy_path)
        assert len(add_version(first, registry, 1)) == 3
        release(registry, 1)
        first.start(GATEWAY, MODELS)
        second.start(MODELS)
        for host in hosts:
            host.wait(lambda host=host: is_serving(host, 1))
        answers = [ask(host) for host in hosts]
        assert answers[0] == answers[1] != ""

        assert len(add_version(first, registry, 2)) == 1
        release(registry, 2)
        for host in hosts:
            host.wait(lambda host=host: is_serving(host, 2))
        assert ask(first) == ask(second) not in ("", answers[0])

        roll_back_from_another_computer(first)
        for host in hosts:
            host.wait(lambda host=host: is_serving(host, 1))
        assert [ask(host) for host in hosts] == answers

    share_file(first.settings, pause_author(first.settings, "ann", reason="a test's own"))
    paused_file = second.settings.authors_dir / "ann.paused"
    second.wait(paused_file.exists)
    resume_author(first.settings, "ann")
    share_file(first.settings, pause_path(first.settings, "ann"), is_deleted=True)
    second.wait(lambda: not paused_file.exists())
    assert not (second.folder / "tiny").exists()
