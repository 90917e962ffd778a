"""Plan which samples each training step uses, in which order and on which ranks.

Scope: the plan of a whole run. It depends only on ids, lengths and the seed and is complete before
the first step, so a resumed run continues the same plan. Out of scope: tokens and tensors
(`train.py`).
"""
# pyright: strict

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


class Plannable(Protocol):
    """The fields of a sample or a pair that planning uses; `length` is in tokens."""

    @property
    def sample_id(self) -> str: ...
    @property
    def document_id(self) -> str: ...
    @property
    def length(self) -> int: ...


LENGTH_GROUPING_STEPS = 6  # number of consecutive steps that exchange samples


@dataclass(frozen=True)
class BatchPlan:
    """All steps of a training run.

    Attributes:
        steps: for each step, the indices of its samples, longest first.
        tokens: tokens that the model processes over all steps, without padding.
        epochs: tokens as a share of one pass over the samples in the plan, without raw posts.
        raw_steps, raw_tokens: the steps and tokens spent on raw posts.
    """

    steps: tuple[tuple[int, ...], ...]
    tokens: int
    epochs: float
    raw_steps: int = 0
    raw_tokens: int = 0


def plan_training(
    samples: Sequence[Plannable],
    *,
    token_budget: int,
    max_epochs: int,
    samples_per_step: int,
    seed: int,
) -> BatchPlan:
    """Fill the token budget with whole steps.

    The order covers the author's documents evenly: each document contributes one sample before any
    contributes a second. The order, and therefore the weights, depends only on the samples' ids and
    the seed.

    Args:
        token_budget: number of tokens. The plan has at least one step; the last one may exceed the
            budget by up to half a step.

    Raises:
        ValueError: the samples do not fill one step.
    """
    if len(samples) < samples_per_step:
        raise ValueError(f"{len(samples)} samples do not fill one step of {samples_per_step}")
    epoch_tokens = sum(sample.length for sample in samples)
    order = _order_samples(samples, max_epochs=max_epochs, seed=seed)
    steps: list[tuple[int, ...]] = []
    tokens = 0
    for group in _iter_full_groups(order, samples_per_step):
        group_tokens = sum(samples[index].length for index in group)
        if steps and tokens + group_tokens / 2 > token_budget:
            break
        steps.append(tuple(group))
        tokens += group_tokens
    grouped_steps = _group_by_length(steps, samples, seed=seed)
    return BatchPlan(steps=tuple(grouped_steps), tokens=tokens, epochs=tokens / epoch_tokens)


def plan_stages(
    samples: Sequence[Plannable],
    blocks: Sequence[Plannable],
    *,
    raw_share: float,
    token_budget: int,
    max_epochs: int,
    samples_per_step: int,
    seed: int,
) -> BatchPlan:
    """Plan steps of raw posts and steps of samples in one run, evenly mixed.

    Training uses the full text of a `raw_share` of the posts, and samples from the others, so no
    sentence is in both. In a test that used posts for both, the model memorized a number that
    occurred once in a post (exposure 10.7 bits). Blocks take `raw_share` of the budget, or less if
    `max_epochs` over the chosen blocks needs less; the samples take the remainder. Steps of both
    kinds have the same size, because DeepSpeed fixes the number of micro-batches per step for the
    whole run. If the posts cannot fill a step of each kind, none is used in full.

    Args:
        blocks: blocks of raw posts; their indices in a step follow those of the samples.

    Raises:
        ValueError: the samples do not fill one step.
    """
    plan_options = {"max_epochs": max_epochs, "samples_per_step": samples_per_step, "seed": seed}
    raw_document_ids = _choose_raw_documents(samples, blocks, raw_share=raw_share, seed=seed)
    sample_indices = [
        index for index, sample in enumerate(samples) if sample.document_id not in raw_document_ids
    ]
    block_indices = [
        index for index, block in enumerate(blocks) if block.document_id in raw_document_ids
    ]
    if min(len(sample_indices), len(block_indices)) < samples_per_step:
        return plan_training(samples, token_budget=token_budget, **plan_options)
    raw_plan = plan_training(
        [blocks[index] for index in block_indices],
        token_budget=round(raw_share * token_budget),
        **plan_options,
    )
    sample_plan = plan_training(
        [samples[index] for index in sample_indices],
        token_budget=token_budget - raw_plan.tokens,
        **plan_options,
    )
    post_steps = [
        tuple(len(samples) + block_indices[index] for index in step) for step in raw_plan.steps
    ]
    sample_steps = [tuple(sample_indices[index] for index in step) for step in sample_plan.steps]
    steps = [*post_steps, *sample_steps]
    positions = range(len(steps))
    order = _interleave_evenly(positions[len(post_steps) :], positions[: len(post_steps)])
    return BatchPlan(
        steps=tuple(steps[position] for position in order),
        tokens=raw_plan.tokens + sample_plan.tokens,
        epochs=sample_plan.epochs,
        raw_steps=len(raw_plan.steps),
        raw_tokens=raw_plan.tokens,
    )


def _choose_raw_documents(
    samples: Sequence[Plannable], blocks: Sequence[Plannable], *, raw_share: float, seed: int
) -> frozenset[str]:
    """Randomly choose the documents to use in full, among those that have a block.

    At least one document is chosen; if there are several, at least one is not.
    """
    block_documents = {block.document_id for block in blocks}
    documents = block_documents.union(sample.document_id for sample in samples)
    candidates = sorted(block_documents, key=lambda name: _shuffle_key(seed, 0, f"raw/{name}"))
    return frozenset(
        candidates[: max(1, min(round(raw_share * len(documents)), len(documents) - 1))]
    )


def micro_batches(
    step: Sequence[int], *, rank: int, ranks: int, micro_batch_size: int
) -> tuple[tuple[int, ...], ...]:
    """Return the micro-batches of one rank in one step.

    Ranks wait for each other after every micro-batch, so their simultaneous micro-batches have
    samples of similar length.

    Args:
        step: sample indices, longest first; their number is a multiple of
            ranks × micro_batch_size.
    """
    global_micro_batch_size = ranks * micro_batch_size
    return tuple(
        tuple(step[start + rank : start + global_micro_batch_size : ranks])
        for start in range(0, len(step), global_micro_batch_size)
    )


def _group_by_length(
    steps: Sequence[tuple[int, ...]], samples: Sequence[Plannable], *, seed: int
) -> Iterator[tuple[int, ...]]:
    """Yield the same samples in steps of similar lengths, each ordered longest first.

    Ranks wait for the longest sample of every micro-batch. Without grouping, they were idle for a
    third of the time. Only neighboring steps exchange samples, so that documents remain evenly
    spread over a run.
    """
    for start in range(0, len(steps), LENGTH_GROUPING_STEPS):
        window = steps[start : start + LENGTH_GROUPING_STEPS]
        indices = sorted(
            (index for step in window for index in step),
            key=lambda index: (-samples[index].length, index),
        )
        size = len(window[0])
        groups = [tuple(indices[i : i + size]) for i in range(0, len(indices), size)]
        yield from sorted(
            groups, key=lambda step: _shuffle_key(seed, start, samples[step[0]].sample_id)
        )


def padded_length(length: int, bucket: int) -> int:
    """Round up to a multiple of `bucket`, because kernels are prepared once per distinct length."""
    return -(-length // bucket) * bucket


def _order_samples(samples: Sequence[Plannable], *, max_epochs: int, seed: int) -> Iterator[int]:
    for epoch in range(max_epochs):
        shuffle_keys = [_shuffle_key(seed, epoch, sample.sample_id) for sample in samples]
        indices_by_document: dict[str, list[int]] = defaultdict(list)
        for index in sorted(range(len(samples)), key=lambda index: shuffle_keys[index]):
            indices_by_document[samples[index].document_id].append(index)
        position_in_document = {
            index: position
            for indices in indices_by_document.values()
            for position, index in enumerate(indices)
        }
        yield from sorted(
            position_in_document,
            key=lambda index: (position_in_document[index], shuffle_keys[index]),
        )


def _interleave_evenly(first: Sequence[int], second: Sequence[int]) -> Iterator[int]:
    """Merge both sequences evenly, keeping the order of each."""
    positions = [
        ((position + 0.5) / len(indices), sequence_number, index)
        for sequence_number, indices in enumerate((first, second))
        for position, index in enumerate(indices)
    ]
    return (index for *_, index in sorted(positions))


def _shuffle_key(seed: int, epoch: int, sample_id: str) -> bytes:
    return hashlib.sha256(f"{seed}/{epoch}/{sample_id}".encode()).digest()


def _iter_full_groups(order: Iterator[int], size: int) -> Iterator[list[int]]:
    """Yield full groups and drop an incomplete last one."""
    group: list[int] = []
    for index in order:
        group.append(index)
        if len(group) == size:
            yield group
            group = []
