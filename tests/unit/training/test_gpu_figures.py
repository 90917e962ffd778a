"""The share of a card's FLOP/s, by hand; the table of cards by torch's names."""

from __future__ import annotations

from typing import Any

import pytest
from accelerate import Accelerator
from transformers.models.llama import LlamaConfig, LlamaForCausalLM

from twin_assets.training.gpu_figures import (
    GpuFigures,
    matrix_weights,
    model_flops_utilization,
    peak_flops,
)


@pytest.mark.parametrize(
    ("card", "peak"),
    [
        ("NVIDIA H200", 989e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A10G", None),
        ("NVIDIA A10", 125e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40", None),
        ("NVIDIA GeForce RTX 4090", 165e12),
        ("Tesla T4", None),
    ],
)
def test_cards_by_name(card: str, peak: float | None) -> None:
    assert peak_flops(card) == peak


def test_the_share_is_the_products_of_the_weights() -> None:
    # 10,000 tokens/s × 8e9 weights × 4 FLOP are 320 TFLOP/s, on two cards of 400
    share = model_flops_utilization(1e4, weights=8 * 10**9, lora=True, ranks=2, peak=400e12)
    assert share == pytest.approx(0.4)
    full = model_flops_utilization(1e4, weights=8 * 10**9, lora=False, ranks=2, peak=400e12)
    assert full == pytest.approx(0.6)
    assert model_flops_utilization(1e4, weights=1, lora=True, ranks=1, peak=None) is None


@pytest.mark.parametrize("tied", [True, False])
def test_a_table_of_embeddings_counts_where_it_is_the_head(tied: bool) -> None:
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=tied,
    )
    model: Any = LlamaForCausalLM(config)
    layer = 4 * 8 * 8 + 3 * 8 * 16 + 3 * 8  # attention, feed-forward, three norms
    assert matrix_weights(model) == layer + 50 * 8


def test_without_a_gpu_nothing_is_said() -> None:
    assert GpuFigures(Accelerator(cpu=True), 10**6, lora=True).at(100.0) == {}
