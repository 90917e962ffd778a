"""Test which outcome a training run has: tuned, refused or failed."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from twin_cli.commands.outcome import OutcomeCode, determine_outcome, list_refusal_reasons
from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.training import plot_styles

from tests.model_versions import build_version
from tests.unit.judges.test_voice_figures import FIGURES
from twin_resources.quality.judges.voice_shown import (
    VOICE_FIGURES_FILE,
    render_bars,
    write_voice_figures,
)
from twin_resources.registry.moves import GateClaim, Outcome, Verdict
from twin_resources.settings import Settings

VERSION = build_version(author="jose")
CLAIM = GateClaim("beats_base_model", False, 33.1, 32.4, "perplexity of the candidate, of the base")


def make_verdict(outcome: Outcome, *claims: GateClaim) -> Verdict:
    return Verdict("jose", "c", "1", outcome, claims, "2026-01-01T00:00:00+00:00")


@pytest.mark.parametrize(
    ("status", "verdict_outcome", "is_fresh", "is_released", "failed_checks", "expected"),
    [
        ("SUCCESS", "passed", True, True, (), OutcomeCode.TUNED),
        ("SUCCESS", "passed", False, True, (), OutcomeCode.TUNED),  # the same data, already judged
        ("FAILURE", "failed", True, False, ("beats_base_model",), OutcomeCode.REFUSED),
        ("FAILURE", "not_decided", True, False, (), OutcomeCode.REFUSED),
        # The former version stays released.
        ("FAILURE", "failed", True, True, (), OutcomeCode.REFUSED),
        ("FAILURE", None, False, False, ("no_leakage_across_splits",), OutcomeCode.REFUSED),
        # An earlier pass does not hide the failure.
        ("FAILURE", "passed", False, True, (), OutcomeCode.FAILED),
        ("FAILURE", "failed", False, False, (), OutcomeCode.FAILED),
        ("FAILURE", None, False, False, (), OutcomeCode.FAILED),
        ("CANCELED", None, False, False, (), OutcomeCode.FAILED),
        ("SUCCESS", "passed", True, False, (), OutcomeCode.FAILED),  # nothing was released
    ],
)
def test_status_verdict_and_version_determine_the_outcome(
    status: str,
    verdict_outcome: Outcome | None,
    is_fresh: bool,
    is_released: bool,
    failed_checks: tuple[str, ...],
    expected: OutcomeCode,
) -> None:
    outcome = determine_outcome(
        status,
        verdict=make_verdict(verdict_outcome, CLAIM) if verdict_outcome else None,
        verdict_is_fresh=is_fresh,
        version=VERSION if is_released else None,
        failed_checks=failed_checks,
    )
    assert outcome.code is expected
    assert outcome.code is OutcomeCode.TUNED or outcome.reasons


def test_a_refusal_names_the_claim_and_its_figures() -> None:
    undecided = GateClaim("enough_held_out", None, 12.0, 30.0, "held-out passages")
    passed = GateClaim("template_hash_matches", True, None, None, "")
    reasons = list_refusal_reasons(make_verdict("failed", passed, CLAIM, undecided))
    assert reasons == [
        "beats_base_model: refused (33.1, required 32.4). perplexity of the candidate, of the base",
        "enough_held_out: not decided (12, required 30). held-out passages",
    ]
    assert list_refusal_reasons(None, ["no_leakage"]) == ["the check no_leakage failed"]


def test_a_failure_keeps_its_first_cause() -> None:
    outcome = determine_outcome(
        "FAILURE", verdict=None, verdict_is_fresh=False, version=None, failures=("no space left",)
    )
    assert outcome.reasons == ("no space left",)


@pytest.mark.parametrize("verdict_outcome", ["passed", "failed"])
def test_after_a_verdict_the_voice_is_plotted_as_bars(
    home: Settings, verdict_outcome: Outcome
) -> None:
    output = io.StringIO()
    display = ProgressDisplay(Console(file=output, width=200), verbose=True)
    outcome = determine_outcome(
        "SUCCESS",
        verdict=make_verdict(verdict_outcome, CLAIM),
        verdict_is_fresh=True,
        version=VERSION,
    )
    plot_styles(home, outcome, display=display)
    assert output.getvalue() == "", "the report is made afterwards"

    path = home.checkpoints_dir / "jose" / "c" / "evaluation" / VOICE_FIGURES_FILE
    path.parent.mkdir(parents=True)
    write_voice_figures(path, FIGURES, author="jose", checkpoint="c")
    plot_styles(home, outcome, display=display)

    for line in render_bars(FIGURES):
        assert line in output.getvalue()
