"""Test many authors on one server with vLLM's routes, each with its own adapter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from zlib import crc32

import httpx
import pytest

from tests.adapter_server import BaseWithAdapters, serve_adapters
from tests.live.serving.conftest import make_adapter
from tests.live.tiny_model import FEW_TOKENS, make_tiny_model
from tests.model_versions import register_version
from twin_resources.models.serving.fleet import REMOTE_CHECK_INTERVAL_S, Fleet
from twin_resources.models.serving.loaded_adapters import UNLOAD_DELAY_S
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]  # two hundred adapters
REQUEST_BODY = {
    "messages": [{"role": "user", "content": "How much oil does a clock need?"}],
    "max_tokens": 1,
    "logprobs": True,
    "top_logprobs": 5,
}


@pytest.fixture
def base(tmp_path: Path, smollm2: Path) -> Path:
    make_tiny_model(tmp_path / "tiny", smollm2, vocabulary=FEW_TOKENS, spread=0.2)
    return tmp_path / "tiny"


@pytest.fixture
def server(base: Path) -> Iterator[tuple[str, BaseWithAdapters]]:
    adapters = BaseWithAdapters(base, "tiny", "float32")
    with serve_adapters(adapters, key="") as url:
        yield url, adapters


class ManyAuthors:
    """Registered versions of many authors, each with an adapter of its own."""

    def __init__(self, settings: Settings, registry: Registry, base: Path) -> None:
        self.settings, self.registry, self.base = settings, registry, base
        self.template = make_adapter(base, settings.work_dir / "template", scale=0.5)

    def release(self, author: str, *, seed: int = 0) -> str:
        """Register and release a new version; return its name on the server."""
        import torch
        from safetensors.torch import load_file, save_file

        number = len(self.registry.versions(author)) + 1
        folder = self.settings.checkpoints_dir / author / f"c{number}"
        adapter = folder / "adapter"
        adapter.mkdir(parents=True)
        config = (self.template / "adapter_config.json").read_bytes()
        (adapter / "adapter_config.json").write_bytes(config)
        weights = load_file(self.template / "adapter_model.safetensors")
        generator = torch.Generator().manual_seed(crc32(f"{folder} {seed}".encode()))
        save_file(
            {name: torch.randn(w.shape, generator=generator) / 4 for name, w in weights.items()},
            adapter / "adapter_model.safetensors",
        )
        checkpoint = f"{crc32(f'{author}-{number}-{seed}'.encode()):08x}"
        register_version(self.registry, author, checkpoint, folder=str(folder), base=str(self.base))
        for state in ("refused", "stable"):
            self.registry.move(
                author, number, state, actor="a person", reason="a test's own",
                force=state == "stable",
            )  # fmt: skip
        return f"{author}/v{number}-{checkpoint}"

    def find_adapter(self, name: str) -> Path:
        author, number = name.rpartition("-")[0].split("/v")
        return self.settings.checkpoints_dir / author / f"c{number}" / "adapter"


def read_log_probabilities(response: dict[str, Any]) -> dict[str, float]:
    [token] = response["choices"][0]["logprobs"]["content"]
    return {entry["token"]: round(entry["logprob"], 3) for entry in token["top_logprobs"]}


@pytest.mark.parametrize(
    ("author_count", "swap_count"), [(8, 2), pytest.param(200, 20, marks=pytest.mark.long)]
)
def test_each_name_answers_with_its_own_adapter(
    author_count: int,
    swap_count: int,
    home: Settings,
    base: Path,
    server: tuple[str, BaseWithAdapters],
) -> None:
    url, adapters = server
    settings = home.model_copy(update={"model_server_url": url, "base_model": "tiny"})
    now = 0.0
    fleet = Fleet(settings, clock=lambda: now)

    def check_answers(names: list[str]) -> None:
        distinct: set[str] = set()
        for name in names:
            single_adapter = BaseWithAdapters(base, "tiny", "float32")
            single_adapter.load(name, str(many_authors.find_adapter(name)))
            expected = read_log_probabilities(single_adapter.chat(REQUEST_BODY | {"model": name}))
            response = httpx.post(f"{url}/chat/completions", json=REQUEST_BODY | {"model": name})
            assert read_log_probabilities(response.raise_for_status().json()) == expected, name
            distinct.add(str(expected))
        assert len(distinct) == len(names), "two adapters give the same answer"

    with closing(open_home_state(settings)) as state:
        registry = Registry(state, policy_path=settings.policy_path)
        many_authors = ManyAuthors(settings, registry, base)
        names = [many_authors.release(f"author-{number}") for number in range(author_count)]
        fleet.step()
        assert set(adapters.adapter_paths()) == set(names)
        check_answers(names)

        new_names = [many_authors.release(f"author-{number}") for number in range(swap_count)]
        now += REMOTE_CHECK_INTERVAL_S
        fleet.step()
        assert set(adapters.adapter_paths()) == {*names, *new_names}, (
            "a stream may still use the old ones"
        )
        check_answers([*new_names, *names[:swap_count]])

        registry.rollback("author-0", 1, actor="a person", reason="a test's own")
        now += REMOTE_CHECK_INTERVAL_S
        fleet.step()
        now += UNLOAD_DELAY_S
        fleet.step()
        expected = [names[0], *new_names[1:], *names[swap_count:]]
        assert set(adapters.adapter_paths()) == set(expected)
        check_answers(expected)
