"""Test that the demo's reader asks until enough answers come from the version under test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from twin_cli.commands.demo import reader as demo_reader
from twin_cli.commands.demo.reader import RatedAnswer, SimulatedReader

from twin_resources.authors import Author
from twin_resources.processes.endpoints import Endpoints
from twin_resources.settings import Settings

NOWHERE = "http://127.0.0.1:1"
ENDPOINTS = Endpoints(
    "", NOWHERE, f"{NOWHERE}/v1", "", ("twin/mara",), NOWHERE, "", "", "", pids={}
)


@dataclass
class StubbedAnswers:
    """The versions that answer the questions in turn."""

    versions: Sequence[str]

    def make_reader(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> SimulatedReader:
        def score_answer(_: SimulatedReader, number: int) -> RatedAnswer:
            version = self.versions[number % len(self.versions)]
            return RatedAnswer(f"question {number}", version, f"trace {number}", 0.8)

        monkeypatch.setattr(demo_reader, "read_held_out_questions", lambda settings, author: [])
        monkeypatch.setattr(SimulatedReader, "_ask_and_score", score_answer)
        return SimulatedReader(Settings(home=home), ENDPOINTS, Author(slug="mara", name="Mara"))


def test_the_reader_asks_until_enough_answers_come_from_a_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reported_answers: list[RatedAnswer] = []
    reader = StubbedAnswers(["v1", "v1", "quotes"]).make_reader(monkeypatch, tmp_path)

    def has_enough(answers: list[RatedAnswer]) -> bool:
        return [answer.version for answer in answers].count("v1") >= 10

    answers = reader.read(20, on_score=reported_answers.append, should_stop=has_enough)
    assert reported_answers == answers
    assert len(answers) == 14
    answers = reader.read(5, on_score=reported_answers.append, should_stop=lambda _: False)
    assert [answer.question for answer in answers] == [f"question {n}" for n in range(14, 19)]
