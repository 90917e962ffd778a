"""Test computing likelihoods in parallel batches."""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from twin_assets.checkpoints.samples import TokenizedSample
from twin_assets.evaluation.likelihood.perplexity import TOKENS_PER_BATCH, answer_likelihood
from twin_assets.evaluation.likelihood.shared_cores import choose_batch_concurrency, share_cores

VOCABULARY = 97


@pytest.fixture(scope="module")
def model() -> Any:
    """Return a model with two layers of random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return LlamaForCausalLM(config).eval()


def make_samples(count: int) -> list[TokenizedSample]:
    rng = random.Random(5)
    samples: list[TokenizedSample] = []
    for number in range(count):
        length = rng.randint(20, 500)
        start = rng.randint(1, length - 3)
        samples.append(
            TokenizedSample(
                sample_id=f"s{number}",
                document_id=f"d{number}",
                tokens=tuple(rng.randrange(VOCABULARY) for _ in range(length)),
                answer_start=start,
                answer_end=length,
            )
        )
    return samples


def compute_nats(model: Any, sample: TokenizedSample) -> float:
    """Return the nats of one answer without padding, from the model's own logits."""
    with torch.inference_mode():
        log_probabilities = model(input_ids=torch.tensor([sample.tokens])).logits[0].log_softmax(-1)
    positions = range(sample.answer_start, sample.answer_end - 1)  # without the end-of-turn token
    return -sum(
        float(log_probabilities[position - 1, sample.tokens[position]]) for position in positions
    )


@pytest.mark.parametrize("concurrency", [1, 2, 3])
def test_parallel_batches_give_the_same_likelihoods_as_single_answers(
    model: Any, concurrency: int
) -> None:
    samples = make_samples(40)
    assert sum(len(sample.tokens) for sample in samples) > 2 * TOKENS_PER_BATCH
    counts: list[int] = []

    result = answer_likelihood(model, samples, advance=counts.append, max_concurrent=concurrency)

    assert result.negative_log_likelihoods == pytest.approx(
        [compute_nats(model, sample) for sample in samples], rel=1e-4
    )
    assert result.token_counts == tuple(
        sample.answer_end - sample.answer_start - 1 for sample in samples
    )
    assert sum(counts) == len(samples)
    assert len(counts) > 3


def test_an_error_in_a_batch_is_raised(model: Any) -> None:
    unknown_token = TokenizedSample("s", "d", (1, 2, VOCABULARY), answer_start=1, answer_end=3)

    with pytest.raises(IndexError):
        answer_likelihood(model, [*make_samples(5), unknown_token], max_concurrent=2)


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 2), (8, 2)])
def test_two_cores_read_two_batches_in_parallel(
    cores: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpus = set(range(cores))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: cpus, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert choose_batch_concurrency() == expected


def test_batches_share_the_cores_temporarily() -> None:
    thread_count = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with share_cores(2) as limit_threads, ThreadPoolExecutor(2) as pool:

            def count_threads(_number: int) -> int:
                limit_threads()
                return torch.get_num_threads()

            assert list(pool.map(count_threads, range(4))) == [2, 2, 2, 2]
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(thread_count)
