"""Samples of one post as one conversation: what is joined, and that each answer has its loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.unit.training.test_losses import Bigram
from tests.unit.training.test_samples import Words
from twin_assets.checkpoints.batches import GENERAL
from twin_assets.checkpoints.conversations import (
    conversations_of,
    questions_of,
    tokenize_conversations,
)
from twin_assets.checkpoints.samples import TokenizedSample, tokenize_samples
from twin_assets.training.losses import Supervised

SYSTEM = "You answer."
SHOWN = "From my posts:\n\n[1] Title (undated)\nsomething else\n\n"


def row(number: int, answer: str, *, post: str = "d", shown: str = SHOWN) -> dict[str, Any]:
    return {
        "sample_id": f"s{number}",
        "document_id": post,
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": f"{shown}Question: q{number}"},
            {"role": "assistant", "content": answer},
        ],
    }


def joined(
    rows: list[dict[str, Any]], *, questions: int = 3, max_length: int = 1000
) -> tuple[list[TokenizedSample], Words]:
    tokenizer = Words()
    found, _ = tokenize_conversations(rows, tokenizer, max_length=max_length, questions=questions)
    return found, tokenizer


def test_samples_of_one_post_are_joined_and_passages_stand_once() -> None:
    rows = [row(1, "one"), row(2, "two"), row(3, "three"), row(4, "four"), row(5, "x", post="e")]
    found, tokenizer = joined(rows)

    assert [sample.sample_id for sample in found] == ["s1", "s4", "s5"]
    assert [questions_of(sample) for sample in found] == [3, 1, 1]
    assert conversations_of(found, 3) == {"questions": 3, "conversations": 1}
    assert tokenizer.text(found[0].tokens) == (
        f"<system>\n{SYSTEM}<end>\n<user>\n{SHOWN}Question: q1<end>\n<assistant>\none<end>\n"
        "<user>\nQuestion: q2<end>\n<assistant>\ntwo<end>\n"
        "<user>\nQuestion: q3<end>\n<assistant>\nthree<end>"
    )
    answers = [tokenizer.text(found[0].tokens[start:end]) for start, end in found[0].spans]
    assert answers == ["one<end>", "two<end>", "three<end>"]
    assert found[0].answer_tokens == 6
    assert (found[0].answer_start, found[0].answer_end) == (
        found[0].spans[0][0],
        len(found[0].tokens),
    )


def test_a_conversation_is_no_longer_than_the_recipe_allows() -> None:
    rows = [row(number, f"answer{number}") for number in range(4)]
    (alone, *_), _ = joined(rows, questions=2)
    found, _ = joined(rows, questions=4, max_length=alone.length)
    assert [questions_of(sample) for sample in found] == [2, 2]
    assert all(sample.length <= alone.length for sample in found)


def test_an_answer_that_the_passages_hold_is_not_asked_below_them() -> None:
    told = "the answer that stands in the passages of the sample before it"
    rows = [row(1, "one", shown=SHOWN.replace("something else", told)), row(2, told)]
    found, _ = joined(rows)
    assert [questions_of(sample) for sample in found] == [1, 1]
    (both,), _ = joined([row(1, "one"), row(2, told)])
    assert questions_of(both) == 2


def test_general_samples_and_those_of_another_system_message_stay_alone() -> None:
    other = row(2, "two")
    other["messages"][0] = {"role": "system", "content": "You refuse."}
    found, _ = joined([row(1, "one"), other])
    assert [questions_of(sample) for sample in found] == [1, 1]
    found, _ = joined([row(1, "one", post=GENERAL), row(2, "two", post=GENERAL)])
    assert [questions_of(sample) for sample in found] == [1, 1]


def test_what_cannot_be_trained_on_alone_is_in_no_conversation() -> None:
    rows = [row(1, "one"), row(2, " "), row(3, "three")]
    found, left_out = tokenize_conversations(rows, Words(), max_length=1000, questions=3)
    assert [questions_of(sample) for sample in found] == [2]
    assert left_out == {"empty_answer": 1}


def test_samples_that_cannot_be_joined_are_the_very_samples() -> None:
    rows = [row(number, f"answer{number}", post=f"d{number}") for number in range(3)]
    tokenizer = Words()
    alone, _ = tokenize_samples(rows, tokenizer, max_length=1000)
    found, _ = tokenize_conversations(rows, tokenizer, max_length=1000, questions=3)
    assert found == alone
    assert conversations_of(found, 1) == {}


def spans_of(tokens: tuple[int, ...], *spans: tuple[int, int]) -> TokenizedSample:
    return TokenizedSample("s", "d", tokens, spans[0][0], spans[-1][1], spans)


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_each_answer_of_a_conversation_has_its_loss_and_what_is_asked_between_has_none(
    packing: bool, weight: float
) -> None:
    tokens = (1, 2, 3, 4, 5, 6, 7, 2, 4)
    conversation = spans_of(tokens, (2, 4), (6, 9))
    other = TokenizedSample("o", "e", (3, 1, 2), 1, 3)
    objective = Supervised([conversation, other], 16, packing, prompt_weight=weight)
    prompts = (2 - 1) + (6 - 4) + 0
    assert objective.weight([0, 1]) == pytest.approx(5 + 2 + weight * prompts)

    loss, _ = objective.sums(Bigram(), [0, 1])

    def cost(sample: TokenizedSample, start: int, end: int) -> float:
        part = TokenizedSample("p", "d", sample.tokens[:end], start, end)
        return -float(Bigram().log_probability(part))

    answers = cost(conversation, 2, 4) + cost(conversation, 6, 9) + cost(other, 1, 3)
    asked = cost(conversation, 1, 2) + cost(conversation, 4, 6)
    assert asked > 0.1
    assert float(loss.detach()) == pytest.approx(answers + weight * asked, rel=1e-5)
    assert torch.isfinite(loss)
