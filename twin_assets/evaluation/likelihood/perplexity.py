"""Compute the perplexity of the author's held-out answers under a model, and compare two models.

Scope: log-likelihoods of answers given their prompts, and the statistics of their ratio.
Out of scope: choosing the passages (`held_out.py`) and thresholds (`measures/`).

The prompt is rendered as in production, and only the author's own words count. The end-of-turn
token is left out, because a model that merely learned the usual length would benefit. Lengths are
padded to multiples of 64, because other lengths are 5 to 20 times slower in bf16 on CPUs.
Method: conditional perplexity exp(-sum log p / tokens). Two models are compared by their ratio on
the same passages; its interval resamples documents (`bootstrap.py`), because two passages of one
post are not two observations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_assets.checkpoints.batches import padded_length
from twin_assets.checkpoints.samples import TokenizedSample
from twin_assets.evaluation.likelihood.output_head import OutputHead
from twin_assets.evaluation.likelihood.shared_cores import choose_batch_concurrency, share_cores
from twin_assets.evaluation.statistics.bootstrap import (
    LEVEL,
    SEED,
    Interval,
    bootstrap_interval,
    interval_of_means,
    resample_weights,
)
from twin_resources.processes.processor import is_bf16_faster

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

PADDING_MULTIPLE = 64
TOKENS_PER_BATCH = 2048
MAX_NATS = 700.0  # per token; exp(700) is near the largest float
MAX_POSITIONS_PER_CHUNK = 256  # 50 MB of logits with a vocabulary of 49,152


@dataclass(frozen=True)
class AnswerLikelihood:
    """The log-likelihood that a model gives to each of several answers.

    Attributes:
        negative_log_likelihoods: nats, one number per passage.
        token_counts: counted tokens, one number per passage.
    """

    negative_log_likelihoods: tuple[float, ...]
    token_counts: tuple[int, ...]

    @property
    def perplexity(self) -> float:
        nats = sum(self.negative_log_likelihoods) / sum(self.token_counts)
        return math.exp(nats) if nats < MAX_NATS else math.inf


def perplexity_ratio(
    model: AnswerLikelihood,
    reference: AnswerLikelihood,
    *,
    documents: Sequence[Hashable] | None = None,
    level: float = LEVEL,
) -> Interval:
    """Return one model's perplexity divided by another's on the same passages; below 1 is better.

    Args:
        documents: document of each passage; documents are resampled as a whole. None to resample
            passages.
        level: level of the interval.

    Raises:
        ValueError: the passages differ, or there are fewer than two.
    """
    columns = nat_differences(model, reference)
    return interval_of_means(columns, _ratio, groups=documents, level=level)


def independent_ratio(
    first: tuple[AnswerLikelihood, AnswerLikelihood],
    second: tuple[AnswerLikelihood, AnswerLikelihood],
    *,
    documents: tuple[Sequence[Hashable], Sequence[Hashable]],
) -> Interval:
    """Return the ratio of two perplexity ratios that were measured on different passages.

    Args:
        first, second: (model, reference) of each ratio.
        documents: documents of the passages of `first` and of `second`.

    Raises:
        ValueError: for either ratio, the passages differ or there are fewer than two.
    """
    import numpy as np

    values: list[Any] = []
    resamples: list[Any] = []
    document_counts: list[int] = []
    for index, (pair, passage_documents) in enumerate(zip((first, second), documents, strict=True)):
        columns = np.array(nat_differences(*pair), dtype=np.float64)
        # with one seed, both sides would draw the same documents
        weights, document_count = resample_weights(
            columns.shape[1], groups=passage_documents, seed=SEED + index
        )
        values.append(_ratio(columns.sum(axis=1)))
        resamples.append(_ratio(columns @ weights.T))
        document_counts.append(document_count)
    return bootstrap_interval(
        float(values[0] / values[1]), resamples[0] / resamples[1], observations=min(document_counts)
    )


def nat_differences(model: AnswerLikelihood, reference: AnswerLikelihood) -> list[list[float]]:
    """Return two lists over the passages: the nats by which the model is worse, and token counts.

    Raises:
        ValueError: the passages differ, or there are fewer than two.
    """
    if model.token_counts != reference.token_counts or len(model.token_counts) < 2:
        raise ValueError(
            "a comparison of two models needs at least two passages, the same for both"
        )
    pairs = zip(model.negative_log_likelihoods, reference.negative_log_likelihoods, strict=True)
    return [
        [model_nats - reference_nats for model_nats, reference_nats in pairs],
        [float(count) for count in model.token_counts],
    ]


def _ratio(sums: Any) -> Any:
    """Return exp(nats / tokens)."""
    import numpy as np

    with np.errstate(over="ignore"):
        return np.exp(sums[0] / sums[1])


def choose_evaluation_precision() -> str:
    """Return `bf16` if the GPU supports it or the CPU is faster with it, or else `fp32`."""
    import torch

    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if is_bf16_faster() else "fp32"


def load_model(
    base_folder: Path, adapter_folder: Path | None = None, *, precision: str
) -> PreTrainedModel:
    """Load the base model for evaluation, and merge the LoRA adapter, if any, in fp32.

    Args:
        base_folder: transformers folder.
        adapter_folder: PEFT folder, or None for the base model only.
        precision: `bf16` or `fp32`.
    """
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
    if adapter_folder is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter_folder)).merge_and_unload()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32).eval()


def answer_likelihood(
    model: PreTrainedModel,
    samples: Sequence[TokenizedSample],
    *,
    advance: Callable[[int], object] = lambda _passages: None,
    max_concurrent: int | None = None,
) -> AnswerLikelihood:
    """Return the log-likelihood of each sample's answer without its end-of-turn token.

    Logits are computed only for the answers, in fp32 from the last hidden states, because bf16
    rounds a logit of 16 by 0.06. The head is converted to fp32 once and used for all answers of a
    batch. Calling it per answer took half of the time for short answers.

    Args:
        advance: function called after each batch with its number of passages.
        max_concurrent: number of batches read at the same time; None for this machine's default
            (`choose_batch_concurrency`).
    """
    import torch

    likelihoods = [0.0] * len(samples)
    head = OutputHead(model)
    concurrency = choose_batch_concurrency() if max_concurrent is None else max_concurrent

    def read_batch(batch: list[int]) -> int:
        limit_threads()
        with torch.inference_mode():
            for index, loss in zip(batch, _answer_losses(model, head, samples, batch), strict=True):
                likelihoods[index] = float(loss.sum())
        return len(batch)

    with share_cores(concurrency) as limit_threads, ThreadPoolExecutor(concurrency) as pool:
        # The longest batches come first, so that the threads finish together.
        for count in pool.map(read_batch, reversed(list(_batches(samples)))):
            advance(count)
    return AnswerLikelihood(
        tuple(likelihoods), tuple(sample.answer_tokens - 1 for sample in samples)
    )


def _answer_losses(
    model: PreTrainedModel,
    head: OutputHead,
    samples: Sequence[TokenizedSample],
    batch: Sequence[int],
) -> Sequence[torch.Tensor]:
    """Return the nats of each counted token, one tensor per answer."""
    import torch

    rows = [samples[index] for index in batch]
    inputs = _padded_batch([sample.tokens for sample in rows]).to(model.device)
    hidden_states = model.base_model(input_ids=inputs).last_hidden_state
    spans = [(sample.answer_start, sample.answer_end - 1) for sample in rows]
    states = [hidden_states[row, start - 1 : end - 1] for row, (start, end) in enumerate(spans)]
    targets = [inputs[row, start:end] for row, (start, end) in enumerate(spans)]
    losses = _losses(torch.cat(states), torch.cat(targets), head)
    return losses.split([len(state) for state in states])


def _losses(states: torch.Tensor, targets: torch.Tensor, head: OutputHead) -> torch.Tensor:
    """Return each position's nats, computed in chunks of `MAX_POSITIONS_PER_CHUNK`."""
    import torch
    from torch.nn import functional

    losses = [
        functional.cross_entropy(head.logits(chunk), labels, reduction="none")
        for chunk, labels in zip(
            states.split(MAX_POSITIONS_PER_CHUNK),
            targets.split(MAX_POSITIONS_PER_CHUNK),
            strict=True,
        )
    ]
    return torch.cat(losses)


def _batches(samples: Sequence[TokenizedSample]) -> Iterator[list[int]]:
    """Yield batches of sample indices, shortest first, each batch with a single padded length."""
    lengths = [padded_length(len(sample.tokens), PADDING_MULTIPLE) for sample in samples]
    order = sorted(range(len(samples)), key=lambda index: (lengths[index], index))
    batch: list[int] = []
    for index in order:
        is_full = (len(batch) + 1) * lengths[index] > TOKENS_PER_BATCH
        if batch and (is_full or lengths[index] != lengths[batch[0]]):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _padded_batch(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Right-pad token ids to (rows, length); causal attention ignores the padding."""
    import torch

    length = padded_length(max(len(row) for row in rows), PADDING_MULTIPLE)
    inputs = torch.zeros(len(rows), length, dtype=torch.long)
    for index, row in enumerate(rows):
        inputs[index, : len(row)] = torch.tensor(row)
    return inputs
