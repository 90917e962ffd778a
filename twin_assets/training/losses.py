"""What one training step minimises: the answers' tokens, or a preference against a reference.

Belongs here: log-probabilities of answers, the two losses and what is reported beside them.
Does not belong here: the output layer (`chunked_cross_entropy.py`), optimizer, ranks and steps
(`train.py`), tokens (`samples.py`).
Method: direct preference optimization, Rafailov et al. 2023, https://arxiv.org/abs/2305.18290,
equation 7, without label smoothing; with a likelihood term on the chosen answer, Pang et al. 2024,
https://arxiv.org/abs/2404.19733, equation 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from twin_assets.checkpoints.batches import Plannable, padded
from twin_assets.checkpoints.samples import TokenizedPair, TokenizedSample
from twin_assets.training.chunked_cross_entropy import NO_LOSS, token_losses
from twin_assets.training.varlen_attention import BY_BOUNDARIES, boundaries, on_device

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator


class Objective(Protocol):
    """A loss over numbered samples.

    Attributes:
        names: of the values that are reported beside the loss, means over a step.
    """

    @property
    def samples(self) -> Sequence[Plannable]: ...
    @property
    def names(self) -> tuple[str, ...]: ...

    def weight(self, chosen: Sequence[int]) -> float:
        """What the sums over the samples of one step are divided by."""
        ...

    def sums(self, model: Any, batch: Sequence[int]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Summed loss of one micro-batch (with gradient), and one sum for each of `names`."""
        ...


@dataclass(frozen=True)
class Supervised:
    """Mean negative log-likelihood of an answer token; every token of a step weighs the same.

    With a `prompt_weight` it is the weighted mean over prompt and answer. The first token of all
    follows from nothing and has no loss.
    """

    samples: Sequence[TokenizedSample]
    bucket: int
    packing: bool = False
    names: tuple[str, ...] = ()
    prompt_weight: float = 0.0

    def weight(self, chosen: Sequence[int]) -> float:
        answers = sum(self.samples[index].answer_tokens for index in chosen)
        if not self.prompt_weight:
            return answers
        every = sum(self.samples[index].answer_end - 1 for index in chosen)
        return answers + self.prompt_weight * (every - answers)

    def sums(self, model: Any, batch: Sequence[int]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        samples = [self.samples[index] for index in batch]
        losses = packed_answer_losses if self.packing else answer_losses
        weighted = losses(model, samples, self.bucket, prompt_weight=self.prompt_weight)
        return weighted.sum(), []


@dataclass(frozen=True)
class Preference:
    """Mean loss of a pair; `margin` and `accuracy` are the reward's, as the paper names them.

    Attributes:
        reference: log-probabilities (chosen, rejected) of the model before the first step, by
            `sample_id`.
        beta: how far the model is held to the reference; larger holds it closer.
        rpo_alpha: weight of the chosen answer's mean negative log-likelihood a token, in nats,
            beside a pair's loss; 0: DPO alone.
    """

    samples: Sequence[TokenizedPair]
    bucket: int
    beta: float
    reference: Mapping[str, Sequence[float]]
    packing: bool = False
    names: tuple[str, ...] = ("margin", "accuracy", "reward_chosen")
    rpo_alpha: float = 0.0

    def weight(self, chosen: Sequence[int]) -> int:
        return len(chosen)

    def sums(self, model: Any, batch: Sequence[int]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        import torch

        pairs = [self.samples[index] for index in batch]
        policy = pair_log_probabilities(model, pairs, self.bucket, packing=self.packing)
        known = [self.reference[pair.sample_id] for pair in pairs]
        reference = on_device(torch.tensor(known, dtype=policy.dtype), policy.device)
        loss, rewards = preference_loss(policy, reference, beta=self.beta)
        margins = rewards[:, 0] - rewards[:, 1]
        if self.rpo_alpha:
            tokens = [pair.chosen.answer_tokens for pair in pairs]
            lengths = on_device(torch.tensor(tokens, dtype=policy.dtype), policy.device)
            loss = loss - self.rpo_alpha * policy[:, 0] / lengths
        return loss.sum(), [margins.sum(), (margins > 0).sum(), rewards[:, 0].sum()]


def preference_loss(
    policy: torch.Tensor, reference: torch.Tensor, *, beta: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """DPO's loss and the implicit rewards β·(log π − log π_ref).

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
    """Log-probability of each pair's two answers, shape (pairs, 2): chosen, rejected."""
    answers = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    if packing:
        import torch

        flat = packed_answer_losses(model, answers, bucket)
        each = flat.split([answer.answer_tokens for answer in answers])
        summed = torch.stack([losses.sum() for losses in each])
    else:
        summed = answer_losses(model, answers, bucket).sum(dim=1)
    return -summed.view(2, len(pairs)).T


def measure_reference(
    accelerator: Accelerator,
    model: Any,
    pairs: Sequence[TokenizedPair],
    bucket: int,
    before_each: Callable[[], None],
    *,
    packing: bool = False,
) -> dict[str, list[float]]:
    """Log-probabilities of the untouched start, which is the reference; ranks share the pairs.

    Args:
        model: prepared; left in training mode.
        before_each: called before each forward pass.

    Returns:
        For each pair's `sample_id` those of its chosen and its rejected answer, on every rank.
    """
    import torch

    ranks = accelerator.num_processes
    losses = torch.zeros(len(pairs), 2, device=accelerator.device)
    model.eval()
    with torch.no_grad():
        # every rank takes part as often, because ZeRO-3 gathers weights in each forward pass
        for turn in range(-(-len(pairs) // ranks)):
            before_each()
            index = turn * ranks + accelerator.process_index
            pair = pairs[index % len(pairs)]
            measured = pair_log_probabilities(model, [pair], bucket, packing=packing)
            if index < len(pairs):
                losses[index] = measured[0]
    model.train()
    reduced: Any = accelerator.reduce(losses, reduction="sum")
    return {pair.sample_id: values for pair, values in zip(pairs, reduced.tolist(), strict=True)}


def answer_losses(
    model: Any, batch: Sequence[TokenizedSample], bucket: int, *, prompt_weight: float = 0.0
) -> torch.Tensor:
    """Negative log-likelihood of each answer token, 0 elsewhere; shape (batch, answer positions).

    With a `prompt_weight` the positions are all but the first, and a prompt's token has its
    negative log-likelihood times that. Padding stands on the right, where a causal model never
    looks at it, so no attention mask is needed. Logits are computed from the first answer on (with
    a `prompt_weight`, of all): the vocabulary is a fifth of the model.
    """
    import torch

    width = padded(max(len(sample.tokens) for sample in batch), bucket)
    tokens = torch.zeros(len(batch), width, dtype=torch.long)
    labels = torch.full((len(batch), width), NO_LOSS, dtype=torch.long)
    for row, sample in enumerate(batch):
        tokens[row, : len(sample.tokens)] = torch.tensor(sample.tokens)
        for start, end in _learnt(sample, prompt_weight):
            labels[row, start:end] = torch.tensor(sample.tokens[start:end])
    first = 1 if prompt_weight else min(sample.answer_start for sample in batch)
    last = max(sample.answer_end for sample in batch)
    predicting = torch.arange(first - 1, last - 1)
    device = next(model.parameters()).device
    losses = token_losses(
        model,
        on_device(labels[:, first:last].contiguous(), device),
        input_ids=on_device(tokens, device),
        use_cache=False,
        logits_to_keep=on_device(predicting, device),
    )
    if not prompt_weight:
        return losses
    return losses * on_device(_weights(batch, first, last, prompt_weight), device)


def _learnt(sample: TokenizedSample, prompt_weight: float) -> Sequence[tuple[int, int]]:
    """Start and end of each run of tokens that has a loss."""
    return [(1, sample.answer_end)] if prompt_weight else sample.spans


def _weights(
    batch: Sequence[TokenizedSample], first: int, last: int, prompt_weight: float
) -> torch.Tensor:
    """Of the tokens `first` to `last`, shape (batch, last − first): a prompt's, and 1."""
    import torch

    weights = torch.ones(len(batch), last - first)
    for row, sample in enumerate(batch):
        told = first
        for start, end in sample.spans:
            weights[row, told - first : start - first] = prompt_weight
            told = end
    return weights


def packed_answer_losses(
    model: Any, batch: Sequence[TokenizedSample], bucket: int, *, prompt_weight: float = 0.0
) -> torch.Tensor:
    """Negative log-likelihood of each answer token of samples that share one row, shape (tokens,).

    With a `prompt_weight` also of each prompt token but the first, times that. Positions begin
    again with each sample. From that transformers makes the attention of each sample its own: a
    block-diagonal mask for SDPA; it does so without a mask and without a cache alone. An attention
    that takes the samples' boundaries is handed them. Padding at the end is a sample of its own.
    Source: `find_packed_sequence_indices` in
    https://github.com/huggingface/transformers/blob/main/src/transformers/masking_utils.py.
    """
    import torch

    length = sum(len(sample.tokens) for sample in batch)
    width = padded(length, bucket)
    tokens = torch.zeros(width, dtype=torch.long)
    positions = torch.zeros(width, dtype=torch.long)
    predicting: list[torch.Tensor] = []
    weights: list[torch.Tensor] = []
    at = 0
    for sample in batch:
        row = slice(at, at + len(sample.tokens))
        tokens[row] = torch.tensor(sample.tokens)
        positions[row] = torch.arange(len(sample.tokens))
        for start, end in _learnt(sample, prompt_weight):
            predicting.append(torch.arange(at + start - 1, at + end - 1))
        if prompt_weight:
            weights.append(_weights([sample], 1, sample.answer_end, prompt_weight)[0])
        at = row.stop
    positions[length:] = torch.arange(width - length)
    places = torch.cat(predicting)
    device = next(model.parameters()).device
    lengths = [len(sample.tokens) for sample in batch] + [width - length] * (width > length)
    losses = token_losses(
        model,
        on_device(tokens[None, places + 1], device),
        input_ids=on_device(tokens[None], device),
        position_ids=on_device(positions[None], device),
        use_cache=False,
        logits_to_keep=on_device(places, device),
        **(boundaries(lengths, device) if _attention(model) in BY_BOUNDARIES else {}),
    )[0]
    return losses * on_device(torch.cat(weights), device) if weights else losses


def _attention(model: Any) -> str:
    """Its attention by transformers' name, empty for a module that is none of transformers'.

    DDP and DeepSpeed have the model in themselves.
    """
    config = getattr(getattr(model, "module", model), "config", None)
    return getattr(config, "_attn_implementation", "")
