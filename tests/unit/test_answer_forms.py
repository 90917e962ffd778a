"""Test which form an answer takes, and which claims of the gate release prose."""

from __future__ import annotations

import pytest

from twin_resources.authors.answer_forms import (
    ANSWER_FORMS,
    NOT_MEASURED_REASON,
    QUOTE_ONLY,
    AnswerForm,
    AnswerSetting,
    ProseRelease,
    SentenceThreshold,
    resolve_form,
)
from twin_resources.registry.moves import GateClaim, prose_release

RELEASED, FAILED, FORCED = ProseRelease(""), ProseRelease("so"), ProseRelease("so", forced=True)


@pytest.mark.parametrize(
    ("setting", "released", "failed", "forced"),
    [
        ("auto", "quote_and_voice", "quote", "quote"),
        ("quote_and_voice", "quote_and_voice", "quote", "quote"),
        ("voice", "voice", "quote", "voice"),
        ("quote", "quote", "quote", "quote"),
    ],
)
def test_the_form_depends_on_the_setting_and_the_release(
    setting: AnswerSetting, released: AnswerForm, failed: AnswerForm, forced: AnswerForm
) -> None:
    forms = [resolve_form(setting, release) for release in (RELEASED, FAILED, FORCED)]
    assert forms == [released, failed, forced]


def test_a_met_claim_about_prose_releases_prose() -> None:
    gate = GateClaim("gate", True, 1.0, 1.0, "")
    cut = SentenceThreshold("judge", 0.4)

    def prose_claim(passed: bool | None, value: float | None) -> GateClaim:
        return GateClaim("says_what_the_posts_say", passed, value, 0.1, "", blocks="voice", cut=cut)

    assert prose_release([gate]) == ProseRelease(NOT_MEASURED_REASON)
    assert prose_release([gate]).forms == QUOTE_ONLY
    met = prose_release([gate, prose_claim(True, 0.1)])
    assert (met.forms, met.cut, met.description) == (ANSWER_FORMS, cut, "quotations and prose")
    unmet = prose_release([gate, prose_claim(False, 0.92)])
    assert unmet.why_not == "92 % of sentences unsupported, limit 10 %"
    assert unmet.description == f"quotations alone: {unmet.why_not}"
    undecided = prose_release([gate, prose_claim(None, 0.15)])
    assert "15 % of sentences unsupported" in undecided.why_not
    assert prose_release([gate, prose_claim(None, None)]).why_not == NOT_MEASURED_REASON
