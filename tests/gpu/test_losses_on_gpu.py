"""Losses, gradients, likelihoods and vectors on a GPU: those of the processor, however computed.

Packed rows against padded ones for each attention, gradient checkpointing against none, and what
the gate and the embedder read. In one process, without a launcher.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.gpu.random_base import make_embedder, rows
from twin_assets.checkpoints.samples import TokenizedSample
from twin_assets.evaluation.likelihood.perplexity import answer_likelihood, load_model
from twin_assets.training.chunked_cross_entropy import chunk_head
from twin_assets.training.losses import SupervisedObjective, answer_losses, packed_answer_losses
from twin_assets.training.training_state import read_generator_states, set_generator_states
from twin_resources.models.embedder.engines import SentenceTransformersEngine

pytestmark = pytest.mark.gpu

BUCKET = 64
LEAK = 0.05  # nats by which a token's loss changes at least when another sample is seen
# what bf16 may add to a loss of about 7 nats, and to a gradient, relative to its largest value
BOUNDS = {"fp32": (2e-4, 1e-3), "bf16": (0.1, 0.05)}


def model_on(base: Path, device: str, attention: str, precision: str = "fp32") -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model: Any = AutoModelForCausalLM.from_pretrained(
        base, dtype=dtype, attn_implementation=attention
    )
    return model.to(device).train()


def gradients(model: Any, samples: Sequence[TokenizedSample], *, packing: bool) -> dict[str, Any]:
    model.zero_grad()
    loss, _ = SupervisedObjective(samples, BUCKET, packing).batch_sums(model, range(len(samples)))
    loss.backward()
    return {name: value.grad.float().cpu() for name, value in model.named_parameters()}


@pytest.fixture(params=["eager", "sdpa", "flash_attention_2"])
def attention(request: pytest.FixtureRequest, device: str) -> str:
    """Each attention that a recipe may name."""
    name: str = request.param
    if name == "flash_attention_2" and (device == "cpu" or find_spec("flash_attn") is None):
        pytest.skip("no GPU: flash-attn is not installed beside one")
    return name


def precision_of(attention: str, device: str) -> str:
    """Kernels that take samples of several lengths have no float32."""
    return "bf16" if attention == "flash_attention_2" and device == "cuda" else "fp32"


def test_packed_losses_and_gradients_are_those_of_padded_rows(
    device: str, attention: str, random_base: Path, samples: list[TokenizedSample]
) -> None:
    precision = precision_of(attention, device)
    model = model_on(random_base, device, attention, precision)
    chosen = samples[:5]
    loss_within, gradient_within = BOUNDS[precision]
    alone = [answer_losses(model, [each], BUCKET).flatten() for each in chosen]
    packed = packed_answer_losses(model, chosen, BUCKET)
    for mine, each in zip(packed.split([len(one) for one in alone]), alone, strict=True):
        assert (mine - each).abs().max().item() < loss_within
    padded, others = (gradients(model, chosen, packing=packing) for packing in (False, True))
    for name, value in padded.items():
        assert (others[name] - value).abs().max() <= gradient_within * value.abs().max(), name


@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
def test_a_loss_in_chunks_and_its_gradients_are_those_of_all_logits(
    device: str, packing: bool, random_base: Path, samples: list[TokenizedSample]
) -> None:
    whole, chunked = (model_on(random_base, device, "eager") for _ in range(2))
    chunk_head(chunked, rows=32)
    chosen = samples[:5]
    assert sum(one.answer_tokens for one in chosen) > 2 * 32
    _, gradient_within = BOUNDS["fp32"]
    found, wanted = (gradients(one, chosen, packing=packing) for one in (chunked, whole))
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert (found[name] - value).abs().max() <= gradient_within * value.abs().max(), name


def test_what_stands_before_in_a_row_is_not_seen(
    device: str, attention: str, random_base: Path, samples: list[TokenizedSample]
) -> None:
    model = model_on(random_base, device, attention, precision_of(attention, device))
    before, probe = samples[:2]
    changed = replace(before, tokens=tuple(reversed(before.tokens)))
    count = probe.answer_tokens
    first, second = (
        packed_answer_losses(model, [one, probe], BUCKET)[-count:] for one in (before, changed)
    )
    within, _ = BOUNDS[precision_of(attention, device)]
    assert (first - second).abs().max().item() < within
    # the probe would find a leak: in one undivided row its losses are others
    joined = before.tokens + probe.tokens
    undivided = replace(
        probe,
        tokens=joined,
        answer_start=before.length + probe.answer_start,
        answer_end=len(joined),
    )
    leaked = answer_losses(model, [undivided], BUCKET).flatten()
    assert (leaked - first).abs().max().item() > max(LEAK, 3 * within)


def test_losses_and_gradients_are_those_of_the_processor(
    device: str, attention: str, random_base: Path, samples: list[TokenizedSample]
) -> None:
    precision = precision_of(attention, device)
    loss_within, gradient_within = BOUNDS[precision]
    here = model_on(random_base, device, attention, precision)
    there = model_on(random_base, "cpu", "eager")
    mine, reference = (answer_losses(one, samples[:3], BUCKET).cpu() for one in (here, there))
    assert (mine - reference).abs().max().item() < loss_within
    values, wanted = (gradients(one, samples[:3], packing=False) for one in (here, there))
    for name, value in wanted.items():
        assert (values[name] - value).abs().max() <= gradient_within * value.abs().max(), name


def test_what_dropout_draws_goes_on_where_it_was(device: str) -> None:
    import torch

    there = torch.device(device)
    ones = torch.ones(1000, device=there)
    states = read_generator_states(there)
    first = torch.nn.functional.dropout(ones, 0.1)
    assert not torch.equal(torch.nn.functional.dropout(ones, 0.1), first)
    set_generator_states(states, there)
    assert torch.equal(torch.nn.functional.dropout(ones, 0.1), first)


@pytest.mark.parametrize("packing", [False, True])
def test_activations_that_are_computed_again_give_the_same_gradient(
    device: str, packing: bool, random_base: Path, samples: list[TokenizedSample]
) -> None:
    model = model_on(random_base, device, "sdpa")
    passes: list[int] = []
    model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: passes.append(1))
    kept = gradients(model, samples[:3], packing=packing)
    assert len(passes) == 1
    model.gradient_checkpointing_enable({"use_reentrant": False})
    again = gradients(model, samples[:3], packing=packing)
    assert len(passes) == 3  # forward, and once more in the backward pass
    for name, value in kept.items():
        assert (again[name] - value).abs().max() <= 1e-5 * value.abs().max(), name


@pytest.mark.parametrize(("precision", "within"), [("fp32", 1e-3), ("bf16", 0.05)])
def test_likelihoods_are_those_of_the_processor(
    device: str, precision: str, within: float, random_base: Path, samples: list[TokenizedSample]
) -> None:
    here = load_model(random_base, precision=precision)
    assert here.device.type == device
    there = model_on(random_base, "cpu", "eager").eval()
    mine, reference = (answer_likelihood(one, samples[:12]) for one in (here, there))
    assert mine.tokens == reference.tokens
    sides = zip(
        mine.negative_log_likelihoods,
        reference.negative_log_likelihoods,
        reference.tokens,
        strict=True,
    )
    # nats a token
    assert max(abs(one - other) / count for one, other, count in sides) < within


def test_vectors_are_those_of_the_processor(device: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = make_embedder(tmp_path / "embedder")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [row["messages"][-1]["content"] for row in rows(16)]
    batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="np")
    here, there = (
        SentenceTransformersEngine(folder, device=name)(batch["input_ids"], batch["attention_mask"])
        for name in (device, "cpu")
    )
    assert here.shape == (len(texts), 64)
    assert np.sum(here * there, axis=1).min() > 0.9999
    # the texts' own vectors are further from each other than that
    assert np.sort(there @ there.T, axis=None)[: -len(texts)].max() < 0.9999
