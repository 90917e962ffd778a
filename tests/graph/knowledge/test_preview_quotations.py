"""Test the quotations of a preview with the real embedder."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from twin_assets.knowledge.preview_quotations import MAX_POST_CHARACTERS, choose_preview_quotations
from twin_resources.models.embedder.embedder import Embedder

CLOCK = (
    "Take the pendulum off before the clock is carried. A pendulum that swings bends its spring. "
    "Screw the case to the wall again when you arrive."
)
BREAD = (
    "Bread rises slowly in a cold kitchen. Put the dough near the stove and cover it with a cloth. "
    "It is ready when a finger leaves a mark."
)


def build_posts(*texts: tuple[str, str]) -> pl.DataFrame:
    rows = [
        {
            "document_id": f"d{number}",
            "title": title,
            "url": "",
            "published_at": datetime(2020, 1, 1, tzinfo=UTC),
            "language": "en",
            "text": text,
            "kept": True,
        }
        for number, (title, text) in enumerate(texts)
    ]
    types = {"published_at": pl.Datetime("us", "UTC")}
    return pl.DataFrame(rows, schema_overrides=types)


def test_a_question_is_answered_from_its_post(embedder: Embedder) -> None:
    quotations = choose_preview_quotations(
        build_posts(("Carrying a clock", CLOCK), ("Bread in winter", BREAD)),
        ["How do I carry a clock?", "How does bread rise?"],
        embedder,
        count=3,
    )
    texts = {quotation.title: quotation.text for quotation in quotations}
    assert set(texts) == {"Carrying a clock", "Bread in winter"}
    assert texts["Carrying a clock"] in CLOCK
    assert texts["Bread in winter"] in BREAD


def test_questions_that_a_sentence_answers_are_shown(embedder: Embedder) -> None:
    letter = "My aunt wrote to me about her garden in the spring. The letter was four pages long."
    [quotation] = choose_preview_quotations(
        build_posts(("What the dust is made of", letter), ("Carrying a clock", CLOCK)),
        ["Can you explain what the dust is made of?", "How do I carry a clock?"],
        embedder,
        count=1,
    )
    assert (quotation.heading, quotation.title) == ("How do I carry a clock?", "Carrying a clock")


def test_a_short_sentence_is_replaced_by_a_longer_neighbor(embedder: Embedder) -> None:
    text = "It ticks. The clock that was carried upright goes on as if nothing had happened to it."
    [quotation] = choose_preview_quotations(
        build_posts(("It ticks", text)), ["Does it tick? It ticks."], embedder, count=3
    )
    assert quotation.text.startswith("The clock that was carried")


def test_a_title_that_is_not_a_question_becomes_a_topic(embedder: Embedder) -> None:
    [quotation] = choose_preview_quotations(
        build_posts(("The pendulum", BREAD), ("Winter", CLOCK)),
        ["Can you tell me more about “The pendulum”?"],
        embedder,
        count=3,
    )
    assert (quotation.heading, quotation.title) == ("On “The pendulum”:", "The pendulum")
    assert quotation.text in BREAD


def test_independent_sentences_are_preferred(embedder: Embedder) -> None:
    text = (
        "It carries the clock and the pendulum of the clock upright. "
        "A carter takes the weights out before the journey begins."
    )
    [quotation] = choose_preview_quotations(
        build_posts(("Journeys", text)), ["How do I carry a clock?"], embedder, count=3
    )
    assert quotation.text.startswith("A carter")


def test_equal_sentences_are_shown_once_and_long_posts_are_truncated(embedder: Embedder) -> None:
    quotations = choose_preview_quotations(
        build_posts(
            ("Clocks", f"{CLOCK}\n\n{'x' * MAX_POST_CHARACTERS}\n\nThe end is never read here.")
        ),
        ["How do I carry a clock?", "How is a clock carried?"],
        embedder,
        count=3,
    )
    assert len(quotations) == 1
    assert "never read" not in quotations[0].text


def test_without_sentences_or_questions_nothing_is_quoted(embedder: Embedder) -> None:
    assert (
        choose_preview_quotations(
            build_posts(("Code", "```\nx = 1\n```")), ["What is x?"], embedder, count=3
        )
        == []
    )
    assert choose_preview_quotations(build_posts(("Clocks", CLOCK)), [], embedder, count=3) == []
