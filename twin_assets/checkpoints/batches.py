"""Which samples are trained on, in which order, by which rank.

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
    """What a plan knows of a sample or a pair; `length`: tokens that pass the model."""

    @property
    def sample_id(self) -> str: ...
    @property
    def document_id(self) -> str: ...
    @property
    def length(self) -> int: ...


NEIGHBOURS = 6  # steps whose samples are exchanged
GENERAL = "general"  # document of a general instruction set's samples (`general_set.GENERAL`)


@dataclass(frozen=True)
class BatchPlan:
    """Every step of a training.

    Attributes:
        steps: for each step the indices of its samples, longest first.
        tokens: what passes the model over all steps, padding left out.
        epochs: that, as a share of one pass over all samples of the posts that are asked about;
            without the raw posts.
        raw_steps, raw_tokens: of them on raw posts.
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
    its second. A general set is no such document: its samples stand evenly between the author's, so
    that their share is the dataset's in whatever part of an epoch the budget pays for. Order and
    therefore weights follow from the samples' ids and the seed alone.

    Args:
        token_budget: tokens; at least one step is planned, the last one may reach past it by less
            than half a step.

    Raises:
        ValueError: fewer samples than one step takes.
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
    """`plan_training` of raw posts and of samples, in one run, evenly mixed; a step has either.

    Posts are dealt: `raw_share` of them are read as they are and the others asked about, so that
    no sentence is learnt from two sides (one that was, with a number that stands once in a post,
    was exposed by 10.7 bits). Blocks take `raw_share` of the budget, or as much as `max_epochs` of
    the dealt ones are; the samples have the rest. A step takes as many blocks as samples: the ranks
    share either, and DeepSpeed counts the micro-batches of a step once for a training. Where few
    posts fill no step of one stage or the other, all of them are asked about and none is read.

    Args:
        blocks: of raw posts; their indices in a step come behind those of the samples.

    Raises:
        ValueError: fewer samples than one step takes.
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
    """The documents that the raw stage has, by lot among those that have a block; one at least,
    and not all that there are."""
    readable = {block.document_id for block in blocks}
    documents = readable.union(sample.document_id for sample in samples) - {GENERAL}
    lots = sorted(readable, key=lambda name: _lot(seed, 0, f"raw/{name}"))
    return frozenset(lots[: max(1, min(round(raw_share * len(documents)), len(documents) - 1))])


def micro_batches(
    step: Sequence[int], *, rank: int, ranks: int, micro_batch_size: int
) -> tuple[tuple[int, ...], ...]:
    """The batches of one rank in one step.

    Neighbours in length are dealt to different ranks at the same time, because ranks wait for each
    other after every micro-batch.

    Args:
        step: sample indices, longest first; a multiple of ranks × micro_batch_size.
    """
    at_once = ranks * micro_batch_size
    return tuple(
        tuple(step[start + rank : start + at_once : ranks])
        for start in range(0, len(step), at_once)
    )


def _levelled(
    steps: Sequence[tuple[int, ...]], samples: Sequence[Plannable], *, seed: int
) -> Iterator[tuple[int, ...]]:
    """The same samples in steps of like lengths, longest first in each.

    Ranks wait for the longer of two samples after every micro-batch: with steps as they are drawn
    they were idle for a third of the time. Only neighbours are exchanged, so that documents stay
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
    """The next multiple of `bucket`: few lengths, so that kernels are prepared once for each."""
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
    """Both in their order, each evenly over the whole."""
    places = [
        ((place + 0.5) / len(side), turn, index)
        for turn, side in enumerate((own, general))
        for place, index in enumerate(side)
    ]
    return (index for *_, index in sorted(places))


def _lot(seed: int, epoch: int, sample_id: str) -> bytes:
    return hashlib.sha256(f"{seed}/{epoch}/{sample_id}".encode()).digest()


def _groups(order: Iterator[int], size: int) -> Iterator[list[int]]:
    """Whole groups; a rest that does not fill one is left out."""
    group: list[int] = []
    for index in order:
        group.append(index)
        if len(group) == size:
            yield group
            group = []
