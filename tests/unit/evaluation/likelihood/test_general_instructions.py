"""Test the general instructions and the claim on their loss."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from twin_assets.corpus.shingles import split_words
from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood
from twin_assets.evaluation.measures.general_instructions import (
    INSTRUCTIONS_FILE,
    MAX_LOSS_RATIO,
    build_rows,
    decide_claim,
)

ROWS: list[dict[str, str]] = json.loads(INSTRUCTIONS_FILE.read_text("utf-8"))
IDS = [row["id"] for row in ROWS]


def make_losses(factor: float) -> AnswerLikelihood:
    """Return losses of about 2 nats for each of 10 tokens, multiplied by `factor`."""
    rng = random.Random(1)
    return AnswerLikelihood(
        tuple(factor * 10 * rng.uniform(1.5, 2.5) for _ in IDS), tuple(10 for _ in IDS)
    )


def test_two_hundred_instructions_have_many_kinds_and_languages() -> None:
    assert len(ROWS) == len({row["instruction"] for row in ROWS}) == len(set(IDS)) == 200
    assert all(row["instruction"].strip() and row["answer"].strip() for row in ROWS)
    kinds = Counter(row["kind"] for row in ROWS)
    assert len(kinds) >= 10
    assert min(kinds.values()) >= 5
    assert len({row["language"] for row in ROWS}) >= 4
    assert (
        max(len(split_words(row["answer"])) for row in ROWS) <= 40
    )  # long answers would slow down reading 200 instructions


def test_rows_contain_one_question_and_one_answer() -> None:
    assert [row["sample_id"] for row in build_rows()] == IDS
    first, messages = ROWS[0], build_rows()[0]["messages"]
    assert [part["role"] for part in messages] == ["user", "assistant"]
    assert (messages[0]["content"], messages[1]["content"]) == (
        first["instruction"],
        first["answer"],
    )


@pytest.mark.parametrize(
    ("factor", "passed"), [(0.9, True), (1.04, True), (1.06, False), (3, False)]
)
def test_a_loss_of_more_than_five_percent_above_the_base_fails(factor: float, passed: bool) -> None:
    claim = decide_claim(make_losses(factor), make_losses(1.0))

    assert claim.value == pytest.approx(factor)
    assert claim.passed is passed
    assert claim.threshold == MAX_LOSS_RATIO
    assert claim.detail.startswith("loss on 200 general instructions")
