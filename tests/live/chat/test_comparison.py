"""Test the Before | after tab in a real browser: two conversations, and a blind vote."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.live.chat.conftest import (
    WAIT_MS,
    SlowGateway,
    ask,
    needs_browser,
    question_box,
    wait_until_free,
)

pytestmark = needs_browser


@pytest.fixture
def compare_tab(tab: Any) -> Any:
    tab.get_by_role("tab", name="Before | after").click()
    question_box(tab, view="compare").wait_for(timeout=WAIT_MS)
    return tab


def wait_for_both(tab: Any, *, count: int = 1) -> None:
    """Wait until both sides have `count` answers."""
    wait_until_free(tab, view="compare")
    tab.wait_for_function(
        "[0, 1].every((side) => document.querySelectorAll("
        f"`#side-${{side}} .bot.message:not(.component)`).length === {count})",
        timeout=WAIT_MS,
    )


def test_each_side_has_a_separate_conversation(compare_tab: Any, slow_gateway: SlowGateway) -> None:
    ask(compare_tab, "How much oil?", view="compare")
    wait_for_both(compare_tab)
    ask(compare_tab, "And brass?", view="compare")
    wait_for_both(compare_tab, count=2)
    for model in ("base", "stable"):
        conversations = [
            messages
            for asked, messages in zip(
                slow_gateway.read_logged("asked"), slow_gateway.read_logged("messages"), strict=True
            )
            if asked == f"twin/ann@{model}"
        ]
        first, second = conversations
        assert [turn["content"] for turn in first] == ["How much oil?"]
        assert [turn["role"] for turn in second] == ["user", "assistant", "user"]
        label, _, prose = second[1]["content"].partition("\n\n")
        assert "Written by a program, not by Ann Bell" in label
        assert prose.startswith("As an AI" if model == "base" else "A clock asks")
    assert "the base model · $0.000034" in compare_tab.locator("#side-0").inner_text()
    assert "version 1 · $0.000034" in compare_tab.locator("#side-1").inner_text()
    assert not compare_tab.locator("#votes").is_visible()
    assert compare_tab.locator("#voice img").count() == 1


def test_a_blind_vote_rejects_the_other_answer(
    compare_tab: Any, slow_gateway: SlowGateway, take_screenshot: Callable[..., None]
) -> None:
    compare_tab.get_by_label("Blind", exact=False).check()
    for number in (1, 2):
        ask(compare_tab, "How much slow oil?" if number == 1 else "And brass?", view="compare")
        if number == 1:  # a reader could recognize the faster model by when its first words appear
            time.sleep(1.5)
            assert "clock" not in compare_tab.locator("#sides").inner_text()
        compare_tab.locator("#prefer-0").wait_for(timeout=WAIT_MS)
        text = compare_tab.locator("#sides").inner_text()
        assert "Answer A" in text
        assert "the tuned model" not in text
        assert "the base model" not in text
        assert "$0.00" not in text
        if number == 1:
            take_screenshot(compare_tab, "page-blind")
        wait_until_free(compare_tab, view="compare")
        first = "base" if "As an AI" in compare_tab.locator("#side-0").inner_text() else "stable"
        compare_tab.locator("#prefer-0").click()
        *_, vote = slow_gateway.wait_for("feedback", count=number)
        compare_tab.locator("#compare-notice .twin-notice").wait_for(timeout=WAIT_MS)
        assert "Answer B is rejected" in compare_tab.locator("#compare-notice").inner_text()
        traces = slow_gateway.read_logged("trace")[-2:]
        trace_ids = {row["model"].rpartition("@")[2]: row["id"] for row in traces}
        other = "stable" if first == "base" else "base"
        assert vote == {"trace_id": trace_ids[other], "preferred": trace_ids[first]}
        revealed = compare_tab.locator("#side-0").inner_text()
        assert ("the base model" if first == "base" else "the tuned model") in revealed
    # in a blind comparison each question starts a new conversation
    assert {len(messages) for messages in slow_gateway.read_logged("messages")} == {1}


def test_no_difference_stores_no_vote(compare_tab: Any, slow_gateway: SlowGateway) -> None:
    compare_tab.get_by_label("Blind", exact=False).check()
    ask(compare_tab, "How much oil?", view="compare")
    compare_tab.locator("#prefer-none").wait_for(timeout=WAIT_MS)
    compare_tab.locator("#prefer-none").click()
    compare_tab.locator("#compare-notice .twin-notice").wait_for(timeout=WAIT_MS)
    assert slow_gateway.read_logged("feedback") == []


def test_stop_cancels_both_answers(compare_tab: Any, slow_gateway: SlowGateway) -> None:
    ask(compare_tab, "stuck for ever", view="compare")
    compare_tab.locator("#compare-stop").wait_for(timeout=WAIT_MS)
    slow_gateway.wait_for("trace", count=2)
    compare_tab.locator("#compare-stop").click()
    wait_until_free(compare_tab, view="compare")
    assert slow_gateway.wait_for("left", count=2) == ["stuck for ever"] * 2


def test_a_failed_side_shows_an_error_and_no_vote(compare_tab: Any) -> None:
    compare_tab.get_by_label("Blind", exact=False).check()
    ask(compare_tab, "Please fail.", view="compare")
    compare_tab.locator("#compare-notice .twin-bad").wait_for(timeout=WAIT_MS)
    assert "no answer for <author> today" in compare_tab.locator("#compare-notice").inner_text()
    assert not compare_tab.locator("#prefer-0").is_visible()


def test_the_sides_are_stacked_on_a_phone(compare_tab: Any) -> None:
    compare_tab.set_viewport_size({"width": 390, "height": 844})
    ask(compare_tab, "How much oil?", view="compare")
    wait_for_both(compare_tab)
    first, second = (compare_tab.locator(f"#side-{side}").bounding_box() for side in (0, 1))
    assert second["y"] >= first["y"] + first["height"]
    assert compare_tab.evaluate("document.documentElement.scrollWidth") <= 390
