"""Compute the loss of a training step: supervised, or DPO with a reference model.

Scope: log-probabilities of answers, the two losses and the values reported with them.
Out of scope: the output layer (`chunked_cross_entropy.py`), optimizer, ranks and steps
(`train.py`), tokens (`samples.py`).
Method: direct preference optimization, Rafailov et al. 2023, https://arxiv.org/abs/2305.18290,
equation 7, without label smoothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from twin_assets.checkpoints.batches import Plannable, padded_length
from twin_assets.checkpoints.samples import TokenizedPair, TokenizedSample
from twin_assets.training.chunked_cross_entropy import IGNORE_INDEX, token_losses

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator


class Objective(Protocol):
    """A loss over samples, which are selected by index.

    Attributes:
        metric_names: names of the values reported with the loss; each value is a mean over a step.
    """

    @property
    def samples(self) -> Sequence[Plannable]: ...
    @property
    def metric_names(self) -> tuple[str, ...]: ...

    def normalizer(self, sample_indices: Sequence[int]) -> float:
        """Return the divisor for the sums over the samples of one step."""
        ...

    def batch_sums(
        self, model: Any, batch: Sequence[int]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return a micro-batch's summed loss with gradient, and the sum for each metric name."""
        ...


@dataclass(frozen=True)
class SupervisedObjective:
    """Mean negative log-likelihood per answer token; all tokens of a step have equal weight."""

    samples: Sequence[TokenizedSample]
    bucket: int
    packing: bool = False
    metric_names: tuple[str, ...] = ()

    def normalizer(self, sample_indices: Sequence[int]) -> int:
        return sum(self.samples[index].answer_tokens for index in sample_indices)

    def batch_sums(
        self, model: Any, batch: Sequence[int]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        samples = [self.samples[index] for index in batch]
        losses = packed_answer_losses if self.packing else answer_losses
        return losses(model, samples, self.bucket).sum(), []


@dataclass(frozen=True)
class PreferenceObjective:
    """Mean loss per pair; `margin` and `accuracy` are the paper's reward margin and accuracy.

    Attributes:
        reference: log-probabilities (chosen, rejected) of the model before the first step, by
            `sample_id`.
        beta: strength of the penalty for deviating from the reference.
    """

    samples: Sequence[TokenizedPair]
    bucket: int
    beta: float
    reference: Mapping[str, Sequence[float]]
    packing: bool = False
    metric_names: tuple[str, ...] = ("margin", "accuracy", "reward_chosen")

    def normalizer(self, sample_indices: Sequence[int]) -> int:
        return len(sample_indices)

    def batch_sums(
        self, model: Any, batch: Sequence[int]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        import torch

        pairs = [self.samples[index] for index in batch]
        policy = pair_log_probabilities(model, pairs, self.bucket, packing=self.packing)
        reference_rows = [self.reference[pair.sample_id] for pair in pairs]
        reference = move_to_device(torch.tensor(reference_rows, dtype=policy.dtype), policy.device)
        loss, rewards = preference_loss(policy, reference, beta=self.beta)
        margins = rewards[:, 0] - rewards[:, 1]
        return loss.sum(), [margins.sum(), (margins > 0).sum(), rewards[:, 0].sum()]


def preference_loss(
    policy: torch.Tensor, reference: torch.Tensor, *, beta: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the DPO loss and the implicit rewards β·(log π − log π_ref).

    Args:
        policy, reference: log-probabilities of whole answers, shape (pairs, 2): chosen, rejected.

    Returns:
        Loss of each pair, shape (pairs,); rewards, shape (pairs, 2), without gradient.
    """
    from torch.nn import functional

    rewards = beta * (policy - reference)
    return -functional.logsigmoid(rewards[:, 0] - rewards[:, 1]), rewards.detach()


def pair_log_probabilities(
    model: Any, pairs: Sequence[TokenizedPair], bucket: int, *, packing: bool = False
) -> torch.Tensor:
    """Return the log-probabilities of each pair's answers, shape (pairs, 2): chosen, rejected."""
    answers = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    if packing:
        import torch

        packed_losses = packed_answer_losses(model, answers, bucket)
        split_losses = packed_losses.split([answer.answer_tokens for answer in answers])
        answer_sums = torch.stack([losses.sum() for losses in split_losses])
    else:
        answer_sums = answer_losses(model, answers, bucket).sum(dim=1)
    return -answer_sums.view(2, len(pairs)).T


def measure_reference(
    accelerator: Accelerator,
    model: Any,
    pairs: Sequence[TokenizedPair],
    bucket: int,
    before_forward: Callable[[], None],
    *,
    packing: bool = False,
) -> dict[str, list[float]]:
    """Measure the log-probabilities of the reference, which is the initial model.

    The pairs are divided among the ranks.

    Args:
        model: the prepared model; it is in training mode afterwards.
        before_forward: function called before each forward pass.

    Returns:
        The log-probabilities of the chosen and the rejected answer by `sample_id`, on every rank.
    """
    import torch

    ranks = accelerator.num_processes
    losses = torch.zeros(len(pairs), 2, device=accelerator.device)
    model.eval()
    with torch.no_grad():
        # every rank runs the same number of passes, because ZeRO-3 gathers weights in each pass
        for pass_index in range(-(-len(pairs) // ranks)):
            before_forward()
            index = pass_index * ranks + accelerator.process_index
            pair = pairs[index % len(pairs)]
            log_probabilities = pair_log_probabilities(model, [pair], bucket, packing=packing)
            if index < len(pairs):
                losses[index] = log_probabilities[0]
    model.train()
    summed_losses: Any = accelerator.reduce(losses, reduction="sum")
    return {
        pair.sample_id: values for pair, values in zip(pairs, summed_losses.tolist(), strict=True)
    }


def answer_losses(model: Any, batch: Sequence[TokenizedSample], bucket: int) -> torch.Tensor:
    """Return the negative log-likelihood per answer token, shape (batch, answer positions).

    Other positions are 0.

    Padding is on the right, where a causal model never attends to it, so no attention mask is
    needed. Logits are computed only from the start of the first answer, because the output layer is
    a fifth of the model.
    """
    import torch

    width = padded_length(max(len(sample.tokens) for sample in batch), bucket)
    tokens = torch.zeros(len(batch), width, dtype=torch.long)
    labels = torch.full((len(batch), width), IGNORE_INDEX, dtype=torch.long)
    for row, sample in enumerate(batch):
        tokens[row, : len(sample.tokens)] = torch.tensor(sample.tokens)
        answer = slice(sample.answer_start, sample.answer_end)
        labels[row, answer] = torch.tensor(sample.tokens[answer])
    first = min(sample.answer_start for sample in batch)
    last = max(sample.answer_end for sample in batch)
    predicting_positions = torch.arange(first - 1, last - 1)
    device = next(model.parameters()).device
    return token_losses(
        model,
        move_to_device(labels[:, first:last].contiguous(), device),
        input_ids=move_to_device(tokens, device),
        use_cache=False,
        logits_to_keep=move_to_device(predicting_positions, device),
    )


def packed_answer_losses(model: Any, batch: Sequence[TokenizedSample], bucket: int) -> torch.Tensor:
    """Return the negative log-likelihood of each answer token in a packed row, shape (tokens,).

    Positions restart with each sample. transformers derives a separate attention for each sample
    from them: a block-diagonal mask for SDPA, boundaries for flash attention. It does so only
    without a mask and without a cache. Padding at the end counts as a separate sample.
    Source: `find_packed_sequence_indices` in
    https://github.com/huggingface/transformers/blob/main/src/transformers/masking_utils.py.
    """
    import torch

    length = sum(len(sample.tokens) for sample in batch)
    width = padded_length(length, bucket)
    tokens = torch.zeros(width, dtype=torch.long)
    positions = torch.zeros(width, dtype=torch.long)
    predicting_positions: list[torch.Tensor] = []
    offset = 0
    for sample in batch:
        row = slice(offset, offset + len(sample.tokens))
        tokens[row] = torch.tensor(sample.tokens)
        positions[row] = torch.arange(len(sample.tokens))
        predicting_positions.append(
            torch.arange(offset + sample.answer_start - 1, offset + sample.answer_end - 1)
        )
        offset = row.stop
    positions[length:] = torch.arange(width - length)
    target_positions = torch.cat(predicting_positions)
    device = next(model.parameters()).device
    return token_losses(
        model,
        move_to_device(tokens[None, target_positions + 1], device),
        input_ids=move_to_device(tokens[None], device),
        position_ids=move_to_device(positions[None], device),
        use_cache=False,
        logits_to_keep=move_to_device(target_positions, device),
    )[0]


def move_to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Move the tensor to the device; with pinned memory, a copy to a GPU does not block."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
