"""Test how often the topic claim refuses good models and passes broken ones, on resampled shares.

For two authors and each held-out question, `shares_of_answers.json` has the share of other posts'
questions that are further from the answer than its own. The model is SmolLM2-135M, served by
llama.cpp: tuned on the author's samples (`good`), on shuffled samples, on another author's samples
or on five posts alone (`memorised`), and untuned (`base`). The file has only numbers; those of
skeeto belong to the answers in `tests/graph/judges/served_answers.json`.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from statistics import fmean, median

import pytest

from twin_assets.evaluation.measures.on_topic import MIN_AUC, decide_early
from twin_assets.evaluation.sequential_plan import FIRST_VERDICT

SHARES = json.loads(Path(__file__).with_name("shares_of_answers.json").read_text(encoding="utf-8"))
DRAW_COUNT = 400
MAX_QUESTIONS = 100  # the value in an author's settings
GOOD = [("skeeto", "good"), ("mara-lindqvist", "good")]
BROKEN = [
    *(("skeeto", "shuffled"), ("mara-lindqvist", "shuffled")),
    ("mara-lindqvist", "memorised"),  # trained on five posts for fourteen epochs
]


def draw_shares(author: str, model: str, question_count: int) -> list[list[float]]:
    rng = random.Random(f"{author} {model} {question_count}")
    return [rng.choices(SHARES[author][model], k=question_count) for _ in range(DRAW_COUNT)]


def decide_in_steps(shares: list[float]) -> tuple[bool, int]:
    """Return whether a first verdict meets the claim, and after how many questions."""
    for end in range(
        FIRST_VERDICT.min_questions, len(shares) + 1, FIRST_VERDICT.questions_per_step
    ):
        side = decide_early(shares[:end], population_size=len(shares))
        if side is not None:
            return side == "above", end
    raise AssertionError("the last question must decide")


@pytest.mark.parametrize(("author", "model"), GOOD)
def test_at_most_one_good_model_in_twenty_is_refused(author: str, model: str) -> None:
    full_verdicts = [fmean(shares) >= MIN_AUC for shares in draw_shares(author, model, 30)]
    first_verdicts = [
        decide_in_steps(shares)[0] for shares in draw_shares(author, model, MAX_QUESTIONS)
    ]

    assert fmean(full_verdicts) >= 0.95
    assert fmean(first_verdicts) >= 0.95


@pytest.mark.parametrize(("author", "model"), BROKEN)
def test_at_most_one_broken_model_in_forty_passes(author: str, model: str) -> None:
    full_verdicts = [fmean(shares) >= MIN_AUC for shares in draw_shares(author, model, 30)]
    first_verdicts = [
        decide_in_steps(shares)[0] for shares in draw_shares(author, model, MAX_QUESTIONS)
    ]

    assert fmean(full_verdicts) <= 0.025
    assert fmean(first_verdicts) <= 0.025


def test_a_strong_effect_needs_only_some_of_the_questions() -> None:
    question_counts = [
        decide_in_steps(shares)[1] for shares in draw_shares("skeeto", "good", MAX_QUESTIONS)
    ]

    assert median(question_counts) < 0.75 * MAX_QUESTIONS


def test_all_answers_decide_a_share_at_the_limit() -> None:
    shares = [MIN_AUC - 0.1, MIN_AUC + 0.1] * 20

    assert decide_early(shares[:-1], population_size=40) is None
    assert decide_early(shares, population_size=40) == "above"
    assert decide_early([*shares[:-1], MIN_AUC], population_size=40) == "below"
