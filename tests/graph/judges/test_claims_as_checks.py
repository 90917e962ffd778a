"""Test claims as asset checks: only a claim that is met passes; an advisory one warns."""

from __future__ import annotations

import dagster as dg
import pytest

from twin_assets.evaluation.checkpoint_evaluation import build_claim_check, checkpoint_evaluation
from twin_resources.authors.answer_forms import AnswerSetting
from twin_resources.registry.moves import GateClaim


@pytest.mark.parametrize(("met", "passed"), [(True, True), (False, False), (None, False)])
def test_a_deciding_claim_passes_only_when_it_is_met(met: bool | None, passed: bool) -> None:
    check = build_claim_check(
        GateClaim("beats_base_model", met, 0.9, 1.0, "better by 10 %"), "c" * 64
    )

    assert check.passed is passed
    assert check.severity is dg.AssetCheckSeverity.ERROR
    assert check.description == "better by 10 %"
    assert check.metadata["decided"].value is (met is not None)


@pytest.mark.parametrize("answer", ["auto", "quote", "quote_and_voice", "voice"])
def test_a_claim_about_prose_fails_only_for_answers_in_prose(answer: AnswerSetting) -> None:
    claim = GateClaim("says_what_the_posts_say", False, 0.5, 0.2, "50 of 100", blocks="voice")

    check = build_claim_check(claim, "c" * 64, answer=answer)

    assert not check.passed
    is_error = answer == "voice"
    expected = dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN
    assert check.severity is expected
    assert check.metadata["blocks"].value == "prose"
    text = f"advisory: it blocks only prose, and this author's `answer` is {answer}; not met: "
    assert check.description == ("" if is_error else text) + "50 of 100"


def test_a_claim_about_prose_never_blocks_a_release() -> None:
    specs = {
        check_spec.name: check_spec.blocking for check_spec in checkpoint_evaluation.check_specs
    }

    assert specs.pop("says_what_the_posts_say") is False
    assert all(specs.values())


@pytest.mark.parametrize(
    ("met", "text"), [(True, "; met: "), (False, "; not met: "), (None, "; not decided: ")]
)
def test_an_advisory_claim_passes_only_when_it_is_met(met: bool | None, text: str) -> None:
    claim = GateClaim("keeps_following_instructions", met, -0.2, -0.1, "8 of 50")

    check = build_claim_check(claim, "c" * 64, is_advisory=True)

    assert check.passed is (met is True)
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert check.description is not None
    assert f"measured on request, prevents no release{text}8 of 50" == check.description
    assert check.metadata["met"].value is (met is True)
