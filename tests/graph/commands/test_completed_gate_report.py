"""Test the message of `twin up` when the gate's report on a first model is complete."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from twin_cli.commands.outcome import OutcomeCode, TrainingOutcome, open_registry
from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.training import report_completed_gate

from twin_resources.registry.moves import GateClaim, Verdict
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings, load_settings

FIRST = GateClaim("beats_base_model", True, 0.8, 1.0, "better")
LATER = GateClaim("keeps_the_basics", True, 1.0, 1.05, "kept")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TWIN_HOME", str(tmp_path))
    return load_settings(tmp_path)


def make_verdict(*claims: GateClaim, checkpoint: str = "h1") -> Verdict:
    outcome = "passed" if all(claim.passed for claim in claims) else "failed"
    return Verdict("ada", checkpoint, "gate", outcome, claims, "2026-01-01T00:00:00+00:00")


def record_release(registry: Registry) -> TrainingOutcome:
    first_verdict = make_verdict(FIRST)
    registry.record_verdict(first_verdict)
    return TrainingOutcome(OutcomeCode.TUNED, first_verdict)


def run_report(settings: Settings, outcome: TrainingOutcome) -> tuple[TrainingOutcome | None, str]:
    file = io.StringIO()
    awaited_outcome = report_completed_gate(
        settings, outcome, display=ProgressDisplay(Console(file=file, width=120))
    )
    return awaited_outcome, file.getvalue()


def test_no_message_is_printed_before_the_complete_verdict(settings: Settings) -> None:
    registry = open_registry(settings)
    outcome = record_release(registry)

    assert run_report(settings, outcome) == (outcome, "")
    registry.record_verdict(make_verdict(FIRST, LATER, checkpoint="of another version"))
    assert run_report(settings, outcome) == (outcome, "")
    registry.record_verdict(make_verdict(FIRST, LATER))

    awaited_outcome, message = run_report(settings, outcome)
    assert awaited_outcome is None, "the outcome is still awaited"
    assert "2 of 2 claims passed" in message


def test_a_reverted_release_is_reported_with_its_claims(settings: Settings) -> None:
    registry = open_registry(settings)
    outcome = record_release(registry)
    registry.record_verdict(
        make_verdict(FIRST, GateClaim("keeps_the_basics", False, 1.2, 1.05, "it forgot to add"))
    )

    awaited_outcome, message = run_report(settings, outcome)

    assert awaited_outcome is None
    assert "the release was reverted" in message
    assert "not met: keeps the basics" in message
    assert "it forgot to add" not in message, "the short message contains the figures"


def test_a_refused_version_has_no_report_to_wait_for(settings: Settings) -> None:
    assert run_report(settings, TrainingOutcome(OutcomeCode.REFUSED)) == (None, "")
