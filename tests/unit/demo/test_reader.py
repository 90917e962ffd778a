"""The demo's reader asks until so many answers are the version's that is to be certified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from twin_cli.commands.demo import reader as module
from twin_cli.commands.demo.reader import RatedAnswer, SimulatedReader

from twin_resources.authors import Author
from twin_resources.processes.endpoints import Endpoints
from twin_resources.settings import Settings

NOWHERE = "http://127.0.0.1:1"
ENDPOINTS = Endpoints(
    "", NOWHERE, f"{NOWHERE}/v1", "", ("twin/mara",), NOWHERE, "", "", "", pids={}
)


@dataclass
class Answering:
    """Who answers the questions, in turn."""

    versions: Sequence[str]

    def reader(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> SimulatedReader:
        def scored(_: SimulatedReader, number: int) -> RatedAnswer:
            version = self.versions[number % len(self.versions)]
            return RatedAnswer(f"question {number}", version, f"trace {number}", 0.8)

        monkeypatch.setattr(module, "held_out_questions", lambda settings, author: [])
        monkeypatch.setattr(SimulatedReader, "_ask_and_score", scored)
        return SimulatedReader(Settings(home=home), ENDPOINTS, Author(slug="mara", name="Mara"))


def test_answers_of_nobody_do_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[RatedAnswer] = []
    reader = Answering(["v1", "v1", "quotes"]).reader(monkeypatch, tmp_path)
    rated = reader.read_until_version("v1", 10, on_score=seen.append)
    assert [one.version for one in rated].count("v1") == 10
    assert seen == rated
    assert len(rated) == 14


def test_it_gives_up_after_twice_as_many(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reader = Answering(["quotes"]).reader(monkeypatch, tmp_path)
    assert len(reader.read_until_version("v1", 5, on_score=lambda scored: None)) == 10
