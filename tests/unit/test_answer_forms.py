"""Which form an answer gets where the wanted one is not released."""

from __future__ import annotations

import pytest

from twin_resources.authors.answer_forms import ANSWER_FORMS, QUOTING_FORMS, AnswerForm, given_form
from twin_resources.registry.moves import GateClaim, released_for


@pytest.mark.parametrize("wanted", ANSWER_FORMS)
def test_a_version_released_for_everything_gives_what_is_wanted(wanted: AnswerForm) -> None:
    assert given_form(wanted, ANSWER_FORMS, version="v3") == (wanted, "")


@pytest.mark.parametrize("version", ["v3", "base"])
def test_voice_falls_back_to_quotations_and_says_so(version: str) -> None:
    form, degraded = given_form("voice", QUOTING_FORMS, version=version)

    assert form == "quote_and_voice"
    assert degraded == f"{version} is not released for voice: quote_and_voice is given"
    assert given_form("quote", QUOTING_FORMS, version=version) == ("quote", "")


def test_a_verdict_without_a_claim_about_prose_releases_quotations_alone() -> None:
    gate = GateClaim("beats_base_model", True, 0.7, 1.0, "")
    met, unmet, open_one = (
        GateClaim("says_what_the_posts_say", passed, 0.1, 0.2, "", blocks="voice")
        for passed in (True, False, None)
    )

    assert released_for([gate]) == QUOTING_FORMS
    assert released_for([gate, met]) == ANSWER_FORMS
    assert released_for([gate, unmet]) == released_for([gate, open_one]) == QUOTING_FORMS
