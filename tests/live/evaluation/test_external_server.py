"""Test a home whose models are served by an external server with vLLM's routes for adapters.

The test covers a base model without a GGUF file, a candidate, its parity, release, rollback and
unloading. The server is `tests/adapter_server.py` in bf16; vLLM itself is not run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.adapter_server import BaseWithAdapters, serve_adapters
from tests.live.evaluation.conftest import GOOD_STEPS, GateHome
from tests.live.evaluation.two_stage_gate import SHORT_GATE_SETTINGS
from twin_assets.evaluation.gate import GATE_VERSION
from twin_assets.evaluation.judgement import JudgingSetup, judge_candidate
from twin_resources.authors import Author
from twin_resources.models.embedder.embedder import load_embedder
from twin_resources.models.serving import loaded_adapters, served_model
from twin_resources.models.serving.fleet import REMOTE_CHECK_INTERVAL_S, Fleet
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.registry.registry import reconcile
from twin_resources.settings import Settings, load_settings
from twin_resources.storage.weights.weights import prepare_base_model

pytestmark = pytest.mark.live


class Clock:
    """A clock that tests advance."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class SteppedFleet:
    """The fleet of a home, whose steps and clock a test controls."""

    def __init__(self, settings: Settings) -> None:
        self._clock = Clock()
        self._settings = settings
        self.fleet = Fleet(settings, clock=self._clock)

    def step(self, *, after_s: float = REMOTE_CHECK_INTERVAL_S) -> set[str]:
        """Return the names that are published after the next step."""
        self._clock.now += after_s
        self.fleet.step()
        return set(self.document()["servers"])

    def document(self) -> dict[str, Any]:
        return json.loads(self._settings.servers_path.read_text(encoding="utf-8"))


@pytest.fixture
def server(
    tiny_base: Path, gate_home: GateHome, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BaseWithAdapters]:
    """Run an external server that the home's environment configures."""
    adapters = BaseWithAdapters(tiny_base, str(tiny_base), "bfloat16")
    with serve_adapters(adapters, key="sk-there") as url:
        monkeypatch.setenv("TWIN_MODEL_SERVER_URL", url)
        monkeypatch.setenv("TWIN_MODEL_SERVER_KEY", "sk-there")
        monkeypatch.setenv("TWIN_MODEL_SERVER_PRECISION", "bf16")
        monkeypatch.setenv("TWIN_BASE_MODEL", str(gate_home.base))
        yield adapters


def build_judging_setup(gate_home: GateHome, log: Callable[[str], object]) -> JudgingSetup:
    return JudgingSetup(
        Author("ada", "Ada"),
        gate_home.settings.model_copy(update=SHORT_GATE_SETTINGS),
        gate_home.tables,
        gate_home.registry,
        ModelServers(gate_home.settings),
        lambda: load_embedder(gate_home.settings),
        log,
    )


def test_candidate_release_and_roll_back_load_and_unload_adapters(
    gate_home: GateHome, server: BaseWithAdapters
) -> None:
    settings = load_settings()
    prepared = prepare_base_model(settings, report=lambda _line: None)
    assert prepared.gguf is None, "a GGUF file was written for an external server"
    remote_home = replace(gate_home, settings=settings)
    remote_home.write_dataset("ada")
    fleet = SteppedFleet(settings)
    assert fleet.step() == {"base"}

    # the candidate is loaded only while the gate runs
    remote_home.train_candidate("ada", steps=GOOD_STEPS)
    loaded_during_gate: list[dict[str, str]] = []
    judged = judge_candidate(
        build_judging_setup(
            remote_home, lambda _line: loaded_during_gate.append(server.adapter_paths())
        )
    )
    first = remote_home.registry.get("ada", 1)
    folder = f"{first.folder}/adapter"
    assert judged.verdict.outcome == "passed"
    [parity] = [claim for claim in judged.verdict.claims if claim.name == "served_model_matches"]
    assert (parity.passed, parity.threshold) == (True, 0.1)
    assert "served in bf16" in parity.detail
    first_name = f"ada/v1-{first.checkpoint[:8]}"
    assert {first_name: folder} in loaded_during_gate
    assert server.adapter_paths() == {}

    # after the release, it is loaded from the checkpoint's own folder
    reconcile(
        remote_home.registry, "ada", gate_version=GATE_VERSION, mode="gate", actor="released_model"
    )
    assert fleet.step() == {"base", "ada/v1"}
    assert server.adapter_paths() == {first_name: folder}
    published = fleet.document()["servers"]["ada/v1"]
    assert (published["url"], published["alias"]) == (settings.model_server_url, first_name)
    assert published["engine"].endswith(", weights in bf16")

    # during the successor's gate, the released version is asked too and stays loaded
    remote_home.train_candidate("ada", steps=2, seed=5)
    remote_home.registry.move("ada", 2, "refused", actor="test", reason="trained for two steps")
    second = remote_home.registry.get("ada", 2)
    second_name = f"ada/v2-{second.checkpoint[:8]}"
    for version in (first, second):
        [answer] = served_model.query_temporary_servers(
            partial(ModelServers(settings).serve_version, version),
            [[{"role": "user", "content": "Hi"}]],
            max_servers=1,
            max_tokens=2,
        )
        assert len(answer.log_probabilities[0]) == served_model.TOP_LOGPROBS
    assert set(server.adapter_paths()) == {first_name}
    remote_home.registry.move("ada", 2, "stable", actor="test", reason="by hand", force=True)
    assert fleet.step() == {"base", "ada/v2"}
    assert set(server.adapter_paths()) == {first_name, second_name}, (
        "the old version was unloaded while a stream may still run"
    )

    # a rollback before the old version has drained keeps it loaded and unloads the other
    remote_home.registry.rollback("ada", 1, actor="test", reason="worse")
    assert fleet.step() == {"base", "ada/v1"}
    assert fleet.step(after_s=loaded_adapters.UNLOAD_DELAY_S) == {"base", "ada/v1"}
    assert set(server.adapter_paths()) == {first_name}
