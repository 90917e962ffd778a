"""Test that model server processes start, answer, count their requests and end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest
from openai import OpenAI

from tests.greedy_answers import request_answers
from tests.live.serving.conftest import TinyModel
from twin_resources.errors import TwinError
from twin_resources.models.serving import served_model
from twin_resources.models.serving.fleet_member import (
    MAX_DRAIN_S,
    MIN_DRAIN_S,
    FleetMember,
    RequiredServer,
)
from twin_resources.models.serving.model_server import ModelServers, ServerProcess, warm_up
from twin_resources.settings import Settings

pytestmark = pytest.mark.live


def wait_for_end(process: psutil.Process, *, within_s: float = 60.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False


def test_the_server_answers_and_ends_with_the_context(home: Settings, model: TinyModel) -> None:
    with ModelServers(home).serve(model.base_gguf, model.adapter_gguf, alias="ada/v1") as server:
        client = OpenAI(base_url=server.url, api_key=server.key)
        answer = client.chat.completions.create(
            model=server.alias, messages=[{"role": "user", "content": "Hello"}], max_tokens=4
        )
        assert [model.id for model in client.models.list()] == ["ada/v1"]
        process = psutil.Process(server.pid)
        addresses = {item.laddr.ip for item in process.net_connections() if not item.raddr}
        assert os.getpgid(process.pid) == process.pid

    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    assert addresses == {"127.0.0.1"}
    assert wait_for_end(process, within_s=1)


def test_a_slot_keeps_the_common_prefix_of_its_prompts(home: Settings, model: TinyModel) -> None:
    """The gate uses this for questions with the author's posts."""
    posts = "The harbour was quiet in the rain, and nobody came. " * 20
    token_counts: dict[str, list[int]] = {"posts": [], "plain": []}
    with ModelServers(home).serve(model.base_gguf, None, alias="base") as server:
        headers = {"Authorization": f"Bearer {server.key}"}
        for number in range(6):
            kind = "plain" if number % 3 else "posts"
            system = posts if kind == "posts" else f"You write about boats, {number} of them. " * 20
            body = {
                "model": server.alias,
                "messages": [
                    {"role": "system", "content": system},
                    {"role": "user", "content": f"What then, {number}?"},
                ],
                "max_tokens": 4,
                "id_slot": 0 if kind == "posts" else 1,
            }
            answer = httpx.post(
                f"{server.url}/chat/completions", json=body, headers=headers, timeout=120
            )
            token_counts[kind].append(answer.raise_for_status().json()["timings"]["prompt_n"])

    first, repeated = token_counts["posts"]
    assert repeated < first / 3, token_counts
    assert min(token_counts["plain"]) > first / 3, token_counts


def test_a_server_with_late_metrics_counts_as_busy(home: Settings, model: TinyModel) -> None:
    """A draining version is stopped only after its requests have ended."""
    member = FleetMember("ada/v1", RequiredServer(str(model.base_gguf)), settings=home)
    try:
        deadline = time.monotonic() + 120
        while member.server is None:
            assert time.monotonic() < deadline, member.problem
            member.step(time.monotonic())
            time.sleep(0.1)
        member.draining_since = time.monotonic()
        after_drain = member.draining_since + MIN_DRAIN_S + 1
        assert not member.is_drained(member.draining_since), (
            "a version was drained while the gateway may still send requests"
        )
        os.kill(member.server.pid, signal.SIGSTOP)
        try:
            assert not member.is_drained(after_drain)
            assert member.is_drained(member.draining_since + MAX_DRAIN_S + 1)
        finally:
            os.kill(member.server.pid, signal.SIGCONT)
        while not member.is_drained(after_drain):
            assert time.monotonic() < deadline + 120
        os.killpg(member.server.pid, signal.SIGKILL)
        while not member.is_drained(after_drain):
            assert time.monotonic() < deadline + 120
    finally:
        member.stop()


def test_the_key_is_required_and_not_an_argument(home: Settings, model: TinyModel) -> None:
    with ModelServers(home).serve(model.base_gguf, alias="base") as server:
        body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
        assert httpx.post(f"{server.url}/chat/completions", json=body).status_code == 401
        root = server.url.removesuffix("/v1")
        assert httpx.get(f"{root}/metrics").status_code == 401
        headers = {"Authorization": f"Bearer {server.key}"}
        assert httpx.get(f"{root}/slots", headers=headers).status_code == 501
        assert server.key not in " ".join(psutil.Process(server.pid).cmdline())
        log = (home.logs_dir / "model-server-base.log").read_text(errors="replace")
        assert server.key not in log


def test_an_invalid_model_file_is_an_error(home: Settings, tmp_path: Path) -> None:
    invalid_file = tmp_path / "broken.gguf"
    invalid_file.write_bytes(b"GGUF" + bytes(200))

    with (
        pytest.raises(TwinError, match="its process exited") as error,
        ModelServers(home).serve(invalid_file, alias="base"),
    ):
        pytest.fail("a broken file was served")

    assert "empty log" not in str(error.value)
    assert not list((home.work_dir / "model-servers").iterdir())


def test_a_server_ends_when_its_parent_is_killed(
    home: Settings, model: TinyModel, tmp_path: Path
) -> None:
    script = """
import sys, time
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.settings import load_settings
with ModelServers(load_settings()).serve(sys.argv[1], alias="orphan") as server:
    print(server.pid, flush=True)
    time.sleep(60)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(model.base_gguf)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    server = psutil.Process(int(parent.stdout.readline()))
    assert server.is_running()

    parent.send_signal(signal.SIGKILL)
    parent.wait()

    assert wait_for_end(server)


def test_requests_in_progress_are_counted(home: Settings, model: TinyModel) -> None:
    process = ServerProcess(home, model.base_gguf, alias="base")
    try:
        server = process.wait_until_ready()
        assert warm_up(server) < 30
        assert process.count_active_requests() == 0
        client = OpenAI(base_url=server.url, api_key=server.key)
        stream = client.chat.completions.create(
            model="base",
            messages=[{"role": "user", "content": "Go on."}],
            max_tokens=4000,
            stream=True,
            extra_body={"ignore_eos": True},
        )
        next(iter(stream))
        assert process.count_active_requests() == 1
        stream.close()
    finally:
        process.stop()
    assert process.has_ended()


def test_an_external_server_is_used_by_its_model_names(home: Settings, model: TinyModel) -> None:
    """The external server is llama.cpp's own, started separately."""
    with ModelServers(home).serve(
        model.base_gguf, model.adapter_gguf, alias="ada/v1"
    ) as external_server:
        settings = home.model_copy(
            update={
                "model_server_url": external_server.url,
                "model_server_key": external_server.key,
            }
        )
        servers = ModelServers(settings)
        assert ModelServers(home).engine == external_server.engine
        with servers.serve(None, alias="ada/v1") as remote_server:
            assert servers.engine == remote_server.engine != external_server.engine
            assert (remote_server.url, remote_server.key, remote_server.pid) == (
                external_server.url,
                external_server.key,
                None,
            )
            assert warm_up(remote_server) > 0
            [answer] = request_answers(
                remote_server, [[{"role": "user", "content": "Hello"}]], max_tokens=3
            )
            assert len(answer.log_probabilities[0]) == served_model.TOP_LOGPROBS
        with (
            pytest.raises(TwinError, match="--lora-modules ada/v2"),
            servers.serve(None, alias="ada/v2"),
        ):
            pytest.fail("a version that is not offered was served")
        wrong_key = ModelServers(settings.model_copy(update={"model_server_key": "sk-wrong"}))
        with (
            pytest.raises(TwinError, match="TWIN_MODEL_SERVER_KEY"),
            wrong_key.serve(None, alias="ada/v1"),
        ):
            pytest.fail("a wrong key was accepted")
