"""A home whose models answer at a server of somebody else's, which loads adapters by vLLM's routes.

From a base model without a GGUF file to candidate, parity, release, roll-back and unloading. The
server is `tests/adapter_server.py`, in bf16; vLLM itself was not run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.adapter_server import Adapters, serving
from tests.live.evaluation.conftest import GOOD, Workplace
from tests.live.evaluation.two_parts import SHORT_GATE
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


class FollowedFleet:
    """The fleet of a home, stepped by tests."""

    def __init__(self, settings: Settings) -> None:
        self._clock = Clock()
        self._settings = settings
        self.fleet = Fleet(settings, clock=self._clock)

    def look(self, *, after_s: float = REMOTE_CHECK_INTERVAL_S) -> set[str]:
        """Return the names that are published after the next step."""
        self._clock.now += after_s
        self.fleet.step()
        return set(self.document()["servers"])

    def document(self) -> dict[str, Any]:
        return json.loads(self._settings.servers_path.read_text(encoding="utf-8"))


@pytest.fixture
def there(
    tiny_base: Path, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Adapters]:
    """An external server that the home's environment configures."""
    adapters = Adapters(tiny_base, str(tiny_base), "bfloat16")
    with serving(adapters, key="sk-there") as url:
        monkeypatch.setenv("TWIN_MODEL_SERVER_URL", url)
        monkeypatch.setenv("TWIN_MODEL_SERVER_KEY", "sk-there")
        monkeypatch.setenv("TWIN_MODEL_SERVER_PRECISION", "bf16")
        monkeypatch.setenv("TWIN_BASE_MODEL", str(workplace.base))
        yield adapters


def judging_setup(place: Workplace, log: Callable[[str], object]) -> JudgingSetup:
    return JudgingSetup(
        Author("ada", "Ada"),
        place.settings.model_copy(update=SHORT_GATE),
        place.tables,
        place.registry,
        ModelServers(place.settings),
        lambda: load_embedder(place.settings),
        log,
    )


def test_candidate_release_and_roll_back_load_and_unload_adapters(
    workplace: Workplace, there: Adapters
) -> None:
    settings = load_settings()
    prepared = prepare_base_model(settings, report=lambda _line: None)
    assert prepared.gguf is None, "another server serves"
    place = replace(workplace, settings=settings)
    place.dataset("ada")
    fleet = FollowedFleet(settings)
    assert fleet.look() == {"base"}

    # the candidate is loaded for the gate, and gone behind it
    place.candidate("ada", steps=GOOD)
    while_asked: list[dict[str, str]] = []
    judged = judge_candidate(judging_setup(place, lambda _line: while_asked.append(there.roots())))
    one = place.registry.get("ada", 1)
    folder = f"{one.folder}/adapter"
    assert judged.verdict.outcome == "passed"
    [parity] = [claim for claim in judged.verdict.claims if claim.name == "served_model_matches"]
    assert (parity.passed, parity.threshold) == (True, 0.1)
    assert "served in bf16" in parity.detail
    assert {"ada/v1": folder} in while_asked
    assert there.roots() == {}

    # released, it is loaded from the checkpoint's own folder
    reconcile(place.registry, "ada", gate_version=GATE_VERSION, mode="gate", actor="released_model")
    assert fleet.look() == {"base", "ada/v1"}
    assert there.roots() == {"ada/v1": folder}
    published = fleet.document()["servers"]["ada/v1"]
    assert (published["url"], published["alias"]) == (settings.model_server_url, "ada/v1")
    assert published["engine"].endswith(", weights in bf16")

    # its successor beside it; the readers' version is asked as well, and stays loaded
    place.candidate("ada", steps=2, seed=5)
    place.registry.move("ada", 2, "refused", actor="test", reason="trained for two steps")
    for version in (one, place.registry.get("ada", 2)):
        [said] = served_model.ask_with_servers(
            partial(ModelServers(settings).serve_version, version),
            [[{"role": "user", "content": "Hi"}]],
            servers=1,
            max_tokens=2,
        )
        assert len(said.log_probabilities[0]) == served_model.TOP_LOGPROBS
    assert set(there.roots()) == {"ada/v1"}
    place.registry.move("ada", 2, "stable", actor="test", reason="by hand", force=True)
    assert fleet.look() == {"base", "ada/v2"}
    assert set(there.roots()) == {"ada/v1", "ada/v2"}, "a stream of the old one may be under way"

    # rolled back before the old one had drained, and what was rolled back is unloaded after that
    place.registry.rollback("ada", 1, actor="test", reason="worse")
    assert fleet.look() == {"base", "ada/v1"}
    assert fleet.look(after_s=loaded_adapters.UNLOAD_DELAY_S) == {"base", "ada/v1"}
    assert set(there.roots()) == {"ada/v1"}
