"""Test the embedded base model on the common questions and the checked instructions.

A tuned model is compared with its base, so the base must have the abilities that the claims
protect.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.prepared_base import base_folder, base_gguf
from twin_assets.evaluation.likelihood import perplexity
from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood
from twin_assets.evaluation.likelihood.sample_likelihoods import RowTokenizer
from twin_assets.evaluation.measures import common_knowledge
from twin_assets.evaluation.served import checked_instructions, served_answers
from twin_resources.authors import FREQUENCY_PENALTY
from twin_resources.models.serving import served_model
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.registry.moves import GateClaim
from twin_resources.settings import Settings

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]

QUESTION_COUNT = common_knowledge.MIN_QUESTIONS  # of 100 questions


def test_noise_in_the_weights_loses_common_knowledge() -> None:
    samples = RowTokenizer(base_folder()).tokenize(
        common_knowledge.build_rows()[: common_knowledge.OPTIONS_PER_QUESTION * QUESTION_COUNT]
    )
    model: Any = perplexity.load_model(
        base_folder(), precision=perplexity.choose_evaluation_precision()
    )

    base = perplexity.answer_likelihood(model, samples)
    add_noise(model)
    noisy = perplexity.answer_likelihood(model, samples)

    claim = compare_with_base(noisy, base, samples)
    sys.stdout.write(f"{claim.detail}\n")
    assert f"in {QUESTION_COUNT} questions" in claim.detail
    base_choices = int(claim.detail.rpartition("by the base ")[2])
    assert base_choices >= 0.8 * QUESTION_COUNT
    assert claim.passed is False, claim.detail
    unchanged = compare_with_base(base, base, samples)
    assert unchanged.passed
    assert "nothing to keep" not in unchanged.detail


def add_noise(model: Any) -> None:
    """Add noise of half the weights' size to the matrices of the second half of the layers."""
    import torch

    generator = torch.Generator().manual_seed(7)
    layers = model.model.layers
    with torch.no_grad():
        for layer in layers[len(layers) // 2 :]:
            for weights in layer.parameters():
                if weights.ndim == 2:
                    noise = torch.randn(weights.shape, generator=generator)
                    weights.add_((0.5 * weights.float().std() * noise).to(weights.dtype))


def compare_with_base(
    candidate: AnswerLikelihood, base: AnswerLikelihood, samples: Any
) -> GateClaim:
    claim = common_knowledge.decide_claim(
        candidate, base, sample_ids=[sample.sample_id for sample in samples]
    )
    assert isinstance(claim, GateClaim)
    return claim


@pytest.mark.long
def test_the_base_model_follows_some_of_the_instructions(home: Settings) -> None:
    servers = ModelServers(home)
    instructions = checked_instructions.read_checked_instructions()[::2]

    answers = served_model.query_temporary_servers(
        lambda: servers.serve(base_gguf(), alias="base"),
        [[{"role": "user", "content": instruction.instruction}] for instruction in instructions],
        max_servers=1,
        max_tokens=served_answers.ANSWER_TOKENS,
        frequency_penalty=FREQUENCY_PENALTY,
    )

    pairs = list(zip(instructions, answers, strict=True))
    follows_flags = [
        checked_instructions.has_requested_form(instruction, answer.text)
        for instruction, answer in pairs
    ]
    for (instruction, answer), is_followed in zip(pairs, follows_flags, strict=True):
        sys.stdout.write(f"{instruction.id} {instruction.check} {is_followed}: {answer.text!r}\n")
    assert 0.1 <= sum(follows_flags) / len(instructions) <= 0.8
