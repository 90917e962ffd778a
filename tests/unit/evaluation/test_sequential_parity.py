"""Test how many prompts decide parity. The test server answers with the question itself."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import polars as pl
import pytest

from tests.unit.evaluation.contexts import make_context
from tests.unit.evaluation.likelihood.test_sample_likelihoods import make_passages
from tests.unit.evaluation.served.test_parity import ConstantReference
from tests.unit.evaluation.served.test_served_model import FakeModel
from twin_assets.evaluation.measures.served_parity import PARITY_LARGEST, is_undecided
from twin_assets.evaluation.progress import Clock
from twin_assets.evaluation.sequential_plan import check_parity_until_decided
from twin_assets.evaluation.served import answer_batches, parity
from twin_assets.evaluation.served.answer_batches import AnswerBatches
from twin_assets.evaluation.served.parity import Parity
from twin_assets.evaluation.served.served_answers import (
    FIRST_PARITY_PROMPTS,
    CandidateAnswers,
    build_parity_prompts,
)
from twin_resources.processes import progress_lines
from twin_resources.processes.progress_lines import ProgressLines
from twin_resources.prompt.templates import DEFAULT_TEMPLATE

SERVED_LOG_PROBABILITY = -0.5  # the log-probability that the server reports for every token


def compare_with_reference(
    difference: float, monkeypatch: pytest.MonkeyPatch, samples: pl.DataFrame
) -> tuple[CandidateAnswers, Parity | None, FakeModel]:
    monkeypatch.setattr(
        parity, "ReferenceModel", lambda *_: ConstantReference(SERVED_LOG_PROBABILITY - difference)
    )
    model = FakeModel()
    monkeypatch.setattr(answer_batches, "max_concurrent_servers", lambda: 2)
    monkeypatch.setattr(progress_lines, "LOG_INTERVAL_S", 0.0)
    lines: list[str] = []
    progress = ProgressLines(lines.append)
    context = make_context()
    with AnswerBatches(
        context.prompts, serve=model.serve, serve_base=FakeModel().serve, progress=progress
    ) as batches:
        check_parity_until_decided(
            context,
            build_parity_prompts(samples, samples.head(0), template=DEFAULT_TEMPLATE),
            batches,
            clock=Clock(),
            progress=progress,
        )
    answers = context.parity_answers
    # the expected steps are done: each prompt is answered twice and read at each look
    reports = [line.removeprefix("progress ") for line in lines if line.startswith("progress ")]
    last = json.loads(reports[-1]) if reports else {"step": 0, "steps": 0}
    prompt_count = len(answers.prompts)
    reading_count = prompt_count
    if prompt_count > FIRST_PARITY_PROMPTS:  # read again at the second look
        reading_count += FIRST_PARITY_PROMPTS
    assert last["step"] == last["steps"] == 2 * prompt_count + reading_count
    return answers, context.parity, model


@pytest.mark.parametrize(("difference", "prompt_count"), [
    (0.0, 8),  # no difference
    (0.12, 8),  # rows in the wrong order
    (0.004, 20),  # too near the limit for eight prompts
])  # fmt: skip
def test_no_more_prompts_are_asked_than_the_decision_needs(
    difference: float, prompt_count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, result, model = compare_with_reference(difference, monkeypatch, make_passages())

    assert result is not None
    assert (result.prompt_count, len(model.servers)) == (prompt_count, 2)
    assert result.mean == pytest.approx(difference)
    assert (
        len(answers.prompts)
        == len(answers.first_answers)
        == len(answers.repeated_answers)
        == prompt_count
    )
    assert [answer.text for answer in answers.first_answers] == [
        prompt[-1]["content"] for prompt in answers.prompts
    ]
    assert not is_undecided(result)


def test_no_server_starts_without_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, result, model = compare_with_reference(0.0, monkeypatch, make_passages().head(0))

    assert (answers.prompts, result, model.servers) == ([], None, [])


def test_all_of_a_few_samples_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    _, result, model = compare_with_reference(0.004, monkeypatch, make_passages().head(6))

    assert result is not None
    assert (result.prompt_count, len(model.servers)) == (6, 1)


def make_parity(
    mean: float, *, prompt_count: int = FIRST_PARITY_PROMPTS, largest: float = 0.01
) -> Parity:
    by_prompt = (mean,) * prompt_count
    return Parity(prompt_count, 100 * prompt_count, mean, largest, by_prompt=by_prompt)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (make_parity(0.002), False),  # the usual difference
        (make_parity(0.004), True),  # too near the limit for eight prompts
        (make_parity(0.004, prompt_count=20), False),
        (make_parity(0.012), True),
        (make_parity(0.12, largest=0.9), False),  # rows of the adapter in the wrong order
        (
            make_parity(0.002, largest=PARITY_LARGEST),
            False,
        ),  # one large difference refuses immediately
        (make_parity(math.nan), False),
    ],
)
def test_more_prompts_are_asked_if_eight_do_not_decide(result: Parity, expected: bool) -> None:
    assert is_undecided(result) is expected


def test_one_outlying_prompt_does_not_decide_alone() -> None:
    means = (0.04,) + (0.002,) * 7
    outlier = replace(make_parity(0.002), by_prompt=means)

    assert is_undecided(outlier), "a mean below the limit with one outlier must stay undecided"
