"""The loss on held-out samples while a training runs: a curve to look at, which decides nothing.

Belongs here: which samples, after which steps, and measuring them on all ranks.
Does not belong here: the gate's measure of held-out passages (`evaluation/likelihood`), stopping.

The training's own loss is of other samples at each step and falls also when a model learns by
heart; the same held-out samples at each point show what it is worth. They are measured with the
weights of that moment and never trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twin_assets.checkpoints.samples import TokenizedSample

if TYPE_CHECKING:
    from accelerate import Accelerator

POINTS = 4  # before the first step, after a third, two thirds, and the last
# Of the training's own work, forward and backward; on two cores 3 % of 13 minutes are 23 s.
SHARE_OF_WORK = 0.03
FORWARD = 1 / 3  # of a token's training
FEWEST = 1


def measured_after(steps: int) -> frozenset[int]:
    """The numbers of steps after which the curve has a point; 0 is before the first."""
    return frozenset(round(steps * place / (POINTS - 1)) for place in range(POINTS))


def watched(samples: Sequence[TokenizedSample], *, training_tokens: int) -> list[TokenizedSample]:
    """The first samples up to `SHARE_OF_WORK`; none where not even `FEWEST` fits beside it."""
    room = SHARE_OF_WORK * training_tokens / FORWARD / POINTS
    chosen: list[TokenizedSample] = []
    for sample in samples:
        room -= sample.length
        if room < 0:
            break
        chosen.append(sample)
    return chosen if len(chosen) >= FEWEST else []


def mean_loss(
    accelerator: Accelerator,
    model: Any,
    samples: Sequence[TokenizedSample],
    bucket: int,
    before_each: Callable[[], None],
) -> float:
    """Mean negative log-likelihood of an answer token, nats; ranks share the samples.

    Args:
        model: prepared; left in training mode.
        before_each: called before each forward pass.
    """
    import torch

    from twin_assets.training.losses import answer_losses

    ranks = int(accelerator.num_processes)
    total: Any = torch.zeros(1, device=accelerator.device)
    model.eval()
    with torch.no_grad():
        # every rank takes part as often, because ZeRO-3 gathers weights in each forward pass
        for turn in range(-(-len(samples) // ranks)):
            before_each()
            index = turn * ranks + int(accelerator.process_index)
            losses: Any = answer_losses(model, [samples[index % len(samples)]], bucket)
            if index < len(samples):
                total += losses.sum()
    model.train()
    reduced: Any = accelerator.reduce(total, reduction="sum")
    return float(reduced.item()) / sum(sample.answer_tokens for sample in samples)
