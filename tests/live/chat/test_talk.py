"""The tab Talk in a real browser: its former faults, each a test, and what it can do.

The gateway is a stand-in that writes as slowly as a test wants; `test_chat_page.py` has a real one.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.live.chat.conftest import (
    ANSWERS,
    NOTES,
    WAIT_MS,
    Page,
    SlowGateway,
    answered,
    ask,
    box,
    free,
    needs_browser,
    press_enter,
    ready,
)
from tests.live.chat.standing_in import MARKED, QUOTED, TUNED, UNSUPPORTED

pytestmark = [needs_browser, pytest.mark.drawn(8, of="the chat page")]
NOTICE = "#notice .twin-notice"


def test_what_is_typed_while_an_answer_streams_stays(tab: Any, slow_gateway: SlowGateway) -> None:
    """It was erased with every piece of the answer; Enter meanwhile sends nothing and keeps it."""
    ask(tab, "How slow is oil?")
    tab.locator("#stop").wait_for(timeout=WAIT_MS)
    box(tab).press_sequentially("And what of brass?", delay=60)
    box(tab).press("Enter")
    answered(tab)
    assert box(tab).input_value() == "And what of brass?"
    assert slow_gateway.noted("asked") == ["twin/ann"]
    press_enter(tab)
    answered(tab, count=2)
    assert box(tab).input_value() == ""
    assert slow_gateway.noted("messages")[1][-1]["content"] == "And what of brass?"


def test_a_question_before_the_authors_are_known_waits(
    slow_page: Page, slow_gateway: SlowGateway, browser: Any
) -> None:
    """It asked for `twin/None`; now nothing is sent and the text stays."""
    slow_gateway.forget()
    slow_gateway.delay_models(120.0)
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(slow_page.link())
    box(tab).wait_for(timeout=WAIT_MS)
    assert tab.evaluate("document.body.dataset.ready") is None
    ask(tab, "How much oil?")
    tab.locator("#send").click()
    time.sleep(0.5)
    assert slow_gateway.noted("asked") == []
    slow_gateway.delay_models(0.0)
    ready(tab)
    assert box(tab).input_value() == "How much oil?"
    press_enter(tab)
    answered(tab)
    assert slow_gateway.noted("asked") == ["twin/ann"]
    context.close()


def test_a_failure_is_a_line_of_text_and_carries_no_thumbs(tab: Any) -> None:
    """A toast covered the text and took `<author>` for a tag; the error had thumbs."""
    ask(tab, "Please fail.")
    tab.locator(NOTICE).wait_for(timeout=WAIT_MS)
    said = tab.locator(NOTICE)
    assert "no answer for <author> today" in said.inner_text()
    assert said.get_attribute("role") == "alert"
    assert tab.locator(".toast-wrap .toast-body").count() == 0
    assert tab.get_by_label("Like", exact=True).count() == 0
    assert tab.locator(ANSWERS).count() == 0
    conversation = tab.locator("#conversation").bounding_box()
    assert said.bounding_box()["y"] >= conversation["y"] + conversation["height"]


def test_a_failed_question_is_asked_again_and_no_model_hears_of_it(
    tab: Any, slow_gateway: SlowGateway
) -> None:
    ask(tab, "Please fail.")
    tab.locator(NOTICE).wait_for(timeout=WAIT_MS)
    tab.locator("#again").click()
    slow_gateway.wait_for("asked", count=2)
    ask_when_free(tab, "How much oil?")
    answered(tab)
    first, again, last = slow_gateway.noted("messages")
    assert first == again == [{"role": "user", "content": "Please fail."}]
    assert last == [{"role": "user", "content": "How much oil?"}]


def ask_when_free(tab: Any, question: str) -> None:
    free(tab)
    ask(tab, question)


def answered_by(tab: Any, name: str) -> None:
    tab.locator("#version input").click()
    tab.get_by_role("option", name=name).click()


def test_another_versions_answers_are_not_in_the_context(
    tab: Any, slow_gateway: SlowGateway
) -> None:
    """What is compared with must not have been read."""
    ask(tab, "How much oil?")
    answered(tab)
    answered_by(tab, "base model")
    ask(tab, "And you?")
    answered(tab, count=2)
    answered_by(tab, "as released")
    ask(tab, "More?")
    answered(tab, count=3)
    assert slow_gateway.noted("asked") == ["twin/ann", "twin/ann@base", "twin/ann"]
    _, base, back = slow_gateway.noted("messages")
    assert [turn["content"] for turn in base] == ["And you?"]
    assert [turn["content"] for turn in back][::2] == ["How much oil?", "More?"]
    assert len(back) == 3


def test_where_prose_is_not_shown_a_draft_is_asked_for_and_stands_below(
    tab: Any, slow_gateway: SlowGateway
) -> None:
    ask(tab, "How much oil?")
    answered(tab)
    assert not tab.locator("#draft").is_visible()
    ask_when_free(tab, "Quotations alone?")
    answered(tab, count=2)
    tab.locator("#draft").wait_for(timeout=WAIT_MS)
    row = tab.locator("#draft-row").inner_text()
    assert f"Prose in this voice is not shown: {UNSUPPORTED}." in row
    tab.locator("#draft").click()
    answered(tab, count=3)
    assert TUNED in tab.locator(ANSWERS).nth(2).inner_text()
    assert f"A draft: {UNSUPPORTED}." in tab.locator(NOTES).nth(2).inner_text()
    tab.locator("#draft").wait_for(state="hidden", timeout=WAIT_MS)
    assert slow_gateway.noted("asked")[-2:] == ["twin/ann", "twin/ann@voice"]
    _, told, told_again = slow_gateway.noted("messages")
    assert told_again == told, "the draft is told what the answer was told"


def test_stop_ends_the_request(tab: Any, slow_gateway: SlowGateway) -> None:
    """Also of a model that has not said a word yet."""
    for number, question in enumerate(("slow one", "stuck one"), start=1):
        ask(tab, question)
        tab.locator("#stop").wait_for(timeout=WAIT_MS)
        slow_gateway.wait_for("trace", count=number)
        tab.locator("#stop").click()
        free(tab)
    assert slow_gateway.wait_for("left", count=2) == ["slow one", "stuck one"]
    assert slow_gateway.noted("ended") == []
    assert "Stopped" in tab.locator(NOTICE).inner_text()


def test_escape_stops_and_who_leaves_ends_the_request(tab: Any, slow_gateway: SlowGateway) -> None:
    ask(tab, "slow one")
    tab.locator("#stop").wait_for(timeout=WAIT_MS)
    slow_gateway.wait_for("trace", count=1)
    tab.keyboard.press("Escape")
    slow_gateway.wait_for("left", count=1)
    ask_when_free(tab, "stuck two")
    slow_gateway.wait_for("trace", count=2)
    tab.goto("about:blank")
    assert slow_gateway.wait_for("left", count=2) == ["slow one", "stuck two"]


def test_the_conversation_survives_a_reload_and_a_new_one_begins_empty(
    tab: Any, slow_gateway: SlowGateway
) -> None:
    ask(tab, "How much oil?")
    answered(tab)
    tab.reload()
    ready(tab)
    tab.locator(ANSWERS).wait_for(timeout=WAIT_MS)
    assert "How much oil?" in tab.locator("#conversation").inner_text()
    assert tab.locator(f"{NOTES} mark").count() == 1
    ask(tab, "And then?")
    answered(tab, count=2)
    assert len(slow_gateway.noted("messages")[1]) == 3
    tab.locator("#new").click()
    tab.locator(ANSWERS).first.wait_for(state="detached", timeout=WAIT_MS)
    ask(tab, "From the start?")
    answered(tab)
    assert len(slow_gateway.noted("messages")[2]) == 1


def test_each_author_has_a_name_and_a_conversation(tab: Any, slow_gateway: SlowGateway) -> None:
    assert tab.locator("h1").inner_text() == "Ann Bell"
    ask(tab, "How much oil?")
    answered(tab)
    tab.locator("#author input").click()
    tab.get_by_role("option", name="Bob Stone").click()
    tab.wait_for_function("document.querySelector('h1').innerText === 'Bob Stone'")
    assert tab.locator(ANSWERS).count() == 0
    ask(tab, "And you?")
    answered(tab)
    assert slow_gateway.noted("asked") == ["twin/ann", "twin/bob"]
    assert len(slow_gateway.noted("messages")[1]) == 1
    tab.reload()
    ready(tab)
    assert tab.locator("h1").inner_text() == "Bob Stone"


def test_the_authors_titles_are_examples(tab: Any, slow_gateway: SlowGateway) -> None:
    example = tab.get_by_text("On <author> & co")
    example.wait_for(timeout=WAIT_MS)
    example.click()
    answered(tab)
    (asked,) = slow_gateway.noted("messages")
    assert asked[-1]["content"] == "What do you say in “On <author> & co”?"


def test_sources_are_footnotes_that_open_at_the_marked_sentence(tab: Any) -> None:
    ask(tab, "How much oil?")
    answered(tab)
    assert tab.locator("#conversation blockquote mark").inner_text() == MARKED
    quoted, other = tab.locator(f"{NOTES} .twin-note").all()
    assert not quoted.locator("mark").is_visible()
    quoted.locator("summary").click()
    assert quoted.locator("mark").is_visible()
    assert quoted.locator("mark").inner_text() == MARKED
    assert quoted.locator("time").get_attribute("datetime") == "2019-05-04"
    assert quoted.locator("a").get_attribute("href") == (
        "https://x.example/0#:~:text=and%20no%20more%20than%20one%20drop."
    )
    assert "document post-0" in quoted.inner_text()  # what `twin forget --post` asks for
    other.locator("summary").click()
    assert other.locator("a").count() == 0  # `javascript:` is no address to click on
    about = tab.locator(f"{NOTES} .twin-about")
    about.locator("summary").click()
    facts = about.inner_text()
    for said in ("version 1 (as released)", "$0.000034", "2 posts, 1 passage quoted"):
        assert said in facts
    # the author's own sentences need no better wording
    tab.locator("#improve").click()
    wording = tab.locator("#wording-text textarea")
    wording.wait_for(timeout=WAIT_MS)
    assert wording.input_value() == TUNED


def test_an_answer_is_copied_as_it_was_written(tab: Any) -> None:
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ask(tab, "How much oil?")
    answered(tab)
    ask(tab, "And in spite of it?")
    answered(tab, count=2)
    for number, said in enumerate((f"> {QUOTED}", "Write to `<author>` or to <author>")):
        answers = tab.locator("#conversation .message-buttons-left")
        answers.get_by_label("Copy message").nth(number).click()
        until = time.monotonic() + WAIT_MS / 1000
        while said not in (found := tab.evaluate("navigator.clipboard.readText()")):
            assert time.monotonic() < until, found
            time.sleep(0.1)


def test_a_footnote_that_was_opened_stays_open_while_the_next_answer_comes(tab: Any) -> None:
    ask(tab, "How much oil?")
    answered(tab)
    note = tab.locator(f"{NOTES} .twin-note").first
    note.locator("summary").click()
    ask(tab, "How slow is brass?")
    tab.locator("#stop").wait_for(timeout=WAIT_MS)
    answered(tab, count=2)
    assert note.locator("mark").is_visible()


def test_what_nobody_wrote_about_offers_the_nearest_posts(tab: Any) -> None:
    ask(tab, "nothing of yours")
    answered(tab)
    assert "nearest posts" in tab.locator(NOTES).inner_text()
    assert tab.locator(f"{NOTES} .twin-note").count() == 2


def test_nothing_of_others_is_markup(tab: Any) -> None:
    """Titles, passages, answers and questions with `<img onerror>` and Markdown; see `tab`."""
    spiteful = '<img src=x onerror="window.hurt=2"> spite <author> & **bold** `<code>`'
    ask(tab, spiteful)
    answered(tab)
    time.sleep(0.5)
    tab.evaluate(f"document.querySelectorAll('{NOTES} details').forEach((one) => one.open = true)")
    page = tab.locator("#talk").inner_text()
    assert '<img src=x onerror="window.hurt=2"> spite <author> & bold <code>' in page
    assert '<img src=x onerror="window.hurt=1">' in tab.locator("#conversation").inner_text()
    assert "to <author> if it stops" in page
    assert tab.locator("#talk img:not([src^='data:']):not(.avatar)").count() == 0
    assert tab.evaluate("window.hurt === undefined")


def test_a_vote_and_why(tab: Any, slow_gateway: SlowGateway) -> None:
    ask(tab, "How much oil?")
    answered(tab)
    tab.get_by_label("Dislike", exact=True).first.click()
    why = tab.locator("#why textarea, #why input").first
    why.wait_for(timeout=WAIT_MS)
    (vote,) = slow_gateway.wait_for("feedback", count=1)
    assert vote["thumb"] == "down"
    why.fill("Too stiff.")
    why.press("Enter")
    _, said = slow_gateway.wait_for("feedback", count=2)
    assert said == {"trace_id": vote["trace_id"], "thumb": "down", "comment": "Too stiff."}
    assert tab.locator(NOTICE).inner_text() == "Thank you: stored."
    assert tab.locator(".toast-wrap .toast-body").count() == 0


def test_a_vote_stands_at_its_answer_after_a_reload(tab: Any, slow_gateway: SlowGateway) -> None:
    for count in (1, 2):
        ask(tab, "How much oil?")
        answered(tab, count=count)
    row = tab.locator("#conversation .message-row:has(.bot:not(.component)) + .message-buttons")
    row.nth(1).get_by_label("Like", exact=True).click()
    (vote,) = slow_gateway.wait_for("feedback", count=1)
    assert vote == {"trace_id": slow_gateway.noted("trace")[1]["id"], "thumb": "up"}
    tab.locator(NOTICE).wait_for(timeout=WAIT_MS)
    tab.reload()
    ready(tab)
    row.nth(1).get_by_label("Liked", exact=True).wait_for(timeout=WAIT_MS)
    assert row.nth(0).get_by_label("Liked", exact=True).count() == 0


def test_the_box_for_another_wording_is_as_wide_as_the_answer(
    tab: Any, slow_gateway: SlowGateway
) -> None:
    ask(tab, "How much oil, in spite of all?")
    answered(tab)
    tab.locator("#improve").click()
    wording = tab.locator("#wording-text textarea")
    wording.wait_for(timeout=WAIT_MS)
    # as it was said, not as it is escaped
    assert wording.input_value().endswith("Write to `<author>` or to <author> if it stops.")
    answer = tab.locator(ANSWERS).last.bounding_box()
    assert wording.bounding_box()["width"] >= 0.95 * answer["width"]
    assert wording.bounding_box()["height"] >= 100
    wording.fill("I would begin with the escapement.")
    tab.get_by_role("button", name="Send my wording").click()
    (said,) = slow_gateway.wait_for("feedback", count=1)
    assert said["edit"] == "I would begin with the escapement."
