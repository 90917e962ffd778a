"""Test that a restored home gives the same answers as the original."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.live.serving.conftest import make_adapter
from tests.postgresql_server import postgresql, postgresql_url
from tests.registered import register_version
from twin_resources.backup.restoring import restore
from twin_resources.backup.saving import back_up
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.registry.policy import read_policy
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State
from twin_resources.storage.weights import gguf

pytestmark = pytest.mark.live
__all__ = ["postgresql", "postgresql_url"]  # fixtures

QUESTIONS = ("How do I carry a clock?", "What is oil for?", "Who repairs boats in the rain?")


@pytest.fixture(scope="module")
def weights(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """GGUF files of a base model and of an adapter that changes its answers."""
    folder = tmp_path_factory.mktemp("weights")
    adapter = make_adapter(smollm2, folder / "adapter", scale=0.02)
    return (
        gguf.write_f16(smollm2, folder / "base.gguf"),
        gguf.write_adapter(adapter, smollm2, folder / "adapter.gguf"),
    )


@pytest.fixture
def served_home(home: Settings, weights: tuple[Path, Path]) -> Settings:
    """Return a home with a stable version and its weights."""
    base = home.weights_dir / "smollm2" / "0123"
    checkpoint = home.checkpoints_dir / "ada" / "abcd"
    for file, folder, name in zip(
        weights, (base, checkpoint), ("model.gguf", "adapter.gguf"), strict=True
    ):
        folder.mkdir(parents=True)
        shutil.copyfile(file, folder / name)
    with closing(State.open(home.state_address)) as state:
        registry = Registry(state, policy_path=home.policy_path)
        register_version(
            registry,
            "ada",
            "abcd",
            folder=str(checkpoint),
            adapter_gguf=str(checkpoint / "adapter.gguf"),
            base=str(base),
            base_gguf=str(base / "model.gguf"),
        )
        registry.move("ada", 1, "parked", actor="test", reason="test")
        registry.move("ada", 1, "stable", actor="test", reason="test", force=True)
    return home


def greedy_answers(settings: Settings) -> list[str]:
    """Return greedy answers of the policy's stable version."""
    stable = read_policy(settings.policy_path).authors["ada"].stable
    assert stable is not None
    paths = (Path(stable.base_gguf), Path(str(stable.adapter_gguf)))
    assert all(path.is_relative_to(settings.home) for path in paths)
    answers: list[str] = []
    with ModelServers(settings).serve(*paths, alias="ada/v1") as server:
        for question in QUESTIONS:
            response = httpx.post(
                f"{server.url}/chat/completions",
                json={
                    "model": server.alias,
                    "messages": [{"role": "user", "content": question}],
                    "temperature": 0,
                    "max_tokens": 32,
                },
                headers={"Authorization": f"Bearer {server.key}"},
                timeout=120,
            )
            answers.append(response.raise_for_status().json()["choices"][0]["message"]["content"])
    return answers


@pytest.mark.drawn(1, of="homes in PostgreSQL")
@pytest.mark.parametrize("store", [pytest.param("sqlite", marks=pytest.mark.long), "postgresql"])
def test_a_restored_home_gives_the_same_answers(
    served_home: Settings, tmp_path: Path, store: str, request: pytest.FixtureRequest
) -> None:
    expected = greedy_answers(served_home)
    assert len(set(expected)) == len(QUESTIONS), "equal answers would make this test meaningless"
    back_up(served_home, str(tmp_path / "twin.tar"), report=lambda _line: None)
    shutil.rmtree(served_home.home)
    url = request.getfixturevalue("postgresql_url") if store == "postgresql" else ""
    restored = served_home.model_copy(update={"home": tmp_path / "restored", "state_url": url})
    restore(restored, str(tmp_path / "twin.tar"), report=lambda _line: None)
    assert greedy_answers(restored) == expected
