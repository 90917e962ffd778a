"""Test which servers answer a batch; test servers answer with the question itself."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest

from tests.unit.evaluation.served.test_answer_measures import build_prompts, samples, writers
from tests.unit.evaluation.served.test_served_model import Model
from twin_assets.evaluation.progress import ProgressLines
from twin_assets.evaluation.served import answer_batches
from twin_assets.evaluation.served.answer_batches import AnswerBatches
from twin_assets.evaluation.served.served_answers import ANSWER_TOKENS, PARITY_TOKENS

__all__ = ["samples", "writers"]  # fixtures


@pytest.mark.parametrize("cores", [1, 2])
def test_the_candidate_uses_both_cores_if_the_base_is_not_asked(
    samples: pl.DataFrame, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_batches, "max_concurrent_servers", lambda: cores)
    prompts, candidate, base = build_prompts(samples, questions=40), Model(seconds=0.02), Model()
    progress = ProgressLines(lambda _line: None)

    with AnswerBatches(
        prompts, serve=candidate.serve, serve_base=base.serve, progress=progress
    ) as asked:
        twice = asked.ask_twice([prompts.prompts[at] for at in range(12, 20)])
        asked.ask(range(8))
        asked.ask(range(8, 12))  # too few to start a server for, and it runs
        assert len(candidate.started) == cores
        assert base.started == []

    assert asked.answers.candidate.keys() == set(range(12))
    assert len(twice.first) == len(twice.repeated) == 8
    texts = Counter(text for server in candidate.started for text, _ in server.asked)
    questions = [prompts.prompts[at][-1]["content"] for at in range(20)]
    assert texts == Counter([*questions, *questions[12:]])
    assert all(server.asked for server in candidate.started)
    for server in candidate.started:  # the second answer comes from the cache of the first
        tokens = {
            text: [most for one, most in server.asked if one == text] for text, _ in server.asked
        }
        assert all(
            most in ([ANSWER_TOKENS], [ANSWER_TOKENS, PARITY_TOKENS]) for most in tokens.values()
        )


def test_the_base_gets_its_core_back(
    samples: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_batches, "max_concurrent_servers", lambda: 2)
    prompts, candidate, base = build_prompts(samples, questions=40), Model(seconds=0.02), Model()
    progress = ProgressLines(lambda _line: None)

    with AnswerBatches(
        prompts, serve=candidate.serve, serve_base=base.serve, progress=progress
    ) as asked:
        asked.ask(range(8))
        servers = list(candidate.started)  # two threads start them: either may be the one that ends
        before = [len(server.asked) for server in servers]
        asked.ask(range(8, 20), base_positions=range(4))
        more = [len(server.asked) - was for server, was in zip(servers, before, strict=True)]
        assert sorted(more) == [0, 12], "one has ended"
        asked.ask(range(20, 30))
        assert len(candidate.started) == 3, "and is started again"
        assert len(base.started) == 1

    assert asked.base.keys() == set(range(4))
    assert asked.candidate.keys() == set(range(30))
