"""Test that the chunked loss and its gradients equal those of all logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.gemma2.configuration_gemma2 import Gemma2Config
from transformers.models.granite.configuration_granite import GraniteConfig
from transformers.models.llama import LlamaConfig, LlamaForCausalLM

from twin_assets.checkpoints.recipe import LoraShape
from twin_assets.checkpoints.samples import TokenizedSample
from twin_assets.training.adapter import add_adapter
from twin_assets.training.chunked_cross_entropy import chunk_head, find_chunked_head
from twin_assets.training.losses import SupervisedObjective
from twin_resources.errors import TwinError

VOCABULARY = 512
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
SAMPLES = [
    TokenizedSample("one", "document", tuple(range(3, 60)), 11, 57),
    TokenizedSample("two", "document", tuple(range(90, 120)), 7, 29),
    TokenizedSample("three", "document", tuple(range(200, 241)), 30, 41),
]


def build_small_model() -> Any:
    torch.manual_seed(5)
    model: Any = LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=True))
    with torch.no_grad():  # large weights make the losses differ between tokens
        model.get_output_embeddings().weight.mul_(20)
    return model


def add_lora(model: Any, *, lora: bool) -> Any:
    if not lora:
        return model
    lora_shape = LoraShape(rank=4, alpha=8, dropout=0.0, target_modules=("q_proj", "lm_head"))
    torch.manual_seed(6)
    return add_adapter(model, lora_shape, initial_adapter=None)


def compute_gradients(model: Any, *, packing: bool) -> tuple[float, dict[str, Any]]:
    objective = SupervisedObjective(SAMPLES, 16, packing)
    loss, _ = objective.batch_sums(model, range(len(SAMPLES)))
    loss.backward()
    return loss.item(), {
        name: value.grad.clone()
        for name, value in model.named_parameters()
        if value.grad is not None
    }


@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_chunks_give_the_loss_and_gradients_of_all_logits(packing: bool, lora: bool) -> None:
    full_model = add_lora(build_small_model(), lora=lora)
    chunked_model = add_lora(build_small_model(), lora=lora)
    names = [name for name, _ in chunked_model.named_parameters()]
    chunk_head(chunked_model, rows=7)
    assert [name for name, _ in chunked_model.named_parameters()] == names

    result = compute_gradients(chunked_model, packing=packing)
    expected = compute_gradients(full_model, packing=packing)

    assert result[0] == pytest.approx(expected[0], rel=1e-6)
    assert result[1].keys() == expected[1].keys()
    for name, value in expected[1].items():
        tolerance = 1e-5 * value.abs().max().item()
        assert (result[1][name] - value).abs().max().item() <= tolerance, name
    assert any(value.abs().max() > 0 for value in expected[1].values())


def test_only_one_chunk_of_logits_exists_at_a_time() -> None:
    chunk_rows: list[int] = []
    model = build_small_model()
    chunk_head(model, rows=7)
    head = find_chunked_head(model)
    assert head is not None
    layer = head._layer
    head._layer = lambda hidden: chunk_rows.append(hidden.shape[0]) or layer(hidden)

    loss, _ = SupervisedObjective(SAMPLES, 16, True).batch_sums(model, range(3))
    answer_tokens = sum(sample.answer_tokens for sample in SAMPLES)
    forward_count = len(chunk_rows)
    loss.backward()

    assert max(chunk_rows) == 7
    # the backward pass recomputes the chunks
    assert sum(chunk_rows[:forward_count]) == sum(chunk_rows[forward_count:]) == answer_tokens


def test_without_targets_the_model_returns_logits() -> None:
    full_model, chunked_model = build_small_model(), build_small_model()
    chunk_head(chunked_model, rows=2)
    tokens = torch.arange(5, 12)[None]
    assert torch.equal(full_model(input_ids=tokens).logits, chunked_model(input_ids=tokens).logits)
    assert find_chunked_head(full_model) is None


@pytest.mark.parametrize(
    "config",
    [
        Gemma2Config(**SHAPE, head_dim=8, final_logit_softcapping=30.0),
        GraniteConfig(**SHAPE, logits_scaling=8.0),
    ],
    ids=["caps", "divides"],
)
def test_a_model_that_changes_its_logits_is_an_error(config: Any) -> None:
    model: Any = AutoModelForCausalLM.from_config(config)
    with pytest.raises(TwinError, match="set loss_chunk to 0"):
        chunk_head(model, rows=2)
