"""Test the losses against values computed by hand, finite differences and single answers."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_assets.checkpoints.samples import TokenizedPair, TokenizedSample
from twin_assets.training.losses import (
    PreferenceObjective,
    SupervisedObjective,
    pair_log_probabilities,
    preference_loss,
)

VOCABULARY = 11


class Bigram(torch.nn.Module):
    """A causal model of two tokens, whose logits depend only on the previous token."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.table = torch.nn.Parameter(torch.randn(VOCABULARY, VOCABULARY))

    def forward(
        self,
        input_ids: torch.Tensor,
        *,
        use_cache: bool,
        logits_to_keep: torch.Tensor,
        position_ids: torch.Tensor | None = None,  # unused: the logits depend on one token
    ) -> Any:
        return SimpleNamespace(logits=self.table[input_ids][:, logits_to_keep])

    def log_probability(self, sample: TokenizedSample) -> float:
        """Return the answer's log-probability, computed token by token."""
        table = self.table.detach().log_softmax(dim=-1)
        positions = range(sample.answer_start, sample.answer_end)
        return sum(
            float(table[sample.tokens[position - 1], sample.tokens[position]])
            for position in positions
        )


def make_sample(name: str, tokens: list[int], start: int) -> TokenizedSample:
    return TokenizedSample(name, f"document {name}", tuple(tokens), start, len(tokens))


def make_pair(
    name: str, prompt: list[int], chosen: list[int], rejected: list[int]
) -> TokenizedPair:
    return TokenizedPair(
        make_sample(name, prompt + chosen, len(prompt)),
        make_sample(name, prompt + rejected, len(prompt)),
    )


PAIRS = [
    make_pair("one", [1, 2, 3], [4, 5, 6, 7], [8, 9]),
    make_pair("two", [5], [1], [2, 3, 4, 10, 0, 1]),
    make_pair("three", [7, 7, 1, 0], [3, 1], [1, 3]),
]


def test_loss_and_rewards_match_the_paper() -> None:
    policy = torch.tensor([[-10.0, -12.0], [-3.0, -1.0]])
    reference = torch.tensor([[-11.0, -11.5], [-3.0, -1.0]])
    loss, rewards = preference_loss(policy, reference, beta=0.5)
    # the chosen answer gained 1 and the rejected lost .5, so the margin is .5·(1 + .5) = .75
    assert rewards.tolist() == [[0.5, -0.25], [0.0, 0.0]]
    assert loss.tolist() == pytest.approx([-math.log(1 / (1 + math.exp(-0.75))), math.log(2)])


@settings(deadline=None)  # the first call of gradcheck imports for a second
@given(
    st.lists(st.tuples(*[st.floats(-60, 0) for _ in range(4)]), min_size=1, max_size=5),
    st.floats(0.01, 2),
)
def test_autograd_agrees_with_finite_differences(
    values: list[tuple[float, float, float, float]], beta: float
) -> None:
    table = torch.tensor(values, dtype=torch.float64)
    policy = table[:, :2].clone().requires_grad_(True)
    assert torch.autograd.gradcheck(
        lambda rows: preference_loss(rows, table[:, 2:], beta=beta)[0], (policy,), atol=1e-5
    )


def test_padding_and_other_answers_do_not_change_log_probabilities() -> None:
    model = Bigram()
    batch = pair_log_probabilities(model, PAIRS, bucket=16)
    for row, pair in enumerate(PAIRS):
        expected = [model.log_probability(pair.chosen), model.log_probability(pair.rejected)]
        assert batch[row].tolist() == pytest.approx(expected, rel=1e-5)
        single = pair_log_probabilities(model, [pair], bucket=1)
        assert single[0].tolist() == pytest.approx(expected, rel=1e-5)


def test_all_answer_tokens_of_a_step_have_equal_weight() -> None:
    samples = [pair.chosen for pair in PAIRS]
    objective = SupervisedObjective(samples, bucket=8)
    assert objective.normalizer([0, 1]) == 5
    loss, metric_sums = objective.batch_sums(Bigram(), [0, 1])
    expected = -sum(Bigram().log_probability(samples[index]) for index in (0, 1))
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert metric_sums == []


def test_the_loss_equals_that_of_single_answers_bit_for_bit() -> None:
    samples = [pair.chosen for pair in PAIRS]
    model, reference = Bigram(), Bigram()
    loss, _ = SupervisedObjective(samples, bucket=8).batch_sums(model, [0, 1, 2])
    loss.backward()

    first, last = (
        min(sample.answer_start for sample in samples),
        max(len(sample.tokens) for sample in samples),
    )
    tokens, labels = torch.zeros(3, 8, dtype=torch.long), torch.full((3, 8), -100)
    for row, sample in enumerate(samples):
        tokens[row, : len(sample.tokens)] = torch.tensor(sample.tokens)
        labels[row, sample.answer_start : sample.answer_end] = torch.tensor(
            sample.tokens[sample.answer_start :]
        )
    keep = torch.arange(first - 1, last - 1)
    logits = reference(tokens, use_cache=False, logits_to_keep=keep).logits
    expected = torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), labels[:, first:last].flatten(), reduction="none"
    ).sum()
    expected.backward()

    assert torch.equal(loss, expected)
    assert model.table.grad is not None
    assert reference.table.grad is not None
    assert torch.equal(model.table.grad, reference.table.grad)


def test_the_margin_starts_at_zero_and_grows() -> None:
    model = Bigram()
    initial = pair_log_probabilities(model, PAIRS, bucket=8).detach()
    reference = {pair.sample_id: row.tolist() for pair, row in zip(PAIRS, initial, strict=True)}
    objective = PreferenceObjective(PAIRS, bucket=8, beta=0.2, reference=reference)
    indices = range(len(PAIRS))
    assert objective.normalizer(indices) == 3
    loss, (margin, accuracy, reward) = objective.batch_sums(model, indices)
    assert float(loss.detach()) == pytest.approx(3 * math.log(2), rel=1e-5)
    assert (float(margin), float(accuracy), float(reward)) == (pytest.approx(0, abs=1e-5), 0, 0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(20):
        optimizer.zero_grad()
        objective.batch_sums(model, indices)[0].backward()
        optimizer.step()
    final_loss, (margin, accuracy, _) = objective.batch_sums(model, indices)
    assert float(final_loss.detach()) < float(loss.detach())
    assert float(margin) > 0
    assert float(accuracy) == 3
