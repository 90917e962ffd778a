"""The tab Before | after in a real browser: two conversations, and a blind vote."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.live.chat.conftest import WAIT_MS, SlowGateway, ask, box, free, needs_browser

pytestmark = [needs_browser, pytest.mark.drawn(3, of="the comparison page")]


@pytest.fixture
def both(tab: Any) -> Any:
    tab.get_by_role("tab", name="Before | after").click()
    box(tab, view="compare").wait_for(timeout=WAIT_MS)
    return tab


def answered(tab: Any, *, count: int = 1) -> None:
    """Wait until both sides have that many answers."""
    free(tab, view="compare")
    tab.wait_for_function(
        "[0, 1].every((side) => document.querySelectorAll("
        f"`#side-${{side}} .bot.message:not(.component)`).length === {count})",
        timeout=WAIT_MS,
    )


def test_both_answer_and_neither_reads_the_other(both: Any, slow_gateway: SlowGateway) -> None:
    ask(both, "How much oil?", view="compare")
    answered(both)
    ask(both, "And brass?", view="compare")
    answered(both, count=2)
    for model in ("base", "stable"):
        told = [
            messages
            for asked, messages in zip(
                slow_gateway.noted("asked"), slow_gateway.noted("messages"), strict=True
            )
            if asked == f"twin/ann@{model}"
        ]
        first, second = told
        assert [turn["content"] for turn in first] == ["How much oil?"]
        assert [turn["role"] for turn in second] == ["user", "assistant", "user"]
        assert second[1]["content"].startswith("As an AI" if model == "base" else "A clock asks")
    assert "the base model · $0.000034" in both.locator("#side-0").inner_text()
    assert "version 1 · $0.000034" in both.locator("#side-1").inner_text()
    assert both.locator("#votes").count() == 0 or not both.locator("#votes").is_visible()
    assert both.locator("#voice img").count() == 1


def test_a_blind_vote_rejects_the_other_answer(
    both: Any, slow_gateway: SlowGateway, picture: Callable[..., None]
) -> None:
    both.get_by_label("Blind", exact=False).check()
    for number in (1, 2):
        ask(both, "How much slow oil?" if number == 1 else "And brass?", view="compare")
        if number == 1:  # the quicker one would give itself away
            time.sleep(1.5)
            assert "clock" not in both.locator("#sides").inner_text()
        both.locator("#prefer-0").wait_for(timeout=WAIT_MS)
        shown = both.locator("#sides").inner_text()
        assert "Answer A" in shown
        assert "the tuned model" not in shown
        assert "the base model" not in shown
        assert "$0.00" not in shown
        if number == 1:
            picture(both, "page-blind")
        free(both, view="compare")
        first = "base" if "As an AI" in both.locator("#side-0").inner_text() else "stable"
        both.locator("#prefer-0").click()
        *_, vote = slow_gateway.wait_for("feedback", count=number)
        both.locator("#compare-notice .twin-notice").wait_for(timeout=WAIT_MS)
        assert "Answer B is rejected" in both.locator("#compare-notice").inner_text()
        traces = slow_gateway.noted("trace")[-2:]
        by_model = {row["model"].rpartition("@")[2]: row["id"] for row in traces}
        other = "stable" if first == "base" else "base"
        assert vote == {"trace_id": by_model[other], "preferred": by_model[first]}
        named = both.locator("#side-0").inner_text()
        assert ("the base model" if first == "base" else "the tuned model") in named
    # blind, each question stands alone
    assert {len(messages) for messages in slow_gateway.noted("messages")} == {1}


def test_no_difference_is_no_vote(both: Any, slow_gateway: SlowGateway) -> None:
    both.get_by_label("Blind", exact=False).check()
    ask(both, "How much oil?", view="compare")
    both.locator("#prefer-none").wait_for(timeout=WAIT_MS)
    both.locator("#prefer-none").click()
    both.locator("#compare-notice .twin-notice").wait_for(timeout=WAIT_MS)
    assert slow_gateway.noted("feedback") == []


def test_stop_ends_both(both: Any, slow_gateway: SlowGateway) -> None:
    ask(both, "stuck for ever", view="compare")
    both.locator("#compare-stop").wait_for(timeout=WAIT_MS)
    slow_gateway.wait_for("trace", count=2)
    both.locator("#compare-stop").click()
    free(both, view="compare")
    assert slow_gateway.wait_for("left", count=2) == ["stuck for ever"] * 2


def test_one_that_fails_leaves_the_other_and_no_vote(both: Any) -> None:
    both.get_by_label("Blind", exact=False).check()
    ask(both, "Please fail.", view="compare")
    both.locator("#compare-notice .twin-bad").wait_for(timeout=WAIT_MS)
    assert "no answer for <author> today" in both.locator("#compare-notice").inner_text()
    assert both.locator("#prefer-0").count() == 0 or not both.locator("#prefer-0").is_visible()


def test_the_sides_stand_one_below_the_other_on_a_telephone(both: Any) -> None:
    both.set_viewport_size({"width": 390, "height": 844})
    ask(both, "How much oil?", view="compare")
    answered(both)
    first, second = (both.locator(f"#side-{side}").bounding_box() for side in (0, 1))
    assert second["y"] >= first["y"] + first["height"]
    assert both.evaluate("document.documentElement.scrollWidth") <= 390
