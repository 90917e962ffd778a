"""Check that the served model is the trained model, by comparing log-probabilities.

Scope: the reference computed by transformers and PEFT in fp32, and the differences from it.
Out of scope: asking the server (`served_model.py`) and thresholds (`measures/served_parity.py`).

Top tokens agree nine times out of ten even if the adapter's rows are in the wrong order. Only the
log-probabilities reveal the error: they differ by 0.12 with such an adapter, and by 0.002 with a
correct one. Every prompt is asked twice, because the second answer is computed from the key-value
cache of the first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twin_assets.checkpoints.samples import strip_messages
from twin_assets.evaluation.likelihood.output_head import OutputHead
from twin_assets.evaluation.statistics.bootstrap import Interval, interval_of_means
from twin_resources.models.serving.served_model import ServedAnswer
from twin_resources.prompt.control_marks import extract_tokenizer_marks


@dataclass(frozen=True)
class Parity:
    """Absolute differences between log-probabilities, in nats, over all compared tokens.

    Attributes:
        prompt_count: number of prompts, each asked twice.
        value_count: number of compared log-probabilities.
        mean, largest: mean and largest absolute difference from the reference.
        interval: interval of the mean, with whole prompts resampled, because tokens of one answer
            are not independent. `largest` has no interval, because resamples never exceed it.
        by_prompt: mean of each prompt's differences.
        precision: precision of the served weights.
    """

    prompt_count: int
    value_count: int
    mean: float
    largest: float
    interval: Interval | None = None
    by_prompt: tuple[float, ...] = ()
    precision: str = "f16"


class ReferenceModel:
    """The base model with its PEFT adapter, unmerged, in fp32."""

    def __init__(self, base_folder: Path, adapter_folder: Path | None) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._tokenizer: Any = AutoTokenizer.from_pretrained(base_folder)
        self._marks = extract_tokenizer_marks(self._tokenizer)
        model: Any = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
        if adapter_folder is not None:
            from peft import PeftModel

            # PEFT inserts the adapter's layers into the base model
            model = PeftModel.from_pretrained(model, str(adapter_folder)).get_base_model()
        self._model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        self._head = OutputHead(self._model)

    def strip(self, prompt: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
        """Return a prompt as training rendered it, without surrounding blanks and control tokens.

        The server must get the same prompt, because it strips nothing.
        """
        return strip_messages(prompt, self._marks)

    def log_probabilities(
        self,
        prompt: Sequence[Mapping[str, str]],
        tokens: Sequence[int],
        requested_tokens: Sequence[Collection[int]],
    ) -> list[dict[int, float]]:
        """Return the reference's log-probabilities of the requested tokens, for each position.

        Args:
            tokens: the answer that follows the prompt.
            requested_tokens: ids of the requested tokens, for each position of the answer.
        """
        import torch

        if not tokens:
            return []
        prompt_tokens = self._tokenizer.apply_chat_template(
            self.strip(prompt),
            tokenize=True,
            add_generation_prompt=True,
            return_dict=False,
        )
        inputs = torch.tensor([[*prompt_tokens, *tokens[:-1]]], device=self._model.device)
        with torch.inference_mode():
            hidden_states = self._model.base_model(input_ids=inputs).last_hidden_state
            values = self._head.logits(hidden_states[0, len(prompt_tokens) - 1 :]).log_softmax(-1)
        return [
            {token: float(row[token]) for token in token_ids}
            for row, token_ids in zip(values, requested_tokens, strict=True)
        ]


def compare(
    reference: ReferenceModel,
    prompts: Sequence[Sequence[Mapping[str, str]]],
    first_answers: Sequence[ServedAnswer],
    second_answers: Sequence[ServedAnswer],
    *,
    precision: str = "f16",
    advance: Callable[[int], object] = lambda _prompts: None,
) -> Parity | None:
    """Compare both rounds of answers with the reference, along each answer's own tokens.

    Args:
        precision: precision of the served weights.
        advance: function called with 1 after each prompt.

    Returns:
        The differences, or None if every answer was empty.
    """
    differences: list[float] = []
    differences_by_prompt: list[list[float]] = []
    for prompt, *pair in zip(prompts, first_answers, second_answers, strict=True):
        first_answer, second_answer = (_cut_to_known_positions(answer) for answer in pair)
        if first_answer.tokens == second_answer.tokens:  # one pass suffices
            groups = [(first_answer, second_answer)]
        else:
            groups = [(first_answer,), (second_answer,)]
        prompt_differences: list[float] = []
        for group in groups:
            served_values = [answer.log_probabilities for answer in group]
            reported_tokens = [
                {token for values in position for token in values}
                for position in zip(*served_values, strict=True)
            ]
            reference_values = reference.log_probabilities(prompt, group[0].tokens, reported_tokens)
            for values in served_values:
                prompt_differences += _differences(reference_values, values)
        differences += prompt_differences
        if prompt_differences:
            differences_by_prompt.append(prompt_differences)
        advance(1)
    if not differences:
        return None
    return Parity(
        prompt_count=len(prompts),
        value_count=len(differences),
        mean=sum(differences) / len(differences),
        largest=max(differences),
        interval=_interval(differences_by_prompt),
        by_prompt=tuple(sum(values) / len(values) for values in differences_by_prompt),
        precision=precision,
    )


def describe_parity(parity: Parity | None) -> str:
    """Summarize the result in one line for the log."""
    if parity is None:
        return "every answer was empty"
    return (
        f"log-probabilities differ by {parity.mean:.4f} on average and {parity.largest:.4f} "
        f"at most over {parity.value_count} values"
    )


def _interval(by_prompt: Sequence[Sequence[float]]) -> Interval | None:
    """Return the interval of the mean over all values, or None for a single prompt."""
    if len(by_prompt) < 2:
        return None
    sums = [sum(values) for values in by_prompt]
    counts = [float(len(values)) for values in by_prompt]
    return interval_of_means([sums, counts], lambda means: means[0] / means[1])


def truncate_answers(answers: Sequence[ServedAnswer], token_count: int) -> list[ServedAnswer]:
    """Cut answers to their first `token_count` tokens, and leave the texts unchanged."""
    return [
        ServedAnswer(
            answer.text,
            answer.tokens[:token_count],
            answer.log_probabilities[:token_count],
            aligned_token_count=answer.aligned_token_count,
        )
        for answer in answers
    ]


def _cut_to_known_positions(answer: ServedAnswer) -> ServedAnswer:
    """Return the answer, cut to the tokens whose position is known."""
    if answer.aligned_token_count is None:
        return answer
    [truncated_answer] = truncate_answers([answer], answer.aligned_token_count)
    return truncated_answer


def _differences(
    first: Sequence[Mapping[int, float]], second: Sequence[Mapping[int, float]]
) -> list[float]:
    return [
        abs(_to_float(first_values[token]) - _to_float(second_values[token]))
        for first_values, second_values in zip(first, second, strict=True)
        for token in first_values.keys() & second_values.keys()
    ]


def _to_float(value: float | None) -> float:
    """Turn null into NaN, because a server reports NaN as null in JSON."""
    return math.nan if value is None else value
