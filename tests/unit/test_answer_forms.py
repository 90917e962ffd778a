"""Which form an answer is given, and what the gate's claims release."""

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
    ("wanted", "released", "failed", "forced"),
    [
        ("auto", "quote_and_voice", "quote", "quote"),
        ("quote_and_voice", "quote_and_voice", "quote", "quote"),
        ("voice", "voice", "quote", "voice"),
        ("quote", "quote", "quote", "quote"),
    ],
)
def test_prose_is_given_where_it_is_released_and_alone_by_force_too(
    wanted: AnswerSetting, released: AnswerForm, failed: AnswerForm, forced: AnswerForm
) -> None:
    given = [resolve_form(wanted, release) for release in (RELEASED, FAILED, FORCED)]
    assert given == [released, failed, forced]


def test_a_claim_about_prose_that_is_met_releases_it() -> None:
    gate = GateClaim("gate", True, 1.0, 1.0, "")
    cut = SentenceThreshold("judge", 0.4)

    def about(passed: bool | None, value: float | None) -> GateClaim:
        return GateClaim("says_what_the_posts_say", passed, value, 0.2, "", blocks="voice", cut=cut)

    assert prose_release([gate]) == ProseRelease(NOT_MEASURED_REASON)
    assert prose_release([gate]).forms == QUOTE_ONLY
    met = prose_release([gate, about(True, 0.1)])
    assert (met.forms, met.cut, met.description) == (ANSWER_FORMS, cut, "quotations and prose")
    unmet = prose_release([gate, about(False, 0.92)])
    assert unmet.why_not == "92 % of sentences unsupported, limit 20 %"
    assert unmet.description == f"quotations alone: {unmet.why_not}"
    undecided = prose_release([gate, about(None, 0.15)])
    assert "15 % of sentences unsupported" in undecided.why_not
    assert prose_release([gate, about(None, None)]).why_not == NOT_MEASURED_REASON
