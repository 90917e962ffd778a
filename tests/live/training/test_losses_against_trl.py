"""Compare the preference loss and its gradient with those of TRL's DPOTrainer.

TRL comes with the extra `bench`; without it the test is skipped.
Source: https://huggingface.co/docs/trl/dpo_trainer
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from twin_assets.checkpoints.samples import TokenizedPair, TokenizedSample

pytestmark = pytest.mark.live

PAIR_COUNT = 3
BETA = 0.3


def test_loss_and_gradient_equal_trls(tiny_model: Path, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl", reason="extra `bench` not installed")
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from twin_assets.training.losses import pair_log_probabilities, preference_loss

    policy, reference = (
        AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32) for _ in range(2)
    )
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    rows = [
        {
            "prompt": f"Question {number}: why?",
            "chosen": " because it is so" * (number + 1),
            "rejected": " nothing" * (PAIR_COUNT - number),
        }
        for number in range(PAIR_COUNT)
    ]
    trainer: Any = trl.DPOTrainer(
        model=policy,
        ref_model=reference,
        args=trl.DPOConfig(
            output_dir=str(tmp_path / "trl"),
            use_cpu=True,
            bf16=False,
            beta=BETA,
            report_to=[],
            per_device_train_batch_size=PAIR_COUNT,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(tiny_model),
    )
    policy.eval()
    (batch,) = trainer.get_train_dataloader()

    def answer(row: int) -> TokenizedSample:
        length = int(batch["attention_mask"][row].sum())
        positions = batch["completion_mask"][row].nonzero().flatten().tolist()
        tokens = tuple(batch["input_ids"][row, :length].tolist())
        return TokenizedSample(str(row), "document", tokens, positions[0], positions[-1] + 1)

    expected_loss = trainer.compute_loss(policy, batch)
    expected_loss.backward()
    gradients = [parameter.grad.clone() for parameter in policy.parameters()]
    policy.zero_grad()
    pairs = [TokenizedPair(answer(row), answer(row + PAIR_COUNT)) for row in range(PAIR_COUNT)]
    loss, _ = preference_loss(
        pair_log_probabilities(policy, pairs, bucket=64),
        pair_log_probabilities(reference, pairs, bucket=64).detach(),
        beta=BETA,
    )
    loss.mean().backward()
    assert float(loss.mean().detach()) == pytest.approx(float(expected_loss.detach()), rel=1e-5)
    assert max(float(gradient.abs().max()) for gradient in gradients) > 0.1
    for parameter, expected in zip(policy.parameters(), gradients, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, expected, atol=1e-5)
