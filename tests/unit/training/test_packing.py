"""Test that packed samples do not affect each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers.models.llama import LlamaConfig, LlamaForCausalLM

from twin_assets.checkpoints.samples import TokenizedPair, TokenizedSample
from twin_assets.training.losses import (
    PreferenceObjective,
    SupervisedObjective,
    answer_losses,
    packed_answer_losses,
    pair_log_probabilities,
)

BUCKET = 16


def make_sample(name: str, length: int, start: int) -> TokenizedSample:
    tokens = tuple((7 * index + 3 * length) % 50 for index in range(length))
    return TokenizedSample(name, f"document {name}", tokens, start, length)


SAMPLES = [make_sample("one", 21, 9), make_sample("two", 5, 1), make_sample("three", 13, 4)]


@pytest.fixture(params=["sdpa", "eager"])
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(11)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.4,  # large weights make leaks visible
    )
    model = LlamaForCausalLM(config).train()
    model.set_attn_implementation(request.param)
    return model


def test_packed_losses_equal_those_of_single_samples(model: Any) -> None:
    expected = torch.cat([answer_losses(model, [sample], BUCKET).flatten() for sample in SAMPLES])
    packed = packed_answer_losses(model, SAMPLES, BUCKET)
    assert packed.shape == (sum(sample.answer_tokens for sample in SAMPLES),)
    torch.testing.assert_close(packed, expected, atol=2e-5, rtol=1e-5)


def test_the_gradient_equals_that_of_padded_rows(model: Any) -> None:
    gradients: list[list[torch.Tensor]] = []
    for packing in (False, True):
        model.zero_grad()
        loss, _ = SupervisedObjective(SAMPLES, BUCKET, packing).batch_sums(
            model, range(len(SAMPLES))
        )
        loss.backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for padded, packed in zip(*gradients, strict=True):
        torch.testing.assert_close(packed, padded, atol=1e-3, rtol=1e-3)


def test_preference_pairs_are_packed_too(model: Any) -> None:
    pairs = [
        TokenizedPair(SAMPLES[0], make_sample("one", 17, 9)),
        TokenizedPair(SAMPLES[2], make_sample("three", 30, 4)),
    ]
    padded = pair_log_probabilities(model, pairs, BUCKET)
    packed = pair_log_probabilities(model, pairs, BUCKET, packing=True)
    torch.testing.assert_close(packed, padded, atol=1e-4, rtol=1e-5)
    reference = {pair.sample_id: (-9.0, -8.0) for pair in pairs}
    losses = [
        PreferenceObjective(pairs, BUCKET, 0.1, reference, packing).batch_sums(model, [0, 1])[0]
        for packing in (False, True)
    ]
    torch.testing.assert_close(losses[0], losses[1], atol=1e-4, rtol=1e-5)
