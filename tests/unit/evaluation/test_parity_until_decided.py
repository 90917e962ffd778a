"""After how many prompts parity is known, by a server that answers with the question itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import polars as pl
import pytest

from tests.unit.evaluation.likelihood.test_losses import passages
from tests.unit.evaluation.served.test_served_model import Model
from tests.unit.evaluation.test_evaluation_spec import QUESTION
from twin_assets.evaluation.measures.served_parity import is_open
from twin_assets.evaluation.parity_until_decided import compare_until_decided
from twin_assets.evaluation.progress import Clock, ProgressLines
from twin_assets.evaluation.served import parity
from twin_assets.evaluation.served.parity import Parity
from twin_assets.evaluation.served.served_answers import CandidateAnswers
from twin_resources.models.serving.model_server_process import servers_at_once
from twin_resources.prompt.templates import DEFAULT_TEMPLATE

SERVED = -0.5  # log-probability of every token that the server reports


class Reference:
    """Says the same of every token."""

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
    monkeypatch.setattr(parity, "Reference", lambda *_: Reference(SERVED - off_by))
    model = Model()
    answers, found = compare_until_decided(
        replace(QUESTION, template=DEFAULT_TEMPLATE.hash),
        samples,
        samples.head(0),
        serve=model.serve,
        clock=Clock(),
        progress=ProgressLines(lambda _line: None),
    )
    return answers, found, model


@pytest.mark.parametrize(("off_by", "prompts", "starts"), [
    (0.0, 8, 1),  # as it is where all is well
    (0.12, 8, 1),  # rows in the wrong order
    (0.004, 20, 2),  # near enough to the limit for eight not to tell
])  # fmt: skip
def test_as_many_prompts_are_asked_as_tell(
    off_by: float, prompts: int, starts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, found, model = compared(off_by, monkeypatch, passages())

    assert found is not None
    assert (found.prompts, len(model.started)) == (prompts, starts * servers_at_once())
    assert found.mean == pytest.approx(off_by)
    assert len(answers.prompts) == len(answers.first) == len(answers.again) == prompts
    assert [one.text for one in answers.first] == [
        prompt[-1]["content"] for prompt in answers.prompts
    ]
    assert not is_open(found)


def test_no_sample_is_no_prompt_and_starts_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, found, model = compared(0.0, monkeypatch, passages().head(0))

    assert (answers.prompts, found, model.started) == ([], None, [])


def test_where_there_are_few_samples_all_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    _, found, model = compared(0.004, monkeypatch, passages().head(6))

    assert found is not None
    assert (found.prompts, len(model.started)) == (6, servers_at_once())
