"""Test answer models: a server at an address, a folder with the same weights and an invalid file.

A llama.cpp server of the tiny model replaces a larger one. The tests check that it is found, kept,
served and released, not how well it answers.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from twin_cli.commands.answer_models import sync_answer_model
from twin_cli.commands.outcome import open_registry
from twin_cli.commands.progress_display import ProgressDisplay

from tests.live.serving.conftest import TinyModel
from tests.live.serving.test_fleet import FleetProcess, create_client, prepared_home, start_fleet
from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.models.serving.model_server import ServerProcess
from twin_resources.registry.moves import ModelVersion
from twin_resources.registry.policy import read_policy
from twin_resources.settings import Settings
from twin_resources.storage.weights.chat_model import CHAT_TEMPLATE_KEY

__all__ = ["prepared_home", "start_fleet"]  # fixtures
pytestmark = pytest.mark.live


def set_answer_model(
    settings: Settings, answer_model: str, *, previous: str = ""
) -> ModelVersion | None:
    return sync_answer_model(
        settings,
        Author("ada", "Ada", answer_model=answer_model),
        previous_model=previous,
        instance="",
        display=ProgressDisplay(console=Console(file=io.StringIO())),
    )


def test_a_folder_replaces_an_external_answer_model(
    prepared_home: Settings,
    model: TinyModel,
    start_fleet: Callable[..., FleetProcess],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    external_server = ServerProcess(prepared_home, model.base_gguf, alias="large")
    try:
        url = external_server.wait_until_ready().url
        with pytest.raises(TwinError) as error:
            set_answer_model(prepared_home, url)
        assert "401 Unauthorized" in error.value.found
        assert "export TWIN_ANSWER_MODEL_KEY" in error.value.next_step
        assert open_registry(prepared_home).versions("ada") == []

        settings = prepared_home.model_copy(update={"answer_model_key": external_server.key})
        monkeypatch.setenv("TWIN_ANSWER_MODEL_KEY", external_server.key)
        first = set_answer_model(settings, url)
        assert first is not None
        assert (first.version, first.state, first.base) == (1, "stable", f"{url}#large")
        fleet = start_fleet()
        servers = fleet.wait(lambda servers: {"base", "ada/v1"} <= set(servers))
        assert (servers["ada/v1"]["url"], servers["ada/v1"]["alias"]) == (url, "large")
        answer = create_client(servers["ada/v1"]).chat.completions.create(
            model="large", messages=[{"role": "user", "content": "Hello"}], max_tokens=4
        )
        assert answer.usage is not None
        assert answer.usage.completion_tokens > 0
    finally:
        external_server.stop()
    fleet.wait(lambda servers: "ada/v1" not in servers and "base" in servers)
    fleet.wait(lambda _: "Connection refused" in fleet.document()["problems"].get("ada/v1", ""))

    # the same weights in a folder are prepared like a base model
    second = set_answer_model(settings, str(model.base), previous=f"{url}#large")
    assert second is not None
    assert (second.version, second.state, second.kind) == (2, "stable", "answer_model")
    assert Path(second.base_gguf).is_file()
    servers = fleet.wait(lambda servers: {"base", "ada/v2"} <= set(servers))
    assert create_client(servers["ada/v2"]).models.list().data[0].id == "ada/v2"
    assert set_answer_model(settings, str(model.base), previous=str(model.base)) == second, (
        "the same folder gave a new version"
    )

    third = set_answer_model(settings, str(model.base_gguf), previous=str(model.base))
    assert third is not None
    assert (third.version, third.base_gguf) == (3, str(model.base_gguf))
    fleet.wait(lambda servers: {"base", "ada/v3"} <= set(servers))

    assert set_answer_model(settings, "", previous=str(model.base_gguf)) is None
    assert read_policy(settings.policy_path).authors["ada"].stable is None
    fleet.wait(lambda servers: set(servers) == {"base"})


def test_an_invalid_file_changes_nothing(prepared_home: Settings, tmp_path: Path) -> None:
    invalid_file = tmp_path / "broken.gguf"
    invalid_file.write_bytes(b"GGUF" + bytes(1000) + CHAT_TEMPLATE_KEY + bytes(1000))
    with pytest.raises(TwinError) as error:
        set_answer_model(prepared_home, str(invalid_file))
    assert "its process exited with" in error.value.found
    assert "model-server-answer-model.log" in error.value.next_step
    assert open_registry(prepared_home).versions("ada") == []
