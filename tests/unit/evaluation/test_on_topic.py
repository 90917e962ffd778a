"""The topic claim on resampled shares of real answers: good models refused, shuffled ones passed.

`shares_of_answers.json` has, for two authors, the share of other posts' questions that are further
from an answer than its own, for each held-out question: SmolLM2-135M, tuned on the author's samples
(`good`), on shuffled ones, on another author's, on five posts alone (`memorised`), and untuned
(`base`), served by llama.cpp. Numbers alone; of skeeto they are of the answers in
`tests/graph/judges/served_answers.json`.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from statistics import fmean, median

import pytest

from twin_assets.evaluation.measures.on_topic import MIN_AUC, decide_early
from twin_assets.evaluation.sequential_plan import FIRST

SHARES = json.loads(Path(__file__).with_name("shares_of_answers.json").read_text(encoding="utf-8"))
DRAWS = 400
MAX_QUESTIONS = 100  # that an author's settings name
GOOD = [("skeeto", "good"), ("mara-lindqvist", "good")]
BROKEN = [
    *(("skeeto", "shuffled"), ("mara-lindqvist", "shuffled")),
    ("mara-lindqvist", "memorised"),  # five posts, fourteen epochs
]


def drawn(author: str, model: str, questions: int) -> list[list[float]]:
    chance = random.Random(f"{author} {model} {questions}")
    return [chance.choices(SHARES[author][model], k=questions) for _ in range(DRAWS)]


def in_batches(shares: list[float]) -> tuple[bool, int]:
    """Return whether a first verdict meets the claim, and after how many questions."""
    for end in range(FIRST.min_questions, len(shares) + 1, FIRST.questions_per_step):
        side = decide_early(shares[:end], population_size=len(shares))
        if side is not None:
            return side == "above", end
    raise AssertionError("the last question decides what no earlier one did")


@pytest.mark.parametrize(("author", "model"), GOOD)
def test_at_most_one_good_model_in_twenty_is_refused(author: str, model: str) -> None:
    whole = [fmean(shares) >= MIN_AUC for shares in drawn(author, model, 30)]
    first = [in_batches(shares)[0] for shares in drawn(author, model, MAX_QUESTIONS)]

    assert fmean(whole) >= 0.95
    assert fmean(first) >= 0.95


@pytest.mark.parametrize(("author", "model"), BROKEN)
def test_at_most_one_broken_model_in_forty_passes(author: str, model: str) -> None:
    whole = [fmean(shares) >= MIN_AUC for shares in drawn(author, model, 30)]
    first = [in_batches(shares)[0] for shares in drawn(author, model, MAX_QUESTIONS)]

    assert fmean(whole) <= 0.025
    assert fmean(first) <= 0.025


def test_a_strong_effect_needs_only_some_of_the_questions() -> None:
    asked = [in_batches(shares)[1] for shares in drawn("skeeto", "good", MAX_QUESTIONS)]

    assert median(asked) < 0.75 * MAX_QUESTIONS


def test_all_answers_decide_a_share_at_the_limit() -> None:
    shares = [MIN_AUC - 0.1, MIN_AUC + 0.1] * 20

    assert decide_early(shares[:-1], population_size=40) is None
    assert decide_early(shares, population_size=40) == "above"
    assert decide_early([*shares[:-1], MIN_AUC], population_size=40) == "below"
