"""Test how many prompts decide parity; a test server answers with the question itself."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import polars as pl
import pytest

from tests.unit.evaluation.likelihood.test_losses import passages
from tests.unit.evaluation.served.test_served_model import Model
from tests.unit.evaluation.test_evaluation_spec import SPEC
from twin_assets.evaluation.measures.served_parity import PARITY_LARGEST, is_undecided
from twin_assets.evaluation.progress import Clock, ProgressLines
from twin_assets.evaluation.sequential_plan import compare_until_decided
from twin_assets.evaluation.served import answer_batches, parity
from twin_assets.evaluation.served.answer_batches import AnswerBatches
from twin_assets.evaluation.served.parity import Parity
from twin_assets.evaluation.served.served_answers import (
    FIRST_PARITY_PROMPTS,
    CandidateAnswers,
    build_prompt_set,
    parity_prompts,
)
from twin_resources.processes import progress_lines
from twin_resources.prompt.templates import DEFAULT_TEMPLATE

SERVED = -0.5  # log-probability of every token that the server reports


class Reference:
    """A reference that returns one log-probability for every token."""

    def __init__(self, says: float) -> None:
        self.says = says

    def log_probabilities(
        self,
        prompt: Sequence[Mapping[str, str]],
        tokens: Sequence[int],
        reported: Sequence[Collection[int]],
    ) -> list[dict[int, float]]:
        return [dict.fromkeys(wanted, self.says) for wanted in reported]


def compared(
    off_by: float, monkeypatch: pytest.MonkeyPatch, samples: pl.DataFrame
) -> tuple[CandidateAnswers, Parity | None, Model]:
    monkeypatch.setattr(parity, "ReferenceModel", lambda *_: Reference(SERVED - off_by))
    model = Model()
    monkeypatch.setattr(answer_batches, "max_concurrent_servers", lambda: 2)
    monkeypatch.setattr(progress_lines, "LOG_INTERVAL_S", 0.0)
    lines: list[str] = []
    progress = ProgressLines(lines.append)
    asked = samples.with_columns(context_chunk_ids=pl.lit([], pl.List(pl.String)))
    everything = build_prompt_set(
        asked, asked, template=DEFAULT_TEMPLATE, chunks={}, posts=(), questions=30
    )
    with AnswerBatches(
        everything, serve=model.serve, serve_base=Model().serve, progress=progress
    ) as batches:
        answers, found = compare_until_decided(
            replace(SPEC, template=DEFAULT_TEMPLATE.hash),
            parity_prompts(samples, samples.head(0), template=DEFAULT_TEMPLATE),
            batches,
            clock=Clock(),
            progress=progress,
        )
    # what is announced is made: each prompt is answered twice, and read at each look
    told = [line.removeprefix("progress ") for line in lines if line.startswith("progress ")]
    last = json.loads(told[-1]) if told else {"step": 0, "steps": 0}
    prompts = len(answers.prompts)
    looks = prompts + (FIRST_PARITY_PROMPTS if prompts > FIRST_PARITY_PROMPTS else 0)
    assert last["step"] == last["steps"] == 2 * prompts + looks
    return answers, found, model


@pytest.mark.parametrize(("off_by", "prompts"), [
    (0.0, 8),  # as it is where all is well
    (0.12, 8),  # rows in the wrong order
    (0.004, 20),  # near enough to the limit for eight not to tell
])  # fmt: skip
def test_only_as_many_prompts_are_asked_as_decide(
    off_by: float, prompts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, found, model = compared(off_by, monkeypatch, passages())

    assert found is not None
    assert (found.prompts, len(model.started)) == (prompts, 2)
    assert found.mean == pytest.approx(off_by)
    assert len(answers.prompts) == len(answers.first) == len(answers.repeated) == prompts
    assert [one.text for one in answers.first] == [
        prompt[-1]["content"] for prompt in answers.prompts
    ]
    assert not is_undecided(found)


def test_no_server_starts_without_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, found, model = compared(0.0, monkeypatch, passages().head(0))

    assert (answers.prompts, found, model.started) == ([], None, [])


def test_all_of_a_few_samples_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    _, found, model = compared(0.004, monkeypatch, passages().head(6))

    assert found is not None
    assert (found.prompts, len(model.started)) == (6, 1)


def found_by(mean: float, *, prompts: int = FIRST_PARITY_PROMPTS, largest: float = 0.01) -> Parity:
    return Parity(prompts, 100 * prompts, mean, largest, by_prompt=(mean,) * prompts)


@pytest.mark.parametrize(
    ("found", "left_open"),
    [
        (found_by(0.002), False),  # as measured where all is well
        (found_by(0.004), True),  # near enough to the limit for eight prompts not to tell
        (found_by(0.004, prompts=20), False),
        (found_by(0.012), True),
        (found_by(0.12, largest=0.9), False),  # an adapter whose rows are in the wrong order
        (found_by(0.002, largest=PARITY_LARGEST), False),  # one such difference refuses at once
        (found_by(math.nan), False),
    ],
)
def test_more_prompts_are_asked_if_eight_do_not_decide(found: Parity, left_open: bool) -> None:
    assert is_undecided(found) is left_open


def test_one_outlying_prompt_does_not_decide_alone() -> None:
    means = (0.04,) + (0.002,) * 7
    mixed = replace(found_by(0.002), by_prompt=means)

    assert is_undecided(mixed), "its mean is below the limit, and it is asked again"
