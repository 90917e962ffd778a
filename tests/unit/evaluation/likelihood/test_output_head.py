"""Test logits computed from hidden states, including families that scale or cap them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from twin_assets.evaluation.likelihood.output_head import OutputHead
from twin_resources.errors import TwinError

FAMILIES = {
    "LlamaConfig": {},
    "Gemma2Config": {"final_logit_softcapping": 2.0, "head_dim": 8},
    "GraniteConfig": {"logits_scaling": 0.25},
    "CohereConfig": {"logit_scale": 4.0, "pad_token_id": 0},
}


def make_tiny_model(name: str, **values: Any) -> Any:
    torch.manual_seed(3)
    config = getattr(transformers, name)(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, **values,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    head: Any = model.get_output_embeddings()
    head.weight.data.normal_(0, 1.0)
    return model


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_equal_the_models_own(name: str) -> None:
    model = make_tiny_model(name, **FAMILIES[name])
    tokens = torch.tensor([[3, 1, 4, 1, 5]])

    with torch.inference_mode():
        states = model.base_model(input_ids=tokens).last_hidden_state[0]
        expected = model(input_ids=tokens).logits[0]
        logits = OutputHead(model).logits(states)

    assert torch.allclose(logits, expected, atol=1e-5)


def test_different_logits_are_an_error() -> None:
    class DoubledLogits(transformers.LlamaForCausalLM):
        def forward(self, *arguments: Any, **options: Any) -> Any:
            output = super().forward(*arguments, **options)
            output.logits = output.logits * 2
            return output

    model = DoubledLogits(make_tiny_model("LlamaConfig").config).eval()
    model.get_output_embeddings().weight.data.normal_(0, 1.0)

    with pytest.raises(TwinError, match="a difference from the model's own logits"):
        OutputHead(model)


def test_non_finite_weights_are_not_an_error() -> None:
    """Both logits are NaN, and the gate's claims refuse such a model."""
    model = make_tiny_model("LlamaConfig")
    for weights in model.parameters():
        weights.data.fill_(float("nan"))

    logits = OutputHead(model).logits(torch.zeros(1, 16))

    assert not logits.isfinite().any()
