"""Test the footnotes of an answer: passages, links, and sources without text (older gateways)."""

from __future__ import annotations

import re
from typing import Any

from twin_resources.page.footnotes import passage_url, render_footnotes

QUOTE = {
    "document_id": "d",
    "title": "On oil",
    "url": "https://x.example/d",
    "published_at": "2019-05-04",
    "text": "Two drops run.",
}
SOURCE = {"document_id": "d", "chunk_id": "c", "title": "On oil", "url": "https://x.example/d"}


def render(**facts: Any) -> str:
    return render_footnotes({"trace_id": "ab", "version": "v1", "cost_usd": 0.1} | facts)


def test_the_passages_after_the_first_are_folded_in_their_order() -> None:
    """The first quotation stands in the answer, and no passage stands on the page twice."""
    second = QUOTE | {
        "document_id": "e",
        "text": "Brass wants patience. It cracks.",
    }
    prompted = [
        SOURCE | {"text": "Of the same post."},
        SOURCE | {"document_id": "f", "text": "Lead."},
    ]
    html = render(sources=prompted, quotes=[QUOTE, second])
    assert "From 3 posts<" in html
    assert "Two drops run.</p>" not in html
    assert "Of the same post." not in html
    assert "<p>Brass wants patience. It cracks.</p>" in html
    assert html.index("Brass wants") < html.index("Lead.")
    assert html.count('<details class="twin-note') == 3


def test_the_link_opens_the_post_at_the_passage() -> None:
    html = render(sources=[], quotes=[QUOTE])
    assert 'href="https://x.example/d#:~:text=Two%20drops%20run."' in html
    long = "*Well-oiled*, it runs; " + "and so on " * 10 + "to the very end.\n\nAnother."
    url = passage_url("https://x.example/d#top", long)
    assert url == (
        "https://x.example/d#top:~:text=Well%2Doiled%2C%20it%20runs%3B%20and,to%20the%20very%20end."
    )


def test_a_footnote_names_the_document_id_for_forgetting() -> None:
    assert "document <code>d</code>" in render(sources=[SOURCE])


def test_quoted_posts_come_first() -> None:
    other = SOURCE | {"document_id": "e", "title": "On brass"}
    html = render(sources=[other, SOURCE], quotes=[QUOTE])
    assert html.index("On oil") < html.index("On brass")


def test_sources_without_text_are_named() -> None:
    html = render(sources=[SOURCE])
    assert "On oil" in html
    assert "None" not in html


def test_where_nothing_was_found_the_closest_passages_are_folded() -> None:
    html = render(answer="not_found", nearest=[SOURCE | {"text": "One drop."}], sources=[])
    assert "The closest passages" in html
    assert "<p>One drop.</p>" in html
    assert "Nothing found" in html
    assert "/a/ab" in html


def test_foreign_text_is_escaped() -> None:
    evil = '"><img src=x onerror=alert(1)>'
    post = dict.fromkeys(("document_id", "title", "text", "published_at", "url", "chunk_id"), evil)
    html = render(
        sources=[post | {"start": 0}],
        quotes=[post | {"start": 0, "end": 3}],
        nearest=[post],
        disclosure=evil,
        degraded=evil,
        route=evil,
        version=evil,
        trace_id=evil,
    )
    assert "<img" not in html
    assert not re.search(r'href="(?!https?://|/\?trace=|/a/)', html)


def test_an_answer_without_facts_has_no_footnotes() -> None:
    assert render_footnotes({}) == ""
    assert "No post was found" in render()
    assert "unknown" in render(cost_usd=None)


def test_the_facts_of_an_answer_are_in_plain_words() -> None:
    facts = {"version": "v3", "route": "stable", "cost_usd": 0.00002, "answer": "quote"}
    html = render(**facts, sources=[SOURCE], quotes=[QUOTE])
    for row in (
        "<dt>Answer</dt><dd>Quoted</dd>",
        "<dt>Based on</dt><dd>1 post, 1 passage quoted</dd>",
        "<dt>Written by</dt><dd>version 3 (as released)</dd>",
        "<dt>Cost</dt><dd>less than a cent ($0.000020)</dd>",
    ):
        assert row in html
    assert "the paid model (chosen by the reader)" in render(version="paid", route="alias:paid")
    assert "<dd>$1.50</dd>" in render(cost_usd=1.5)


def test_the_release_and_the_state_of_the_prose_are_reported() -> None:
    reason = "92 % of sentences unsupported, limit 10 %"
    prose = {"shown": False, "why": reason, "model": "twin/ann@voice", "judged": False}
    html = render(answer="quote", release=f"quotations alone: {reason}", prose=prose)
    assert f"<dt>Released for</dt><dd>quotations alone: {reason}</dd>" in html
    assert f"<dt>Prose</dt><dd>not shown: {reason}</dd>" in html
    assert "Released for" not in render(answer="quote")
    judged = {"shown": True, "judged": True, "sentences": 5, "left_out": 1}
    row = "<dt>Prose</dt><dd>1 of 5 sentences left out as unsupported</dd>"
    assert row in render(answer="quote_and_voice", prose=judged)
    assert f"A draft: {reason}." in render(answer="quote_and_voice", draft={"why": reason})
