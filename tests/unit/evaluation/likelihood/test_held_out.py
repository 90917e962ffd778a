"""Test the choice of held-out passages."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from twin_assets.checkpoints.samples import TokenizedSample
from twin_assets.evaluation.likelihood.held_out import (
    build_prompts,
    render_bare_questions,
    select_held_out_samples,
    select_within_budget,
)
from twin_resources.prompt.templates import DEFAULT_TEMPLATE


def make_dataset(count: int = 12, **changes: Any) -> pl.DataFrame:
    rows = [
        {
            "sample_id": f"s{index}",
            "document_id": f"d{index % 4}",
            "split": "held_out" if index % 4 < 2 else "train",
            "start": index,
            "end": index + 5,
            "messages": [
                {"role": "user", "content": "word " * index},
                {"role": "assistant", "content": f"answer {index}"},
            ],
        }
        | changes
        for index in range(count)
    ]
    return pl.DataFrame(rows)


def make_sample(index: int, tokens: int) -> TokenizedSample:
    return TokenizedSample(f"s{index}", "d", tuple(range(tokens)), 1, tokens)


def test_documents_of_training_sets_are_excluded() -> None:
    selected = select_held_out_samples(make_dataset(), trained_on={"d1"})

    assert set(selected["document_id"]) == {"d0"}
    assert set(selected["split"]) == {"held_out"}


def test_each_passage_has_one_sample() -> None:
    doubled = pl.concat(
        [make_dataset(), make_dataset().with_columns(pl.col("sample_id") + "-again")]
    )

    assert select_held_out_samples(doubled, trained_on=()).height == 6


def test_the_order_does_not_depend_on_the_order_of_the_table() -> None:
    rows = make_dataset(40)

    expected = select_held_out_samples(rows, trained_on=())["sample_id"].to_list()
    second = select_held_out_samples(rows.reverse(), trained_on=())["sample_id"].to_list()

    assert expected == second
    assert expected != sorted(expected)


@pytest.mark.parametrize(
    ("available", "budget", "chosen"),
    [(50, 4_000, 40), (50, 1_000, 30), (3, 100, 3), (130, 100_000, 120)],
)
def test_the_budget_never_reduces_the_minimum(available: int, budget: int, chosen: int) -> None:
    samples = [make_sample(index, 100) for index in range(available)]

    assert len(select_within_budget(samples, token_budget=budget)) == chosen


def test_prompts_have_no_answers() -> None:
    rows = make_dataset(3)

    assert [len(prompt) for prompt in build_prompts(rows)] == [
        len(messages) - 1 for messages in rows["messages"].to_list()
    ]
    assert all(message["role"] == "user" for prompt in build_prompts(rows) for message in prompt)


def test_bare_questions_keep_the_system_message() -> None:
    system = {"role": "system", "content": "You answer as Ada."}
    user_message = {
        "role": "user",
        "content": "From my posts:\n\n[1] Clocks\n\nQuestion: Why brass?",
    }
    answer = {"role": "assistant", "content": "It wears well."}
    rows = pl.DataFrame({"messages": [[system, user_message, answer]], "question": ["Why brass? "]})

    [prompt] = render_bare_questions(rows, DEFAULT_TEMPLATE)

    assert prompt == [system, {"role": "user", "content": "Question: Why brass?"}]
