"""The general instructions, and what their loss says of a tuned model."""

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
    claim,
    compare,
    make_rows,
)

ROWS: list[dict[str, str]] = json.loads(INSTRUCTIONS_FILE.read_text("utf-8"))
IDS = [row["id"] for row in ROWS]


def losses(factor: float, *, seed: int = 1) -> AnswerLikelihood:
    """A loss of about 2 nats for each of 10 tokens, times a factor."""
    drawn = random.Random(seed)
    return AnswerLikelihood(
        tuple(factor * 10 * drawn.uniform(1.5, 2.5) for _ in IDS), tuple(10 for _ in IDS)
    )


def test_there_are_two_hundred_different_ones_of_many_kinds_and_languages() -> None:
    assert len(ROWS) == len({row["instruction"] for row in ROWS}) == len(set(IDS)) == 200
    assert all(row["instruction"].strip() and row["answer"].strip() for row in ROWS)
    kinds = Counter(row["kind"] for row in ROWS)
    assert len(kinds) >= 10
    assert min(kinds.values()) >= 5
    assert len({row["language"] for row in ROWS}) >= 4
    assert max(len(split_words(row["answer"])) for row in ROWS) <= 40  # 200 must be read in seconds


def test_rows_are_one_question_and_one_answer_in_the_same_order() -> None:
    assert [row["sample_id"] for row in make_rows()] == IDS
    first, message = ROWS[0], make_rows()[0]["messages"]
    assert [part["role"] for part in message] == ["user", "assistant"]
    assert (message[0]["content"], message[1]["content"]) == (first["instruction"], first["answer"])


@pytest.mark.parametrize(("factor", "kept"), [(0.9, True), (1.04, True), (1.06, False), (3, False)])
def test_a_loss_more_than_five_percent_above_the_bases_is_refused(
    factor: float, kept: bool
) -> None:
    found = compare(losses(factor), losses(1.0))

    assert found.ratio.value == pytest.approx(factor)
    assert claim(found).passed is kept
    assert claim(found).threshold == MAX_LOSS_RATIO
    assert found.instructions == 200


def test_the_interval_holds_the_ratio_and_is_narrow_where_all_instructions_agree() -> None:
    alike = compare(losses(1.02), losses(1.0)).ratio
    noisy = compare(losses(1.02, seed=2), losses(1.0)).ratio

    assert alike.low == pytest.approx(alike.high)
    assert noisy.low < noisy.value < noisy.high
    assert 0.02 < noisy.high - noisy.low < 0.1
