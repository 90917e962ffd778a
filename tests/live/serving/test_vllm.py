"""Test this project with vLLM itself, behind the documented proxy."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import httpx
import pytest
from twin_cli.commands.doctor import Home, check_model_servers

from tests import vllm_answers
from tests.erasure_targets import author_target
from tests.live.serving.conftest import make_adapter
from tests.live.serving.real_vllm import (
    CONTEXT_TOKENS,
    KEY,
    MAX_CPU_LORAS,
    make_base,
    serve_behind_proxy,
    serve_vllm,
)
from tests.model_versions import register_version
from tests.unit.gateway.exchanges import FakeRetriever, change_snapshot, create_path, prepare
from twin_assets.evaluation.served import parity
from twin_resources.erasure.checkpoint_folders import Checkpoints
from twin_resources.erasure.data_store import Installation
from twin_resources.gateway.config.live_config import read_servers
from twin_resources.models.serving.adapter_routes import (
    UNGUARDED_ROUTES,
    find_open_routes,
    list_models,
)
from twin_resources.models.serving.fleet import Fleet
from twin_resources.models.serving.loaded_adapters import AdapterServer
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.models.serving.served_model import ServedAnswer, query_temporary_servers
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.state_tables import model_versions, moves, verdicts

pytestmark = [pytest.mark.live, pytest.mark.timeout(7200)]  # vLLM alone starts in 50 CPU seconds
QUESTIONS = [f"What did you write about {subject}?" for subject in ("oil", "a clock", "bread")]
# It ends in a block of vLLM's prefix cache, whose keys named only an adapter until vLLM 0.31.
LONG_PROMPT = "Wind a clock at the same hour. " * 50


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


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("vllm") / "base")


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def url(base: Path, logs: Path) -> Iterator[str]:
    with serve_vllm(base, logs) as url:
        yield url


@pytest.fixture(scope="module")
def proxy_url(url: str, logs: Path) -> Iterator[str]:
    with serve_behind_proxy(url, logs) as proxy_url:
        yield proxy_url


@pytest.fixture
def settings(home: Settings, proxy_url: str) -> Generator[Settings]:
    """Return a home that uses the server, which has no adapter left after the test."""
    settings = home.model_copy(
        update={
            "model_server_url": proxy_url,
            "model_server_key": KEY,
            "model_server_precision": "fp32",
            "base_model": vllm_answers.BASE,
        }
    )
    yield settings
    server = AdapterServer(settings)
    for model in server.list_models().values():
        if model.is_adapter:
            server.unload(model.name)


def ask(
    settings: Settings, name: str, adapter: Path | None, prompts: Sequence[Any], max_tokens: int = 8
) -> list[ServedAnswer]:
    serve = partial(ModelServers(settings).serve, None, alias=name, adapter=adapter)
    return query_temporary_servers(serve, prompts, max_servers=1, max_tokens=max_tokens)


def count_wrong_answers(
    reference: parity.ReferenceModel, prompts: Sequence[Any], answers: Sequence[ServedAnswer]
) -> int:
    """Return how many answers have a token that greedy decoding of the reference does not."""
    count = 0
    for prompt, answer in zip(prompts, answers, strict=True):
        everything = [range(4096)] * len(answer.tokens)
        values = reference.log_probabilities(prompt, answer.tokens, everything)
        best = [max(position, key=lambda token: position[token]) for position in values]
        count += best != list(answer.tokens)
    return count


def as_prompts(*contents: str) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": content}] for content in contents]


def test_it_answers_as_recorded(url: str, base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(base, tmp_path / "adapter", scale=0.5)
    recorded = vllm_answers.read_answers()
    for case in vllm_answers.CASES:
        answer = vllm_answers.ask(url, case, key=KEY, base=str(base), path=str(adapter))
        assert answer == recorded[case.name], case.name


def test_greedy_answers_equal_transformers_and_peft(
    settings: Settings, base: Path, tmp_path: Path
) -> None:
    adapter = make_adapter(base, tmp_path / "adapter", scale=0.5)
    # the server strips nothing, so both get the stripped prompt
    for name, folder in ((vllm_answers.BASE, None), ("ada/v1-c1c1c1c1", adapter)):
        reference = parity.ReferenceModel(base, folder)
        prompts = [
            reference.strip(prompt)
            for prompt in as_prompts(*QUESTIONS, "\n\n  Blanks around <|im_end|> a mark. \n")
        ]
        first, second = (ask(settings, name, folder, prompts) for _ in range(2))
        assert count_wrong_answers(reference, prompts, first) == 0
        difference = parity.compare(reference, prompts, first, second, precision="fp32")
        assert difference is not None
        assert difference.mean < 0.0005
        assert difference.largest < 0.005


def test_no_route_is_open_behind_the_documented_proxy(url: str, settings: Settings) -> None:
    assert find_open_routes(url) == list(UNGUARDED_ROUTES)
    assert find_open_routes(settings.model_server_url) == []
    direct = settings.model_copy(update={"model_server_url": url})
    assert [verdict for verdict, *_ in check_model_servers(Home(direct))] == ["ok", "fail"]
    assert [verdict for verdict, *_ in check_model_servers(Home(settings))] == ["ok"]


def test_a_forgotten_author_ends_no_server_and_one_imported_anew_gets_no_old_words(
    settings: Settings, base: Path
) -> None:
    """More authors than the server keeps in memory, so that it reads adapters again from disk."""
    author_count = MAX_CPU_LORAS + 2
    fleet = Fleet(settings, clock=iter(range(0, 10**6, 60)).__next__)
    long_prompts = as_prompts(*(f"{LONG_PROMPT} {question}" for question in QUESTIONS))
    installation = Installation.for_settings(settings)
    with closing(installation.state) as state:
        authors = ManyAuthors(settings, installation.registry, base)
        names = [authors.release(f"author-{number}") for number in range(author_count)]
        fleet.step()
        assert set(names) <= set(list_models(settings.model_server_url, KEY))
        first_adapter = authors.find_adapter(names[0])
        reference = parity.ReferenceModel(base, first_adapter)
        answers = ask(settings, names[0], None, long_prompts)
        assert count_wrong_answers(reference, long_prompts, answers) == 0

        target = author_target("author-0")
        checkpoints = Checkpoints(installation)
        checkpoints.erase(target)
        fleet.step()
        assert checkpoints.find_remaining(target) == []
        assert not first_adapter.exists()
        for name in names[1:]:  # each is read from disk again
            ask(settings, name, None, as_prompts(QUESTIONS[0]), max_tokens=1)

        # the same author, the same number, other weights
        with state.transaction() as connection:
            for table in (moves, verdicts, model_versions):
                connection.execute(table.delete().where(table.c.author == "author-0"))
        name = authors.release("author-0", seed=1)
        assert name.startswith("author-0/v1-")
        assert name != names[0]
        fleet.step()
        reference = parity.ReferenceModel(base, authors.find_adapter(name))
        prompts = [*long_prompts, *as_prompts(*(f"{n}. {QUESTIONS[n % 3]}" for n in range(17)))]
        answers = ask(settings, name, None, prompts)
        assert count_wrong_answers(reference, prompts, answers) == 0


async def test_a_long_talk_is_cut_to_the_servers_context(
    settings: Settings, base: Path, home: Settings
) -> None:
    Fleet(settings).step()
    server = read_servers(settings.servers_path)["base"]
    assert server.context == CONTEXT_TOKENS
    path = create_path(home, FakeRetriever())
    change_snapshot(path, servers={"base": server, "ann/v3": server})
    path.base_folder = str(base)
    turns = [f"{number}. {LONG_PROMPT[:200]}" for number in range(19)]

    def send(messages: Sequence[Any], sampling: dict[str, Any]) -> int:
        return httpx.post(
            f"{server.url}/chat/completions",
            json={"model": server.alias, "messages": messages, **sampling},
            headers={"Authorization": f"Bearer {server.key}"},
            timeout=600,
        ).status_code

    for max_tokens in (16, 4000):
        record = await prepare(path, *turns, max_tokens=max_tokens)
        exchange = record.exchange
        assert 3 < len(exchange.messages) < len(turns)
        assert send(exchange.messages, dict(exchange.sampling)) == 200
    whole = [{"role": "user", "content": turn} for turn in turns]
    assert send(whole, {"max_tokens": 16}) == 400
