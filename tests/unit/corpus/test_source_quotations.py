"""What is a quotation in a source, and what holds its words."""

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
OWN = "My own sentence about boats stands before and after what somebody else said."


def of(text: str, markup: str = "markdown") -> int:
    """How many quoted paragraphs a source has, each of which must hold the words."""
    found = find_quotations({"text": text, "markup": markup})
    assert count_contained_quotations(found, WORDS) == len(found)
    return len(found)


@pytest.mark.parametrize(
    "source",
    [
        f"{OWN}\n\n> {WORDS}\n\n{OWN}",
        f"{OWN}\n> {WORDS}",
        f"> the tide forgives nobody who\n> reads it from a printed table\n\n{OWN}",
        f"> > {WORDS}",
        f"- one\n- two\n\n  > {WORDS}",
        f"1. > {WORDS}\n\n{OWN}",
        f"- one\n\t- two\n\n\t\t> {WORDS}",
        f"> [!quote] Somebody\n> {WORDS}",
        f"<blockquote>{WORDS}</blockquote>",
        f'<blockquote class="tweet">\n\n{WORDS}\n\n</blockquote>\n\n{OWN}',
        f"<blockquote>\n<blockquote>{WORDS}</blockquote>\n</blockquote>",
        f"<PullQuote author='x'>\n\n{WORDS}\n\n</PullQuote>",
        f"<q>{WORDS}</q>",
        f"<p>\n<q cite='a'>{WORDS}</q></p>\n\n{OWN}",
        f"<img src='a'\n  alt='b'\n>\n\n> {WORDS}",
        "> the tide *forgives* nobody who [reads it](https://a.example/b) from a printed table",
    ],
)
def test_markdown_quotations_are_found(source: str) -> None:
    assert of(source) == 1


@pytest.mark.parametrize(
    "source",
    [
        WORDS,
        f"He said <q>{WORDS}</q> and left.",
        f"```\n> {WORDS}\n```",
        f"- item\n\n  ```console\n  > {WORDS}\n  ```",
        f"{OWN}\n\n    > {WORDS}",
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
    assert of(source) == 0


def test_html_and_text() -> None:
    assert of(f"<p>{OWN}</p><blockquote><p>{WORDS}</p></blockquote>", "html") == 1
    assert of(f"<figure><q>{WORDS}</q></figure>", "html") == 1
    assert of(f"<p>{OWN}</p>\n> {WORDS}", "html") == 0
    assert of(f"<p>{OWN}</p><code>&lt;blockquote&gt;{WORDS}&lt;/blockquote&gt;</code>", "html") == 0
    assert of(f"{OWN}\n> {WORDS}\n", "text") == 1
    assert of(f"<blockquote>{WORDS}</blockquote>", "text") == 0


def test_text_is_compared_regardless_of_punctuation() -> None:
    found = find_quotations({"text": f"> {WORDS}.\n\n{OWN}", "markup": "markdown"})
    assert count_contained_quotations(found, OWN) == 0
    assert (
        count_contained_quotations(found, f"Well: *The Tide* forgives nobody, who reads it, {OWN}")
        == 1
    )
    assert count_unmarked_quotations(found, f"> {WORDS}.\n\n{OWN}") == 0
    assert count_unmarked_quotations(found, f"- {OWN}\n  > {WORDS}.") == 0
    assert count_unmarked_quotations(found, f"{WORDS}.\n\n{OWN}") == 1
    assert count_unmarked_quotations(found, f"> {OWN}\n\n*{WORDS}*") == 1


def test_text_repeated_outside_a_quotation_is_allowed() -> None:
    text = f"> {WORDS} and nobody knows why that should be so today\n\nBut {WORDS}, I said."
    found = find_quotations({"text": text, "markup": "markdown"})
    assert len(found) == 1
    assert count_unmarked_quotations(found, f"But {WORDS}, I said.") == 0


def test_quoted_code_is_allowed() -> None:
    """An error message is quoted, and the program that prints it stands below it."""
    text = f"{OWN}\n\n> {WORDS}, see `-x`.\n\n```text\nprint {WORDS}\n```"
    (left,) = find_quotations({"text": text, "markup": "markdown"})
    assert left == {("from", "a", "printed", "table", "see"), ("a", "printed", "table", "see", "x")}
    page = f"<blockquote>{WORDS}</blockquote><pre>print <b>{WORDS}</b></pre>"
    assert find_quotations({"text": page, "markup": "html"}) == ()


def test_a_script_without_spaces_is_measured_by_its_characters() -> None:
    found = find_quotations(
        {"text": "> 潮は誰も許さないと彼は書いた\n\n私の文。", "markup": "markdown"}
    )
    assert count_unmarked_quotations(found, "潮は誰も許さないと彼は書いた") == 1


@pytest.mark.parametrize(
    ("source", "markup"),
    [
        (f"<q>{WORDS}</q>\n\n{OWN}", "markdown"),
        (f"<p>{OWN}</p><p><q>{WORDS}</q></p>", "html"),
        (f"<figure><q>{WORDS}</q><figcaption>A. Sailor</figcaption></figure>", "html"),
        (f"<ul><li>{OWN}</li><li><q>{WORDS}</q></li></ul>", "html"),
    ],
)
def test_a_paragraph_that_is_a_q_is_cleaned_into_a_quotation(source: str, markup: str) -> None:
    cleaned = clean_html(source) if markup == "html" else clean_markdown(source)
    found = find_quotations({"text": source, "markup": markup})
    assert f"> {WORDS}" in cleaned
    assert count_contained_quotations(found, cleaned) or markup == "html"
    assert count_unmarked_quotations(found, cleaned) == 0


def test_direct_speech_stays_in_its_sentence() -> None:
    assert clean_html("<p>She said <q>yes</q>.</p>") == 'She said "yes".'
    assert clean_html("<p><q>Yes</q>, she said.</p>") == '"Yes", she said.'


@pytest.mark.parametrize(
    "piece", ["> ", "<blockquote>", "<q>", "<blockquote><", "- ", "> ```\n", "</blockquote>\n\n"]
)
def test_time_grows_with_the_text(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    started = time.process_time()
    find_quotations({"text": text, "markup": "markdown"})
    assert time.process_time() - started < 5.0
