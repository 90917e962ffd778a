"""Test which servers answer a batch. Test servers answer with the question itself."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest

from tests.unit.evaluation.served.test_answer_measures import build_prompts, samples, writers
from tests.unit.evaluation.served.test_served_model import FakeModel
from twin_assets.evaluation.served import answer_batches
from twin_assets.evaluation.served.answer_batches import AnswerBatches
from twin_assets.evaluation.served.served_answers import (
    ANSWER_TOKENS,
    PARITY_TOKENS,
    CandidateAnswers,
)
from twin_resources.processes.progress_lines import ProgressLines

__all__ = ["samples", "writers"]  # fixtures


@pytest.mark.parametrize("cores", [1, 2])
def test_the_candidate_uses_both_cores_if_the_base_is_not_asked(
    samples: pl.DataFrame, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_batches, "max_concurrent_servers", lambda: cores)
    prompts, candidate, base = (
        build_prompts(samples, question_count=40),
        FakeModel(delay_s=0.02),
        FakeModel(),
    )
    progress = ProgressLines(lambda _line: None)

    with AnswerBatches(
        prompts, serve=candidate.serve, serve_base=base.serve, progress=progress
    ) as batches:
        parity = CandidateAnswers()
        batches.ask_twice([prompts.prompts[index] for index in range(12, 20)], parity)
        batches.ask(range(8))
        batches.ask(range(8, 12))  # too few to start another server
        assert len(candidate.servers) == cores
        assert base.servers == []

    assert batches.answers.candidate.keys() == set(range(12))
    assert len(parity.first_answers) == len(parity.repeated_answers) == 8
    texts = Counter(text for server in candidate.servers for text, _ in server.requests)
    questions = [prompts.prompts[index][-1]["content"] for index in range(20)]
    assert texts == Counter([*questions, *questions[12:]])
    assert all(server.requests for server in candidate.servers)
    # a repeated prompt is asked twice on one server, whose cache has its tokens
    for server in candidate.servers:
        max_tokens = {
            text: [limit for question, limit in server.requests if question == text]
            for text, _ in server.requests
        }
        assert all(
            limits in ([ANSWER_TOKENS], [ANSWER_TOKENS, PARITY_TOKENS])
            for limits in max_tokens.values()
        )


def test_a_second_candidate_server_stops_when_the_base_is_asked(
    samples: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_batches, "max_concurrent_servers", lambda: 2)
    prompts, candidate, base = (
        build_prompts(samples, question_count=40),
        FakeModel(delay_s=0.02),
        FakeModel(),
    )
    progress = ProgressLines(lambda _line: None)

    with AnswerBatches(
        prompts, serve=candidate.serve, serve_base=base.serve, progress=progress
    ) as batches:
        batches.ask(range(8))
        servers = list(candidate.servers)  # two threads start them, so either may be the second
        counts_before = [len(server.requests) for server in servers]
        batches.ask(range(8, 20), base_positions=range(4))
        new_counts = [
            len(server.requests) - count
            for server, count in zip(servers, counts_before, strict=True)
        ]
        assert sorted(new_counts) == [0, 12], "one of two servers must have stopped"
        batches.ask(range(20, 30))
        assert len(candidate.servers) == 3, "the stopped server must be started again"
        assert len(base.servers) == 1

    assert batches.answers.base.keys() == set(range(4))
    assert batches.answers.candidate.keys() == set(range(30))
