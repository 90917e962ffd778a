"""Plan which samples are trained on, in which order and by which rank.

Scope: the plan of a whole training, made before its first step from lengths alone, so that a
resumed training continues the same plan. Out of scope: tokens and tensors (`train.py`).
"""
# pyright: strict

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


class Plannable(Protocol):
    """The fields of a sample or a pair that a plan uses; `length` is in tokens."""

    @property
    def sample_id(self) -> str: ...
    @property
    def document_id(self) -> str: ...
    @property
    def length(self) -> int: ...


NEIGHBOURS = 6  # number of consecutive steps that exchange samples
GENERAL = "general"  # document_id of a general instruction set's samples (`general_set.GENERAL`)


@dataclass(frozen=True)
class BatchPlan:
    """All steps of a training.

    Attributes:
        steps: for each step the indices of its samples, longest first.
        tokens: tokens processed by the model over all steps, without padding.
        epochs: tokens as a share of one pass over the samples in the plan, without raw posts.
        raw_steps, raw_tokens: the steps and tokens that are on raw posts.
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
    """Fill the budget with whole steps.

    The order covers the author's documents evenly: each document gives one sample before any gives
    its second. A general set does not count as a document: its samples are spread evenly among the
    author's, so that any part of an epoch has the dataset's share of them. The order, and therefore
    the weights, depend on the samples' ids and the seed alone.

    Args:
        token_budget: tokens; at least one step is planned, and the last one may exceed the budget
            by up to half a step.

    Raises:
        ValueError: there are fewer samples than one step takes.
    """
    if len(samples) < samples_per_step:
        raise ValueError(f"{len(samples)} samples do not fill one step of {samples_per_step}")
    epoch_tokens = sum(sample.length for sample in samples)
    order = _order(samples, max_epochs=max_epochs, seed=seed)
    steps: list[tuple[int, ...]] = []
    tokens = 0
    for group in _groups(order, samples_per_step):
        size = sum(samples[index].length for index in group)
        if steps and tokens + size / 2 > token_budget:
            break
        steps.append(tuple(group))
        tokens += size
    levelled = _levelled(steps, samples, seed=seed)
    return BatchPlan(steps=tuple(levelled), tokens=tokens, epochs=tokens / epoch_tokens)


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
    """Plan raw posts and samples in one run, evenly mixed; each step has only one of the two kinds.

    Posts are divided: `raw_share` of them are read in full and questions are asked about the
    others, so that no sentence is learned in both ways (one that was, with a number that occurs
    once in a post, was exposed by 10.7 bits). Blocks take `raw_share` of the budget, or as much as
    `max_epochs` over the chosen ones need; the samples take the rest. A step has as many blocks as
    samples, because the ranks share both and DeepSpeed fixes the micro-batches per step once per
    training. If there are too few posts to fill a step of each kind, all are asked about and none
    is read.

    Args:
        blocks: blocks of raw posts; their indices in a step follow those of the samples.

    Raises:
        ValueError: there are fewer samples than one step takes.
    """
    terms = {"max_epochs": max_epochs, "samples_per_step": samples_per_step, "seed": seed}
    to_read = _read_as_they_are(samples, blocks, raw_share=raw_share, seed=seed)
    asked = [at for at, one in enumerate(samples) if one.document_id not in to_read]
    read = [at for at, one in enumerate(blocks) if one.document_id in to_read]
    if min(len(asked), len(read)) < samples_per_step:
        return plan_training(samples, token_budget=token_budget, **terms)
    raw = plan_training(
        [blocks[at] for at in read], token_budget=round(raw_share * token_budget), **terms
    )
    rest = plan_training(
        [samples[at] for at in asked], token_budget=token_budget - raw.tokens, **terms
    )
    on_posts = [tuple(len(samples) + read[index] for index in step) for step in raw.steps]
    on_samples = [tuple(asked[index] for index in step) for step in rest.steps]
    steps = [*on_posts, *on_samples]
    places = range(len(steps))
    order = _spread(places[len(on_posts) :], places[: len(on_posts)])
    return BatchPlan(
        steps=tuple(steps[place] for place in order),
        tokens=raw.tokens + rest.tokens,
        epochs=rest.epochs,
        raw_steps=len(raw.steps),
        raw_tokens=raw.tokens,
    )


def _read_as_they_are(
    samples: Sequence[Plannable], blocks: Sequence[Plannable], *, raw_share: float, seed: int
) -> frozenset[str]:
    """Return the randomly chosen documents of the raw stage, among those that have a block.

    The result has at least one document, and not all documents if there are several.
    """
    readable = {block.document_id for block in blocks}
    documents = readable.union(sample.document_id for sample in samples) - {GENERAL}
    lots = sorted(readable, key=lambda name: _lot(seed, 0, f"raw/{name}"))
    return frozenset(lots[: max(1, min(round(raw_share * len(documents)), len(documents) - 1))])


def micro_batches(
    step: Sequence[int], *, rank: int, ranks: int, micro_batch_size: int
) -> tuple[tuple[int, ...], ...]:
    """Return the batches of one rank in one step.

    Samples of similar length are dealt to different ranks at the same time, because ranks wait for
    each other after every micro-batch.

    Args:
        step: sample indices, longest first; their number is a multiple of
            ranks × micro_batch_size.
    """
    at_once = ranks * micro_batch_size
    return tuple(
        tuple(step[start + rank : start + at_once : ranks])
        for start in range(0, len(step), at_once)
    )


def _levelled(
    steps: Sequence[tuple[int, ...]], samples: Sequence[Plannable], *, seed: int
) -> Iterator[tuple[int, ...]]:
    """Yield the same samples in steps of similar lengths, longest first in each.

    After every micro-batch, ranks wait for the longest sample: with the steps as drawn, they were
    idle for a third of the time. Only neighbouring steps exchange samples, so that documents stay
    evenly spread over a training.
    """
    for start in range(0, len(steps), NEIGHBOURS):
        drawn = steps[start : start + NEIGHBOURS]
        ordered = sorted(
            (index for step in drawn for index in step),
            key=lambda index: (-samples[index].length, index),
        )
        size = len(drawn[0])
        alike = [tuple(ordered[at : at + size]) for at in range(0, len(ordered), size)]
        yield from sorted(alike, key=lambda step: _lot(seed, start, samples[step[0]].sample_id))


def padded(length: int, bucket: int) -> int:
    """Round up to a multiple of `bucket`: kernels are prepared once for each distinct length."""
    return -(-length // bucket) * bucket


def _order(samples: Sequence[Plannable], *, max_epochs: int, seed: int) -> Iterator[int]:
    for epoch in range(max_epochs):
        lots = [_lot(seed, epoch, sample.sample_id) for sample in samples]
        of_document: dict[str, list[int]] = defaultdict(list)
        for index in sorted(range(len(samples)), key=lambda index: lots[index]):
            of_document[samples[index].document_id].append(index)
        turn = {
            index: position
            for indices in of_document.values()
            for position, index in enumerate(indices)
        }
        general = of_document.get(GENERAL, [])
        own = sorted(turn.keys() - general, key=lambda index: (turn[index], lots[index]))
        yield from _spread(own, general)


def _spread(own: Sequence[int], general: Sequence[int]) -> Iterator[int]:
    """Merge both sequences, each in its own order and evenly over the whole."""
    places = [
        ((place + 0.5) / len(side), turn, index)
        for turn, side in enumerate((own, general))
        for place, index in enumerate(side)
    ]
    return (index for *_, index in sorted(places))


def _lot(seed: int, epoch: int, sample_id: str) -> bytes:
    return hashlib.sha256(f"{seed}/{epoch}/{sample_id}".encode()).digest()


def _groups(order: Iterator[int], size: int) -> Iterator[list[int]]:
    """Yield full groups; an incomplete last one is left out."""
    group: list[int] = []
    for index in order:
        group.append(index)
        if len(group) == size:
            yield group
            group = []
