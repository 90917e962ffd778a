"""Test that losses, gradients, likelihoods and vectors on a GPU equal those on the CPU.

The tests compare packed with padded rows for each attention implementation, and gradients with and
without gradient checkpointing. They also cover the gate's likelihoods and the embedder's vectors.
They run in one process, without a launcher.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.gpu.random_base import make_embedder, sample_rows
from twin_assets.checkpoints.samples import TokenizedSample
from twin_assets.evaluation.likelihood.perplexity import answer_likelihood, load_model
from twin_assets.training.chunked_cross_entropy import chunk_head
from twin_assets.training.losses import SupervisedObjective, answer_losses, packed_answer_losses
from twin_assets.training.training_state import read_generator_states, set_generator_states
from twin_resources.models.embedder.engines import SentenceTransformersEngine

pytestmark = pytest.mark.gpu

BUCKET = 64
MIN_LEAK = 0.05  # minimum change in nats of a token's loss if it attends to another sample
# tolerances: for a loss of about 7 nats, and for a gradient relative to its largest value
TOLERANCES = {"fp32": (2e-4, 1e-3), "bf16": (0.1, 0.05)}


def load_model_on(base: Path, device: str, attention: str, precision: str = "fp32") -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model: Any = AutoModelForCausalLM.from_pretrained(
        base, dtype=dtype, attn_implementation=attention
    )
    return model.to(device).train()


def compute_gradients(
    model: Any, samples: Sequence[TokenizedSample], *, packing: bool
) -> dict[str, Any]:
    model.zero_grad()
    loss, _ = SupervisedObjective(samples, BUCKET, packing).batch_sums(model, range(len(samples)))
    loss.backward()
    return {name: value.grad.float().cpu() for name, value in model.named_parameters()}


@pytest.fixture(params=["eager", "sdpa", "flash_attention_2"])
def attention(request: pytest.FixtureRequest, device: str) -> str:
    """Return each attention implementation that a recipe may name."""
    name: str = request.param
    if name == "flash_attention_2" and (device == "cpu" or find_spec("flash_attn") is None):
        pytest.skip("no GPU: this test needs one with flash-attn")
    return name


def choose_precision(attention: str, device: str) -> str:
    """Return bf16 for flash attention, whose variable-length kernels have no float32."""
    return "bf16" if attention == "flash_attention_2" and device == "cuda" else "fp32"


def test_packed_losses_and_gradients_are_those_of_padded_rows(
    device: str, attention: str, random_base: Path, samples: list[TokenizedSample]
) -> None:
    precision = choose_precision(attention, device)
    model = load_model_on(random_base, device, attention, precision)
    batch = samples[:5]
    loss_tolerance, gradient_tolerance = TOLERANCES[precision]
    padded = [answer_losses(model, [sample], BUCKET).flatten() for sample in batch]
    packed = packed_answer_losses(model, batch, BUCKET)
    lengths = [len(losses) for losses in padded]
    for actual, expected in zip(packed.split(lengths), padded, strict=True):
        assert (actual - expected).abs().max().item() < loss_tolerance
    expected_gradients, packed_gradients = (
        compute_gradients(model, batch, packing=packing) for packing in (False, True)
    )
    for name, value in expected_gradients.items():
        difference = (packed_gradients[name] - value).abs().max()
        assert difference <= gradient_tolerance * value.abs().max(), name


@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
def test_a_chunked_loss_has_the_gradients_of_the_whole_logits(
    device: str, packing: bool, random_base: Path, samples: list[TokenizedSample]
) -> None:
    unchunked, chunked = (load_model_on(random_base, device, "eager") for _ in range(2))
    chunk_head(chunked, rows=32)
    batch = samples[:5]
    assert sum(sample.answer_tokens for sample in batch) > 2 * 32
    _, tolerance = TOLERANCES["fp32"]
    actual, expected = (
        compute_gradients(model, batch, packing=packing) for model in (chunked, unchunked)
    )
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert (actual[name] - value).abs().max() <= tolerance * value.abs().max(), name


def test_a_packed_sample_does_not_attend_to_the_sample_before_it(
    device: str, attention: str, random_base: Path, samples: list[TokenizedSample]
) -> None:
    model = load_model_on(random_base, device, attention, choose_precision(attention, device))
    before, probe = samples[:2]
    changed = replace(before, tokens=tuple(reversed(before.tokens)))
    count = probe.answer_tokens
    first, second = (
        packed_answer_losses(model, [sample, probe], BUCKET)[-count:]
        for sample in (before, changed)
    )
    tolerance, _ = TOLERANCES[choose_precision(attention, device)]
    assert (first - second).abs().max().item() < tolerance
    # This would detect a leak: in one undivided row the losses differ.
    joined = before.tokens + probe.tokens
    undivided = replace(
        probe,
        tokens=joined,
        answer_start=before.length + probe.answer_start,
        answer_end=len(joined),
    )
    leaked = answer_losses(model, [undivided], BUCKET).flatten()
    assert (leaked - first).abs().max().item() > max(MIN_LEAK, 3 * tolerance)


def test_losses_and_gradients_are_those_of_the_cpu(
    device: str, attention: str, random_base: Path, samples: list[TokenizedSample]
) -> None:
    precision = choose_precision(attention, device)
    loss_tolerance, gradient_tolerance = TOLERANCES[precision]
    models = (
        load_model_on(random_base, device, attention, precision),
        load_model_on(random_base, "cpu", "eager"),
    )
    losses, expected_losses = (answer_losses(model, samples[:3], BUCKET).cpu() for model in models)
    assert (losses - expected_losses).abs().max().item() < loss_tolerance
    actual, expected = (compute_gradients(model, samples[:3], packing=False) for model in models)
    for name, value in expected.items():
        assert (actual[name] - value).abs().max() <= gradient_tolerance * value.abs().max(), name


def test_dropout_continues_from_a_restored_generator_state(device: str) -> None:
    import torch

    torch_device = torch.device(device)
    ones = torch.ones(1000, device=torch_device)
    states = read_generator_states(torch_device)
    first = torch.nn.functional.dropout(ones, 0.1)
    assert not torch.equal(torch.nn.functional.dropout(ones, 0.1), first)
    set_generator_states(states, torch_device)
    assert torch.equal(torch.nn.functional.dropout(ones, 0.1), first)


@pytest.mark.parametrize("packing", [False, True])
def test_gradient_checkpointing_does_not_change_the_gradients(
    device: str, packing: bool, random_base: Path, samples: list[TokenizedSample]
) -> None:
    model = load_model_on(random_base, device, "sdpa")
    passes: list[int] = []
    model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: passes.append(1))
    expected = compute_gradients(model, samples[:3], packing=packing)
    assert len(passes) == 1
    model.gradient_checkpointing_enable({"use_reentrant": False})
    recomputed = compute_gradients(model, samples[:3], packing=packing)
    assert len(passes) == 3  # forward, and again in the backward pass
    for name, value in expected.items():
        assert (recomputed[name] - value).abs().max() <= 1e-5 * value.abs().max(), name


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 0.05)])
def test_likelihoods_are_those_of_the_cpu(
    device: str, precision: str, tolerance: float, random_base: Path, samples: list[TokenizedSample]
) -> None:
    model = load_model(random_base, precision=precision)
    assert model.device.type == device
    cpu_model = load_model_on(random_base, "cpu", "eager").eval()
    actual, expected = (answer_likelihood(each, samples[:12]) for each in (model, cpu_model))
    assert actual.token_counts == expected.token_counts
    pairs = zip(
        actual.negative_log_likelihoods,
        expected.negative_log_likelihoods,
        expected.token_counts,
        strict=True,
    )
    # nats per token
    assert max(abs(value - other) / count for value, other, count in pairs) < tolerance


def test_vectors_are_those_of_the_cpu(device: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = make_embedder(tmp_path / "embedder")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [row["messages"][-1]["content"] for row in sample_rows(16)]
    batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="np")
    actual, expected = (
        SentenceTransformersEngine(folder, device=name)(
            batch["input_ids"], batch["attention_mask"]
        )[0]
        for name in (device, "cpu")
    )
    assert actual.shape == (len(texts), 64)
    assert np.sum(actual * expected, axis=1).min() > 0.9999
    # Vectors of different texts are less similar.
    assert np.sort(expected @ expected.T, axis=None)[: -len(texts)].max() < 0.9999
