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
from twin_assets.evaluation.likelihood.shared_cores import choose_reader_count, share_cores

VOCABULARY = 97


@pytest.fixture(scope="module")
def make_model() -> Any:
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
    chance = random.Random(5)
    found: list[TokenizedSample] = []
    for number in range(count):
        length = chance.randint(20, 500)
        start = chance.randint(1, length - 3)
        found.append(
            TokenizedSample(
                sample_id=f"s{number}",
                document_id=f"d{number}",
                tokens=tuple(chance.randrange(VOCABULARY) for _ in range(length)),
                answer_start=start,
                answer_end=length,
            )
        )
    return found


def compute_alone(make_model: Any, sample: TokenizedSample) -> float:
    """Return an answer's nats, unpadded and from the model's own logits."""
    with torch.inference_mode():
        said = make_model(input_ids=torch.tensor([sample.tokens])).logits[0].log_softmax(-1)
    counted = range(sample.answer_start, sample.answer_end - 1)  # the end of the turn is left out
    return -sum(float(said[at - 1, sample.tokens[at]]) for at in counted)


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_parallel_batches_equal_single_answers(make_model: Any, at_once: int) -> None:
    read = make_samples(40)
    assert sum(len(one.tokens) for one in read) > 2 * TOKENS_PER_BATCH
    counted: list[int] = []

    found = answer_likelihood(make_model, read, advance=counted.append, max_concurrent=at_once)

    assert found.negative_log_likelihoods == pytest.approx(
        [compute_alone(make_model, one) for one in read], rel=1e-4
    )
    assert found.tokens == tuple(one.answer_end - one.answer_start - 1 for one in read)
    assert sum(counted) == len(read)
    assert len(counted) > 3


def test_an_error_in_a_batch_is_raised(make_model: Any) -> None:
    beyond = TokenizedSample("s", "d", (1, 2, VOCABULARY), answer_start=1, answer_end=3)

    with pytest.raises(IndexError):
        answer_likelihood(make_model, [*make_samples(5), beyond], max_concurrent=2)


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 2), (8, 2)])
def test_two_cores_read_two_batches_in_parallel(
    cores: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpus = set(range(cores))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: cpus, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert choose_reader_count() == expected


def test_readers_share_the_cores_temporarily() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with share_cores(2) as take_share, ThreadPoolExecutor(2) as pool:

            def read(_number: int) -> int:
                take_share()
                return torch.get_num_threads()

            assert list(pool.map(read, range(4))) == [2, 2, 2, 2]
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
