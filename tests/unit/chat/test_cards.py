"""The cards beside an answer: what is marked, what is a link, what older gateways leave out."""

from __future__ import annotations

import re
from typing import Any

from twin_resources.gateway.chat.cards import cards

TEXT = "One drop of oil. Two drops run. " + "Brass wants patience. " * 30
QUOTE = {
    "document_id": "d",
    "title": "On oil",
    "url": "https://x.example/d",
    "published_at": "2019-05-04",
    "text": "Two drops run.",
}
SOURCE = {"document_id": "d", "chunk_id": "c", "title": "On oil", "url": "https://x.example/d"}


def made(**facts: Any) -> str:
    return cards({"trace_id": "ab", "version": "v1", "cost_usd": 0.1} | facts)


def marked(html: str) -> list[str]:
    return re.findall(r"<mark>(.*?)</mark>", html)


def test_the_quoted_words_are_marked_in_the_passage() -> None:
    """Counted in the document's characters; the passage begins at its own."""
    quote = QUOTE | {"start": 1017, "end": 1031}
    html = made(sources=[SOURCE | {"text": TEXT, "start": 1000}], quotes=[quote])
    assert marked(html) == ["Two drops run."] * 2  # in the excerpt and in the whole passage
    assert "From 1 post<" in html
    assert "The whole passage" in html
    assert "One drop of oil." in html


def test_offsets_that_lead_elsewhere_give_way_to_the_words() -> None:
    quote = QUOTE | {"start": 3, "end": 17}
    html = made(sources=[SOURCE | {"text": TEXT, "start": 0}], quotes=[quote])
    assert set(marked(html)) == {"Two drops run."}


def test_a_quote_outside_of_every_passage_stands_for_itself() -> None:
    quote = QUOTE | {"text": "Elsewhere said.", "start": 5, "end": 20}
    html = made(sources=[SOURCE | {"text": TEXT, "start": 0}], quotes=[quote])
    assert marked(html) == ["Elsewhere said."]
    other = made(sources=[], quotes=[QUOTE | {"start": 0, "end": 14}])
    assert marked(other) == ["Two drops run."]


def test_quotes_that_overlap_are_one_mark() -> None:
    quotes = [
        QUOTE | {"text": "One drop of oil. Two drops", "start": 0, "end": 26},
        QUOTE | {"text": "Two drops run.", "start": 17, "end": 31},
    ]
    html = made(sources=[SOURCE | {"text": TEXT[:31], "start": 0}], quotes=quotes)
    assert marked(html) == ["One drop of oil. Two drops run."]


def test_quoted_posts_come_first() -> None:
    other = SOURCE | {"document_id": "e", "title": "On brass"}
    html = made(sources=[other, SOURCE], quotes=[QUOTE])
    assert html.index("On oil") < html.index("On brass")


def test_an_older_gateways_sources_have_no_text() -> None:
    html = made(sources=[SOURCE])
    assert "On oil" in html
    assert "<mark>" not in html
    assert "None" not in html


def test_what_was_not_written_about_names_the_nearest() -> None:
    html = made(answer="not_written_about", nearest=[SOURCE], sources=[])
    assert "The nearest posts" in html
    assert "Not written about" in html


def test_nothing_of_others_is_markup() -> None:
    spite = '"><img src=x onerror=alert(1)>'
    post = dict.fromkeys(("document_id", "title", "text", "published_at", "url", "chunk_id"), spite)
    html = made(
        sources=[post | {"start": 0}],
        quotes=[post | {"start": 0, "end": 3}],
        nearest=[post],
        disclosure=spite,
        degraded=spite,
        route=spite,
        version=spite,
        trace_id=spite,
    )
    assert "<img" not in html
    assert not re.search(r'href="(?!https?://|/\?trace=)', html)


def test_without_an_answer_an_invitation() -> None:
    assert "twin-card" not in cards({})
    assert "No post was found" in made()
    assert "not known" in made(cost_usd=None)


def test_the_forms_that_a_version_is_released_for_are_told() -> None:
    shown = cards({"answer": "quote", "released_for": ["quote", "quote_and_voice"]})

    assert "<dt>Released for</dt><dd>Quoted; Quoted, then in this voice</dd>" in shown
    assert "Released for" not in cards({"answer": "quote"})
