"""Test `twin publish` against a simulated hub, with the official client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import HfApi
from twin_cli.commands.outcome import open_registry

from tests.greedy_answers import request_answers
from tests.http_server import http_server
from tests.live.serving.conftest import make_adapter
from tests.live.training.model_hub import ModelHub, Repository
from tests.live.training.test_exports import write_published_manifest
from tests.model_versions import register_version
from twin_assets.checkpoints import manifest as manifests
from twin_assets.evaluation.gate import GATE_VERSION
from twin_resources.authors import Author, write_author
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.registry.moves import GateClaim, Verdict
from twin_resources.settings import Settings
from twin_resources.storage.weights import gguf

pytestmark = pytest.mark.live

REPOSITORY = "ann-bell/clocks"
CLAIMS = (
    GateClaim("beats_base_model", True, 0.7, 1.0, "perplexity 23 | base 34"),
    GateClaim("says_what_the_posts_say", False, 0.9, 0.2, "9 of 10 unsupported", blocks="voice"),
)


@pytest.fixture
def hub() -> Iterator[ModelHub]:
    hub = ModelHub(token="hf_test")
    with http_server(hub) as hub.address:
        yield hub


@pytest.fixture
def checkpoint(home: Settings, tiny_model: Path, tmp_path: Path) -> Path:
    """Return the folder of Ann's first version, which has a verdict and a local base model."""
    make_adapter(tiny_model, tmp_path / "c" / manifests.ADAPTER_FOLDER)
    folder = write_published_manifest(tmp_path / "c", tiny_model)
    name = manifests.read_manifest(folder).checkpoint
    registry = open_registry(home)
    register_version(registry, "ann", name, folder=str(folder), base=str(tiny_model))
    registry.record_verdict(Verdict("ann", name, GATE_VERSION, "passed", CLAIMS, "2026-01-01"))
    set_consent(home, "2026-01-02: by mail")
    return folder


def set_consent(home: Settings, consent: str) -> None:
    write_author(home, Author(slug="ann", name="Ann Bell", sources=("/posts",), consent=consent))


def publish(home: Settings, hub: ModelHub, *options: str, token: str = "hf_test") -> Any:
    arguments = ("twin_cli", "publish", "v1", "--to", REPOSITORY, "--author", "ann", *options)
    return run_with_hub(home, hub, *arguments, token=token)


def run_with_hub(home: Settings, hub: ModelHub, module: str, *arguments: str, token: str) -> Any:
    """Run a module as a process, because huggingface_hub reads its environment on import."""
    environment = os.environ | {
        "HF_ENDPOINT": hub.address, "HF_TOKEN": token, "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",  # the simulated hub stores files through the LFS routes
        "HF_HOME": str(home.home / "hub"), "TWIN_HOME": str(home.home),
    }  # fmt: skip
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_published_version_is_private_and_computes_the_same_logits(
    home: Settings, hub: ModelHub, checkpoint: Path, tiny_model: Path, tmp_path: Path
) -> None:
    process = publish(home, hub)
    assert process.returncode == 0, process.stderr
    repository = hub.repositories[REPOSITORY]
    assert repository.private
    assert repository.tags == {"v1": repository.head}
    assert f"{hub.address}/{REPOSITORY}/commit/{repository.head} (private)" in process.stdout

    downloaded = HfApi(endpoint=hub.address, token=hub.token).snapshot_download(
        REPOSITORY, revision="v1", local_dir=tmp_path / "downloaded"
    )
    assert _compute_logits(Path(downloaded), tiny_model) == _compute_logits(
        checkpoint / manifests.ADAPTER_FOLDER, tiny_model
    )

    card = repository.commits[repository.head]["README.md"].decode()
    front_matter = yaml.safe_load(card.split("---")[1])
    assert (front_matter["license"], front_matter["library_name"]) == ("other", "peft")
    [result] = front_matter["model-index"][0]["results"]
    assert {metric["type"]: metric["value"] for metric in result["metrics"]}[
        "beats_base_model"
    ] == 0.7
    assert "Ann Bell agreed to this on 2026-01-02." in card
    assert "Prose without quotations is not released." in card
    assert "| `says_what_the_posts_say` | no | 9 of 10 unsupported |" in card
    uploaded = b"".join(repository.commits[repository.head].values())
    for private_path in (tmp_path, tiny_model, home.home):
        assert str(private_path).encode() not in uploaded

    repeated = publish(home, hub, "--json", "--format", "gguf-adapter")
    assert repeated.returncode == 0, repeated.stderr
    assert repository.tags == {"v1": repository.head}  # the tag moves
    files = set(repository.commits[repository.head])
    assert files == {"adapter.gguf", "export.json", "README.md"}, "old files remained"
    lines = (home.home / "published.jsonl").read_text().splitlines()
    assert len(lines) == 2


@pytest.mark.long
def test_a_published_model_gives_the_same_answers_in_an_empty_home(
    home: Settings, hub: ModelHub, checkpoint: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """`twin up --answer-model organization/name` prepares the model this way."""
    published = publish(home, hub, "--format", "merged")
    assert published.returncode == 0, published.stderr

    empty_home = Settings(home=tmp_path / "other")
    prepared = run_with_hub(
        empty_home, hub, "twin_resources.models.base_model",
        "prepare", "--base-model", REPOSITORY, token=hub.token,
    )  # fmt: skip

    assert prepared.returncode == 0, prepared.stderr
    model = json.loads(prepared.stdout.strip().rpartition("\n")[2])
    adapter = checkpoint / manifests.ADAPTER_FOLDER
    base_gguf = gguf.write_model(tiny_model, tmp_path / "base.gguf")
    adapter_gguf = gguf.write_adapter(adapter, tiny_model, tmp_path / "adapter.gguf")
    prompts = [[{"role": "user", "content": text}] for text in ("Hello", "How does a clock tick?")]
    with ModelServers(home).serve(base_gguf, adapter_gguf, alias="ann/v1") as server:
        answers = request_answers(server, prompts, max_tokens=16)
    with ModelServers(empty_home).serve(Path(model["gguf"]), None, alias="pulled") as server:
        pulled_answers = request_answers(server, prompts, max_tokens=16)
    assert [answer.tokens for answer in pulled_answers] == [answer.tokens for answer in answers]
    assert all(len(answer.tokens) == 16 for answer in answers)


@pytest.mark.parametrize(
    ("consent", "token", "message"),
    [("", "hf_test", "no consent"), ("2026-01-02: by mail", "hf_wrong", "the model hub answered")],
)
def test_nothing_is_sent_without_consent_or_a_token(
    home: Settings, hub: ModelHub, checkpoint: Path, consent: str, token: str, message: str
) -> None:
    set_consent(home, consent)
    process = publish(home, hub, token=token)
    assert process.returncode == 1
    assert message in " ".join(process.stderr.split())
    assert not hub.repositories
    assert not (home.home / "published.jsonl").exists()
    assert list(home.home.glob("publish-*")) == []


def test_a_public_repository_requires_the_option_public(
    home: Settings, hub: ModelHub, checkpoint: Path
) -> None:
    hub.repositories[REPOSITORY] = Repository(private=False)
    process = publish(home, hub)
    assert process.returncode == 1
    assert "the repository is already public" in " ".join(process.stderr.split())
    assert not hub.repositories[REPOSITORY].commits
    assert not (home.home / "published.jsonl").exists()


def _compute_logits(adapter: Path, base: Path) -> list[float]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(adapter)).eval()
    with torch.inference_mode():
        return model(input_ids=torch.tensor([[5, 6, 7]])).logits[0, -1].tolist()
