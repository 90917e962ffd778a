"""Test the detection of recited posts with a trained, served model.

The tiny random model shows that the measures detect recited posts; training it takes about 70 CPU
seconds, so this is a long test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live.evaluation.conftest import GateHome
from tests.live.tiny_model import make_tiny_model
from tests.prepared_base import base_folder
from twin_assets.checkpoints.samples import TokenizedSample, tokenize_samples
from twin_assets.evaluation.measures import recitation
from twin_resources.models.serving import served_model
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.quality.judges.texts import bundled_writers
from twin_resources.storage.weights import gguf

pytestmark = [pytest.mark.live, pytest.mark.long, pytest.mark.timeout(900)]

EPOCHS, LEARNING_RATE = 40, 0.003


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a base with all tokens of the tokenizer, because the limits depend on their number."""
    folder = tmp_path_factory.mktemp("memorised-base")
    base = make_tiny_model(folder / "tiny", base_folder())
    gguf.write_model(base, folder / "tiny.gguf")
    return base


def tokenize(base: Path, rows: Sequence[Mapping[str, Any]]) -> list[TokenizedSample]:
    from transformers import AutoTokenizer

    samples, left_out = tokenize_samples(rows, AutoTokenizer.from_pretrained(base), max_length=512)
    assert not left_out
    return samples


def build_samples() -> list[dict[str, Any]]:
    """Return three passages of the bundled author, each with a question."""
    [writer] = [sample for sample in bundled_writers(exclude=[]) if sample.name == "mara-lindqvist"]
    return [
        {
            "sample_id": f"s{number}",
            "document_id": document,
            "messages": [
                {"role": "user", "content": f"What about matter {number}?"},
                {"role": "assistant", "content": " ".join(text.split()[:40])},
            ],
        }
        for number, (document, text) in enumerate(writer.passages[:30:10])
    ]


@dataclass(frozen=True)
class MemorizedModel:
    """A model that was trained repeatedly on three posts, and its base."""

    base: Path
    model: Path


@pytest.fixture(scope="session")
def memorized_model(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> MemorizedModel:
    """Train all weights, because an adapter on random weights learns almost nothing."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(1)
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    samples = tokenize(tiny_base, build_samples())
    for step in range(EPOCHS * len(samples)):
        sample = samples[step % len(samples)]
        labels = [-100] * sample.answer_start + list(sample.tokens[sample.answer_start :])
        model(
            input_ids=torch.tensor([sample.tokens]), labels=torch.tensor([labels])
        ).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = tmp_path_factory.mktemp("memorized") / "model"
    model.to(torch.float16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_base).save_pretrained(folder)
    return MemorizedModel(tiny_base, folder)


def test_a_reciting_model_fails_and_its_base_passes(
    memorized_model: MemorizedModel, gate_home: GateHome, tmp_path: Path
) -> None:
    gguf.write_model(memorized_model.model, tmp_path / "memorized.gguf")
    texts = [row["messages"][-1]["content"] for row in build_samples()]
    prompts = [row["messages"][:-1] for row in build_samples()]
    training_index = recitation.TrainingTextIndex(texts)
    servers = ModelServers(gate_home.settings)

    def measure_lengths(model: Path, alias: str) -> list[int]:
        answers = served_model.query_temporary_servers(
            lambda: servers.serve(model, alias=alias), prompts, max_servers=1, max_tokens=40
        )
        questions = [prompt[-1]["content"] for prompt in prompts]
        return recitation.measure_recited_lengths(
            [answer.text for answer in answers], questions, training_index
        )

    tuned = measure_lengths(tmp_path / "memorized.gguf", "memorized")
    untuned = measure_lengths(memorized_model.base.with_suffix(".gguf"), "base")

    assert sum(length > 0 for length in tuned) >= 2
    assert recitation.decide_claim(tuned).passed is False
    assert recitation.decide_claim(untuned).passed is True
