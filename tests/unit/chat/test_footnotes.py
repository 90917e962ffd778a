"""Footnotes of an answer: what is marked, what is a link, what older gateways leave out."""

from __future__ import annotations

import re
from typing import Any

from twin_resources.page.footnotes import render_footnotes, sentence_url

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
    return render_footnotes({"trace_id": "ab", "version": "v1", "cost_usd": 0.1} | facts)


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


def test_the_sentence_that_answers_is_marked_where_it_is_told() -> None:
    quote = QUOTE | {"text": "One drop of oil. Two drops run.", "start": 0, "end": 31}
    told = quote | {"marked": [17, 31]}
    source = SOURCE | {"text": TEXT, "start": 0}
    assert set(marked(made(sources=[source], quotes=[told]))) == {"Two drops run."}
    assert set(marked(made(sources=[source], quotes=[quote]))) == {quote["text"]}
    # where all that is shown is quoted, a mark would say nothing
    alone = SOURCE | {"text": quote["text"], "start": 0}
    assert marked(made(sources=[alone], quotes=[told])) == ["Two drops run."]
    assert marked(made(sources=[alone], quotes=[quote])) == []


def test_a_quote_outside_of_every_passage_stands_for_itself() -> None:
    quote = QUOTE | {"text": "Elsewhere said. And more.", "start": 5, "end": 30}
    told = quote | {"marked": [0, 15]}
    for sources in ([SOURCE | {"text": TEXT, "start": 0}], []):
        assert "Elsewhere said. And more." in made(sources=sources, quotes=[quote])
        assert marked(made(sources=sources, quotes=[told])) == ["Elsewhere said."]


def test_the_link_opens_the_post_at_the_sentence() -> None:
    html = made(sources=[], quotes=[QUOTE])
    assert 'href="https://x.example/d#:~:text=Two%20drops%20run."' in html
    long = "Well-oiled, it runs; " + "and so on " * 10 + "to the very end."
    address = sentence_url("https://x.example/d#top", long)
    assert address == (
        "https://x.example/d#top:~:text=Well%2Doiled%2C%20it%20runs%3B%20and,to%20the%20very%20end."
    )


def test_quotes_that_overlap_are_one_mark() -> None:
    quotes = [
        QUOTE | {"text": "One drop of oil. Two drops", "start": 0, "end": 26},
        QUOTE | {"text": "Two drops run.", "start": 17, "end": 31},
    ]
    html = made(sources=[SOURCE | {"text": TEXT, "start": 0}], quotes=quotes)
    assert set(marked(html)) == {"One drop of oil. Two drops run."}


def test_a_note_names_the_document_that_can_be_forgotten() -> None:
    assert "document <code>d</code>" in made(sources=[SOURCE])


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


def test_without_facts_there_is_no_footnote() -> None:
    assert render_footnotes({}) == ""
    assert "No post was found" in made()
    assert "not known" in made(cost_usd=None)


def test_what_is_known_of_an_answer_is_told_in_plain_words() -> None:
    facts = {"version": "v3", "route": "stable", "cost_usd": 0.00002, "answer": "quote"}
    html = made(**facts, sources=[SOURCE], quotes=[QUOTE])
    for row in (
        "<dt>Answer</dt><dd>Quoted</dd>",
        "<dt>Rests on</dt><dd>1 post, 1 passage quoted</dd>",
        "<dt>Written by</dt><dd>version 3 (as released)</dd>",
        "<dt>Cost</dt><dd>less than a cent ($0.000020)</dd>",
    ):
        assert row in html
    assert "the paid model (chosen by the reader)" in made(version="paid", route="alias:paid")
    assert "<dd>$1.50</dd>" in made(cost_usd=1.5)


def test_what_a_version_is_released_for_and_what_became_of_its_prose_are_told() -> None:
    why = "92 % of sentences unsupported, limit 20 %"
    prose = {"shown": False, "why": why, "model": "twin/ann@voice", "judged": False}
    shown = made(answer="quote", release=f"quotations alone: {why}", prose=prose)
    assert f"<dt>Released for</dt><dd>quotations alone: {why}</dd>" in shown
    assert f"<dt>Prose</dt><dd>not shown: {why}</dd>" in shown
    assert "Released for" not in made(answer="quote")
    judged = {"shown": True, "judged": True, "sentences": 5, "left_out": 1}
    left_out = "<dt>Prose</dt><dd>1 of 5 sentences left out as unsupported</dd>"
    assert left_out in made(answer="quote_and_voice", prose=judged)
    assert f"A draft: {why}." in made(answer="quote_and_voice", draft={"why": why})
