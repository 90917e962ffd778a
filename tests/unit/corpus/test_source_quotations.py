"""Test which quotations are found in a source, and which of them a text contains."""

from __future__ import annotations

import time

import pytest

from twin_assets.corpus.html_cleaning import clean_html
from twin_assets.corpus.markdown_cleaning import clean_markdown
from twin_assets.corpus.source_quotations import (
    count_contained_quotations,
    count_unmarked_quotations,
    find_quotations,
)

WORDS = "the tide forgives nobody who reads it from a printed table"
OWN_SENTENCE = "My own sentence about boats stands before and after what somebody else said."


def count_quotations(text: str, markup: str = "markdown") -> int:
    """Count the quoted paragraphs of a source, each of which must contain `WORDS`."""
    quotations = find_quotations({"text": text, "markup": markup})
    assert count_contained_quotations(quotations, WORDS) == len(quotations)
    return len(quotations)


@pytest.mark.parametrize(
    "source",
    [
        f"{OWN_SENTENCE}\n\n> {WORDS}\n\n{OWN_SENTENCE}",
        f"{OWN_SENTENCE}\n> {WORDS}",
        f"> the tide forgives nobody who\n> reads it from a printed table\n\n{OWN_SENTENCE}",
        f"> > {WORDS}",
        f"- one\n- two\n\n  > {WORDS}",
        f"1. > {WORDS}\n\n{OWN_SENTENCE}",
        f"- one\n\t- two\n\n\t\t> {WORDS}",
        f"> [!quote] Somebody\n> {WORDS}",
        f"<blockquote>{WORDS}</blockquote>",
        f'<blockquote class="tweet">\n\n{WORDS}\n\n</blockquote>\n\n{OWN_SENTENCE}',
        f"<blockquote>\n<blockquote>{WORDS}</blockquote>\n</blockquote>",
        f"<PullQuote author='x'>\n\n{WORDS}\n\n</PullQuote>",
        f"<q>{WORDS}</q>",
        f"<p>\n<q cite='a'>{WORDS}</q></p>\n\n{OWN_SENTENCE}",
        f"<img src='a'\n  alt='b'\n>\n\n> {WORDS}",
        "> the tide *forgives* nobody who [reads it](https://a.example/b) from a printed table",
    ],
)
def test_markdown_quotations_are_found(source: str) -> None:
    assert count_quotations(source) == 1


@pytest.mark.parametrize(
    "source",
    [
        WORDS,
        f"He said <q>{WORDS}</q> and left.",
        f"```\n> {WORDS}\n```",
        f"- item\n\n  ```console\n  > {WORDS}\n  ```",
        f"{OWN_SENTENCE}\n\n    > {WORDS}",
        f"`> {WORDS}`",
        f"> [!note] {WORDS}\n> {WORDS}",
        f"<pre>\n> {WORDS}\n</pre>",
        f"<!-- <blockquote>{WORDS}</blockquote> -->",
        f"<img src='a'\n  alt='b'\n>{WORDS}",
        f"<blockquote>\n\n{WORDS}",
        f"\\> {WORDS}",
        f"5 > 4, and {WORDS}",
        f"> {WORDS}\n\n{WORDS}",
        "> four words and no",
    ],
)
def test_other_markdown_is_not_a_quotation(source: str) -> None:
    assert count_quotations(source) == 0


def test_quotations_in_html_and_text_are_found() -> None:
    assert (
        count_quotations(f"<p>{OWN_SENTENCE}</p><blockquote><p>{WORDS}</p></blockquote>", "html")
        == 1
    )
    assert count_quotations(f"<figure><q>{WORDS}</q></figure>", "html") == 1
    assert count_quotations(f"<p>{OWN_SENTENCE}</p>\n> {WORDS}", "html") == 0
    assert (
        count_quotations(
            f"<p>{OWN_SENTENCE}</p><code>&lt;blockquote&gt;{WORDS}&lt;/blockquote&gt;</code>",
            "html",
        )
        == 0
    )
    assert count_quotations(f"{OWN_SENTENCE}\n> {WORDS}\n", "text") == 1
    assert count_quotations(f"<blockquote>{WORDS}</blockquote>", "text") == 0


def test_text_is_compared_regardless_of_punctuation() -> None:
    quotations = find_quotations({"text": f"> {WORDS}.\n\n{OWN_SENTENCE}", "markup": "markdown"})
    assert count_contained_quotations(quotations, OWN_SENTENCE) == 0
    assert (
        count_contained_quotations(
            quotations, f"Well: *The Tide* forgives nobody, who reads it, {OWN_SENTENCE}"
        )
        == 1
    )
    assert count_unmarked_quotations(quotations, f"> {WORDS}.\n\n{OWN_SENTENCE}") == 0
    assert count_unmarked_quotations(quotations, f"- {OWN_SENTENCE}\n  > {WORDS}.") == 0
    assert count_unmarked_quotations(quotations, f"{WORDS}.\n\n{OWN_SENTENCE}") == 1
    assert count_unmarked_quotations(quotations, f"> {OWN_SENTENCE}\n\n*{WORDS}*") == 1


def test_text_repeated_outside_a_quotation_is_allowed() -> None:
    text = f"> {WORDS} and nobody knows why that should be so today\n\nBut {WORDS}, I said."
    quotations = find_quotations({"text": text, "markup": "markdown"})
    assert len(quotations) == 1
    assert count_unmarked_quotations(quotations, f"But {WORDS}, I said.") == 0


def test_quoted_code_is_allowed() -> None:
    """A quoted error message may also occur in the code of the post."""
    text = f"{OWN_SENTENCE}\n\n> {WORDS}, see `-x`.\n\n```text\nprint {WORDS}\n```"
    (runs,) = find_quotations({"text": text, "markup": "markdown"})
    assert runs == {("from", "a", "printed", "table", "see"), ("a", "printed", "table", "see", "x")}
    page = f"<blockquote>{WORDS}</blockquote><pre>print <b>{WORDS}</b></pre>"
    assert find_quotations({"text": page, "markup": "html"}) == ()


def test_scripts_without_spaces_are_compared_by_characters() -> None:
    quotations = find_quotations(
        {"text": "> 潮は誰も許さないと彼は書いた\n\n私の文。", "markup": "markdown"}
    )
    assert count_unmarked_quotations(quotations, "潮は誰も許さないと彼は書いた") == 1


@pytest.mark.parametrize(
    ("source", "markup"),
    [
        (f"<q>{WORDS}</q>\n\n{OWN_SENTENCE}", "markdown"),
        (f"<p>{OWN_SENTENCE}</p><p><q>{WORDS}</q></p>", "html"),
        (f"<figure><q>{WORDS}</q><figcaption>A. Sailor</figcaption></figure>", "html"),
        (f"<ul><li>{OWN_SENTENCE}</li><li><q>{WORDS}</q></li></ul>", "html"),
    ],
)
def test_a_q_paragraph_becomes_a_quotation(source: str, markup: str) -> None:
    cleaned = clean_html(source) if markup == "html" else clean_markdown(source)
    quotations = find_quotations({"text": source, "markup": markup})
    assert f"> {WORDS}" in cleaned
    assert count_contained_quotations(quotations, cleaned) or markup == "html"
    assert count_unmarked_quotations(quotations, cleaned) == 0


def test_direct_speech_stays_in_its_sentence() -> None:
    assert clean_html("<p>She said <q>yes</q>.</p>") == 'She said "yes".'
    assert clean_html("<p><q>Yes</q>, she said.</p>") == '"Yes", she said.'


@pytest.mark.parametrize(
    "piece", ["> ", "<blockquote>", "<q>", "<blockquote><", "- ", "> ```\n", "</blockquote>\n\n"]
)
def test_time_is_linear_in_the_length(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    start_s = time.process_time()
    find_quotations({"text": text, "markup": "markdown"})
    assert time.process_time() - start_s < 5.0
