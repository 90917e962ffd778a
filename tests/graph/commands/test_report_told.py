"""What `twin up` says once the gate's report on a first model is there."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from twin_cli.commands.clock import StageClock
from twin_cli.commands.outcome import StackOutcome, TrainingOutcome, open_registry
from twin_cli.commands.training import report_completed_gate

from twin_resources.registry.registry import GateClaim, Registry, Verdict
from twin_resources.settings import Settings, load_settings

FIRST = GateClaim("beats_base_model", True, 0.8, 1.0, "better")
LATER = GateClaim("keeps_the_basics", True, 1.0, 1.05, "kept")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TWIN_HOME", str(tmp_path))
    return load_settings(tmp_path)


def verdict(*claims: GateClaim, checkpoint: str = "h1") -> Verdict:
    outcome = "passed" if all(claim.passed for claim in claims) else "failed"
    return Verdict("ada", checkpoint, "gate", outcome, claims, "2026-01-01T00:00:00+00:00")


def released(registry: Registry) -> TrainingOutcome:
    found = verdict(FIRST)
    registry.record_verdict(found)
    return TrainingOutcome(StackOutcome.TUNED, found)


def told(settings: Settings, ending: TrainingOutcome) -> tuple[TrainingOutcome | None, str]:
    file = io.StringIO()
    left = report_completed_gate(settings, ending, clock=StageClock(Console(file=file, width=120)))
    return left, file.getvalue()


def test_nothing_is_said_until_the_whole_verdict_is_there(settings: Settings) -> None:
    registry = open_registry(settings)
    ending = released(registry)

    assert told(settings, ending) == (ending, "")
    registry.record_verdict(verdict(FIRST, LATER, checkpoint="of another version"))
    assert told(settings, ending) == (ending, "")
    registry.record_verdict(verdict(FIRST, LATER))

    left, said = told(settings, ending)
    assert left is None, "there is nothing more to come"
    assert "2 of 2 claims hold" in said


def test_a_release_that_was_taken_back_is_said_with_its_reason(settings: Settings) -> None:
    registry = open_registry(settings)
    ending = released(registry)
    registry.record_verdict(
        verdict(FIRST, GateClaim("keeps_the_basics", False, 1.2, 1.05, "it forgot to add"))
    )

    left, said = told(settings, ending)

    assert left is None
    assert "the release was reversed" in said
    assert "not: keeps the basics" in said
    assert "it forgot to add" not in said, "figures stand in the long form"


def test_what_was_never_released_has_no_report_to_wait_for(settings: Settings) -> None:
    assert told(settings, TrainingOutcome(StackOutcome.REFUSED)) == (None, "")
