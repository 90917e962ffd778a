"""Test the Talk tab in a real browser: its features, and each former fault.

The gateway is simulated, so that it answers slowly; `test_chat_page.py` uses a real gateway.
"""

from __future__ import annotations

import time
from typing import Any

from tests.live.chat.conftest import (
    ANSWERS,
    NOTES,
    WAIT_MS,
    PageProcess,
    SlowGateway,
    ask,
    needs_browser,
    press_enter,
    question_box,
    wait_for_answers,
    wait_until_free,
    wait_until_ready,
)
from tests.live.chat.slow_gateway import LABEL, QUOTED, SECOND, TUNED, UNSUPPORTED

pytestmark = needs_browser
NOTICE = "#notice .twin-notice"


def test_text_typed_while_an_answer_streams_is_kept(tab: Any, slow_gateway: SlowGateway) -> None:
    """Each piece of the answer used to erase the text. Pressing Enter sends nothing meanwhile."""
    ask(tab, "How slow is oil?")
    tab.locator("#stop").wait_for(timeout=WAIT_MS)
    question_box(tab).press_sequentially("And what of brass?", delay=60)
    question_box(tab).press("Enter")
    wait_for_answers(tab)
    assert question_box(tab).input_value() == "And what of brass?"
    assert slow_gateway.read_logged("asked") == ["twin/ann"]
    press_enter(tab)
    wait_for_answers(tab, count=2)
    assert question_box(tab).input_value() == ""
    assert slow_gateway.read_logged("messages")[1][-1]["content"] == "And what of brass?"


def test_a_question_without_network_goes_back_into_its_box(
    tab: Any, slow_gateway: SlowGateway
) -> None:
    tab.context.set_offline(True)
    ask(tab, "How slow is oil?")
    wait_until_free(tab)
    assert question_box(tab).input_value() == "How slow is oil?"
    assert slow_gateway.read_logged("asked") == []
    with tab.expect_navigation(timeout=WAIT_MS):  # Gradio reloads the page
        tab.context.set_offline(False)
    wait_until_ready(tab)
    assert question_box(tab).input_value() == "How slow is oil?"
    press_enter(tab)
    wait_for_answers(tab)
    assert question_box(tab).input_value() == ""
    assert slow_gateway.read_logged("messages")[0][-1]["content"] == "How slow is oil?"


def test_an_early_question_is_sent_once_the_authors_are_loaded(
    slow_page: PageProcess, slow_gateway: SlowGateway, browser: Any
) -> None:
    """The page used to ask `twin/None`, and later to send nothing even after loading."""
    slow_gateway.reset()
    slow_gateway.delay_models(120.0)
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(slow_page.link())
    question_box(tab).wait_for(timeout=WAIT_MS)
    assert tab.evaluate("document.body.dataset.ready") is None
    ask(tab, "How much oil?")
    tab.locator("#send").click()
    time.sleep(0.5)
    assert slow_gateway.read_logged("asked") == []
    slow_gateway.delay_models(0.0)
    wait_until_ready(tab)
    wait_for_answers(tab)
    assert slow_gateway.read_logged("asked") == ["twin/ann"]
    assert question_box(tab).input_value() == ""
    context.close()


def test_an_error_is_a_line_of_text_without_thumbs(tab: Any) -> None:
    """Errors used to be toasts that covered the text, parsed `<author>` as a tag and had thumbs."""
    ask(tab, "Please fail.")
    tab.locator(NOTICE).wait_for(timeout=WAIT_MS)
    notice = tab.locator(NOTICE)
    assert "no answer for <author> today" in notice.inner_text()
    assert notice.get_attribute("role") == "alert"
    assert tab.locator(".toast-wrap .toast-body").count() == 0
    assert tab.get_by_label("Like", exact=True).count() == 0
    assert tab.locator(ANSWERS).count() == 0
    conversation = tab.locator("#conversation").bounding_box()
    assert notice.bounding_box()["y"] >= conversation["y"] + conversation["height"]


def test_a_failed_question_can_be_repeated_and_is_not_in_the_context(
    tab: Any, slow_gateway: SlowGateway
) -> None:
    ask(tab, "Please fail.")
    tab.locator(NOTICE).wait_for(timeout=WAIT_MS)
    tab.locator("#again").click()
    slow_gateway.wait_for("asked", count=2)
    ask_when_free(tab, "How much oil?")
    wait_for_answers(tab)
    first, repeated, last = slow_gateway.read_logged("messages")
    assert first == repeated == [{"role": "user", "content": "Please fail."}]
    assert last == [{"role": "user", "content": "How much oil?"}]


def ask_when_free(tab: Any, question: str) -> None:
    wait_until_free(tab)
    ask(tab, question)


def choose_version(tab: Any, name: str) -> None:
    tab.locator("#version input").click()
    tab.get_by_role("option", name=name).click()


def test_another_versions_answers_are_not_in_the_context(
    tab: Any, slow_gateway: SlowGateway
) -> None:
    """A version must not read the answers that it is compared with."""
    ask(tab, "How much oil?")
    wait_for_answers(tab)
    choose_version(tab, "base model")
    ask(tab, "And you?")
    wait_for_answers(tab, count=2)
    choose_version(tab, "as released")
    ask(tab, "More?")
    wait_for_answers(tab, count=3)
    assert slow_gateway.read_logged("asked") == ["twin/ann", "twin/ann@base", "twin/ann"]
    _, base_messages, released_messages = slow_gateway.read_logged("messages")
    assert [turn["content"] for turn in base_messages] == ["And you?"]
    assert [turn["content"] for turn in released_messages][::2] == ["How much oil?", "More?"]
    assert len(released_messages) == 3


def test_a_reader_can_ask_for_a_draft_where_prose_is_not_released(
    tab: Any, slow_gateway: SlowGateway
) -> None:
    ask(tab, "How much oil?")
    wait_for_answers(tab)
    assert not tab.locator("#draft").is_visible()
    ask_when_free(tab, "Quotations alone?")
    wait_for_answers(tab, count=2)
    tab.locator("#draft").wait_for(timeout=WAIT_MS)
    row = tab.locator("#draft-row").inner_text()
    assert f"Prose in this voice is not shown: {UNSUPPORTED}." in row
    tab.locator("#draft").click()
    wait_for_answers(tab, count=3)
    answer = tab.locator(ANSWERS).nth(2)
    frame = answer.locator(".twin-prose")
    assert frame.inner_text().split("\n\n") == [LABEL, TUNED]
    assert answer.inner_text().index(QUOTED) < answer.inner_text().index(LABEL)
    own, program = (
        element.evaluate("e => getComputedStyle(e).fontFamily")
        for element in (answer.locator("blockquote p").first, frame.locator("p").last)
    )
    assert own != program
    assert f"A draft: {UNSUPPORTED}." in tab.locator(NOTES).nth(2).inner_text()
    tab.locator("#draft").wait_for(state="hidden", timeout=WAIT_MS)
    assert slow_gateway.read_logged("asked")[-2:] == ["twin/ann", "twin/ann@voice"]
    _, answer_messages, draft_messages = slow_gateway.read_logged("messages")
    assert draft_messages == answer_messages


def test_stop_cancels_the_request(tab: Any, slow_gateway: SlowGateway) -> None:
    """Stop also cancels a request before the first word of its answer."""
    for number, question in enumerate(("slow one", "stuck one"), start=1):
        ask(tab, question)
        tab.locator("#stop").wait_for(timeout=WAIT_MS)
        slow_gateway.wait_for("trace", count=number)
        tab.locator("#stop").click()
        wait_until_free(tab)
    assert slow_gateway.wait_for("left", count=2) == ["slow one", "stuck one"]
    assert slow_gateway.read_logged("ended") == []
    assert "Stopped" in tab.locator(NOTICE).inner_text()


def test_escape_and_leaving_the_page_cancel_the_request(
    tab: Any, slow_gateway: SlowGateway
) -> None:
    ask(tab, "slow one")
    tab.locator("#stop").wait_for(timeout=WAIT_MS)
    slow_gateway.wait_for("trace", count=1)
    tab.keyboard.press("Escape")
    slow_gateway.wait_for("left", count=1)
    ask_when_free(tab, "stuck two")
    slow_gateway.wait_for("trace", count=2)
    tab.goto("about:blank")
    assert slow_gateway.wait_for("left", count=2) == ["slow one", "stuck two"]


def test_the_conversation_survives_a_reload_and_a_new_conversation_is_empty(
    tab: Any, slow_gateway: SlowGateway
) -> None:
    ask(tab, "How much oil?")
    wait_for_answers(tab)
    tab.reload()
    wait_until_ready(tab)
    tab.locator(ANSWERS).wait_for(timeout=WAIT_MS)
    assert "How much oil?" in tab.locator("#conversation").inner_text()
    assert tab.locator(f"{NOTES} .twin-note").count() == 3
    ask(tab, "And then?")
    wait_for_answers(tab, count=2)
    assert len(slow_gateway.read_logged("messages")[1]) == 3
    tab.locator("#new").click()
    tab.locator(ANSWERS).first.wait_for(state="detached", timeout=WAIT_MS)
    ask(tab, "From the start?")
    wait_for_answers(tab)
    assert len(slow_gateway.read_logged("messages")[2]) == 1


def test_each_author_has_a_name_and_a_conversation(tab: Any, slow_gateway: SlowGateway) -> None:
    assert tab.locator("h1").inner_text() == "Ann Bell"
    ask(tab, "How much oil?")
    wait_for_answers(tab)
    tab.locator("#author input").click()
    tab.get_by_role("option", name="Bob Stone").click()
    tab.wait_for_function("document.querySelector('h1').innerText === 'Bob Stone'")
    assert tab.locator(ANSWERS).count() == 0
    ask(tab, "And you?")
    wait_for_answers(tab)
    assert slow_gateway.read_logged("asked") == ["twin/ann", "twin/bob"]
    assert len(slow_gateway.read_logged("messages")[1]) == 1
    tab.reload()
    wait_until_ready(tab)
    assert tab.locator("h1").inner_text() == "Bob Stone"


def test_questions_that_got_an_answer_are_examples(tab: Any, slow_gateway: SlowGateway) -> None:
    example = tab.get_by_text("What of <author> & co?")
    example.wait_for(timeout=WAIT_MS)
    example.click()
    wait_for_answers(tab)
    (messages,) = slow_gateway.read_logged("messages")
    assert messages[-1]["content"] == "What of <author> & co?"


def test_sources_are_footnotes_that_open_at_the_passage(tab: Any) -> None:
    ask(tab, "How much oil?")
    wait_for_answers(tab)
    quoted, second, other = tab.locator(f"{NOTES} .twin-note").all()
    quoted.locator("summary").click()
    assert tab.locator(ANSWERS).get_by_text(SECOND).count() == 0
    assert not second.get_by_text(SECOND).is_visible()
    tab.locator(ANSWERS).get_by_role("link", name="2", exact=True).click()
    assert second.get_by_text(SECOND).is_visible()
    assert quoted.locator("time").get_attribute("datetime") == "2019-05-04"
    assert quoted.locator("a").get_attribute("href") == (
        "https://x.example/0#:~:text=A%20clock%20wants%20one,more%20than%20one%20drop."
    )
    assert "document post-0" in quoted.inner_text()  # `twin forget --post` needs this id
    other.locator("summary").click()
    assert other.locator("a").count() == 0  # a `javascript:` URL is not a link
    about = tab.locator(f"{NOTES} .twin-about")
    about.locator("summary").click()
    facts = about.inner_text()
    for fact in ("version 1 (as released)", "$0.000034", "3 posts, 2 passages quoted"):
        assert fact in facts
    # the author's quoted sentences cannot be reworded
    tab.locator("#improve").click()
    wording = tab.locator("#wording-text textarea")
    wording.wait_for(timeout=WAIT_MS)
    assert wording.input_value() == TUNED


def test_copying_an_answer_copies_its_source_text(tab: Any) -> None:
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ask(tab, "How much oil?")
    wait_for_answers(tab)
    ask(tab, "And in spite of it?")
    wait_for_answers(tab, count=2)
    prose = "Write to `<author>` or to <author>"
    clipboard = ""
    for number, text in enumerate((f"> {QUOTED}", prose)):
        answers = tab.locator("#conversation .message-buttons-left")
        answers.get_by_label("Copy message").nth(number).click()
        deadline = time.monotonic() + WAIT_MS / 1000
        while text not in (clipboard := tab.evaluate("navigator.clipboard.readText()")):
            assert time.monotonic() < deadline, clipboard
            time.sleep(0.1)
    assert clipboard.lstrip().startswith("✎ **Written by a program, not by Ann Bell**\n\n")
    assert "<aside" not in clipboard


def test_an_open_footnote_stays_open_during_the_next_answer(tab: Any) -> None:
    ask(tab, "How much oil?")
    wait_for_answers(tab)
    note = tab.locator(f"{NOTES} .twin-note").nth(1)
    note.locator("summary").click()
    ask(tab, "How slow is brass?")
    tab.locator("#stop").wait_for(timeout=WAIT_MS)
    wait_for_answers(tab, count=2)
    assert note.get_by_text(SECOND).is_visible()


def test_a_declined_question_offers_the_closest_passages_folded(tab: Any) -> None:
    ask(tab, "nothing of yours")
    wait_for_answers(tab)
    assert "closest passages" in tab.locator(NOTES).inner_text()
    assert tab.locator(f"{NOTES} .twin-note").count() == 2
    assert tab.locator("#conversation blockquote").count() == 0
    assert not tab.get_by_text(SECOND).is_visible()
    tab.locator(ANSWERS).get_by_role("link", name="2", exact=True).click()
    assert tab.get_by_text(SECOND).is_visible()


def test_titles_passages_answers_and_questions_are_escaped(tab: Any) -> None:
    """All contain `<img onerror>` and Markdown; the `tab` fixture fails if a script runs."""
    malicious_html = '<img src=x onerror="window.hurt=2"> spite <author> & **bold** `<code>`'
    ask(tab, malicious_html)
    wait_for_answers(tab)
    time.sleep(0.5)
    tab.evaluate(
        f"document.querySelectorAll('{NOTES} details').forEach((note) => note.open = true)"
    )
    page = tab.locator("#talk").inner_text()
    assert '<img src=x onerror="window.hurt=2"> spite <author> & bold <code>' in page
    assert '<img src=x onerror="window.hurt=1">' in tab.locator("#conversation").inner_text()
    assert "to <author> if it stops" in page
    assert tab.locator("#talk img:not([src^='data:']):not(.avatar)").count() == 0
    assert tab.evaluate("window.hurt === undefined")


def test_a_vote_is_sent_at_once_and_its_comment_later(tab: Any, slow_gateway: SlowGateway) -> None:
    ask(tab, "How much oil?")
    wait_for_answers(tab)
    tab.get_by_label("Dislike", exact=True).first.click()
    comment = tab.locator("#why textarea, #why input").first
    comment.wait_for(timeout=WAIT_MS)
    (vote,) = slow_gateway.wait_for("feedback", count=1)
    assert vote["thumb"] == "down"
    comment.fill("Too stiff.")
    comment.press("Enter")
    _, feedback = slow_gateway.wait_for("feedback", count=2)
    assert feedback == {"trace_id": vote["trace_id"], "thumb": "down", "comment": "Too stiff."}
    assert tab.locator(NOTICE).inner_text() == "Thank you. Your feedback was stored."
    assert tab.locator(".toast-wrap .toast-body").count() == 0


def test_a_vote_is_shown_at_its_answer_after_a_reload(tab: Any, slow_gateway: SlowGateway) -> None:
    for count in (1, 2):
        ask(tab, "How much oil?")
        wait_for_answers(tab, count=count)
    row = tab.locator("#conversation .message-row:has(.bot:not(.component)) + .message-buttons")
    row.nth(1).get_by_label("Like", exact=True).click()
    (vote,) = slow_gateway.wait_for("feedback", count=1)
    assert vote == {"trace_id": slow_gateway.read_logged("trace")[1]["id"], "thumb": "up"}
    tab.locator(NOTICE).wait_for(timeout=WAIT_MS)
    tab.reload()
    wait_until_ready(tab)
    row.nth(1).get_by_label("Liked", exact=True).wait_for(timeout=WAIT_MS)
    assert row.nth(0).get_by_label("Liked", exact=True).count() == 0


def test_the_box_for_another_wording_is_as_wide_as_the_answer(
    tab: Any, slow_gateway: SlowGateway
) -> None:
    ask(tab, "How much oil, in spite of all?")
    wait_for_answers(tab)
    tab.locator("#improve").click()
    wording = tab.locator("#wording-text textarea")
    wording.wait_for(timeout=WAIT_MS)
    # the source text, not the escaped text
    assert wording.input_value().endswith("Write to `<author>` or to <author> if it stops.")
    answer = tab.locator(ANSWERS).last.bounding_box()
    assert wording.bounding_box()["width"] >= 0.95 * answer["width"]
    assert wording.bounding_box()["height"] >= 100
    wording.fill("I would begin with the escapement.")
    tab.get_by_role("button", name="Send my wording").click()
    (feedback,) = slow_gateway.wait_for("feedback", count=1)
    assert feedback["edit"] == "I would begin with the escapement."
