"""Test which passages an answer shows, and where each ends."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from twin_resources.models.quotes.quoter import (
    MAX_QUOTES,
    MAX_SHOWN,
    MAX_UNFINISHED,
    choose_quotes,
    continue_text,
)
from twin_resources.models.retrieval.retrieval import RetrievalResult
from twin_resources.models.retrieval.search import Passage

LONG = " ".join(f"Oil creeps along pivot {number} in the winter." for number in range(20))


def build_passages(text: str, *lengths: int, document: str = "d") -> list[Passage]:
    """Cut a document at these lengths, each passage beginning where the last one ended."""
    passages: list[Passage] = []
    start = 0
    for position, length in enumerate((*lengths, len(text))):
        part = text[start : start + length]
        begin = start + len(part) - len(part.lstrip())
        end = start + len(part.rstrip())
        if end > begin:
            fields = (f"{document}{position}", document, "On oil", "", None, text[begin:end])
            passages.append(Passage(*fields, 1.0, 50, position, begin, end, evidence=0.6))
        start += length
    return passages


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (f"Why eight?\n\n{LONG}\n\nThe end.", "The end."),  # the answer follows the question
        (f"{LONG}\n\nTabs?\n\nShut up and use spaces.", "use spaces."),
        (f"{LONG}\n\n## Brass\n\nBrass is soft.", "winter."),  # another section
        (f"{LONG}\n\nRun:\n\n```sh\nmake\n\nmake test\n```\n\n{LONG}", "```"),
        (f"{LONG}\n\nBut never in a kitchen. {LONG}", "winter."),  # the turn
        (f"{LONG}\n\n{LONG}", "winter."),
    ],
)
def test_a_passage_goes_on_to_the_end_of_its_thought(text: str, end: str) -> None:
    cut = text.index("\n\n", len(LONG)) if text.startswith(LONG) else text.index("\n\n")
    first, *following = build_passages(text, cut)
    shown = continue_text(first, following)
    assert text.startswith(shown)
    assert shown.endswith(end)
    assert len(shown) <= MAX_UNFINISHED


def test_the_rest_of_a_section_is_shown_up_to_a_limit() -> None:
    paragraphs = [f"Number {n}. {LONG[:430]}".strip() for n in range(6)]
    text = "\n\n".join(paragraphs)
    first, *following = build_passages(text, len("\n\n".join(paragraphs[:2])), 900)
    shown = continue_text(first, following)
    assert shown == "\n\n".join(paragraphs[:3])
    assert len(shown) <= MAX_SHOWN
    assert continue_text(first, []) == first.text


def test_overlapping_passages_are_joined_without_repetition() -> None:
    text = f"{LONG}\n\nShort one.\n\nShort two."
    first = build_passages(text, len(LONG) + 12)[0]
    second = replace(first, text=text[len(LONG) + 2 :], start=len(LONG) + 2, end=len(text))
    assert continue_text(first, [second]) == text


def test_quotations_are_separate_passages() -> None:
    passages = build_passages(LONG * 2, 800) + build_passages(LONG, 800, document="e")
    inner = replace(passages[0], chunk_id="inner", start=passages[0].start + 100)
    ranked = (passages[0], inner, *passages[1:])
    result = choose_quotes(RetrievalResult((), None, ranked=ranked), lambda _: ())
    assert [(quote.document_id, quote.start) for quote in result.quotes] == [
        (passage.document_id, passage.start) for passage in passages[:MAX_QUOTES]
    ]
    assert result.best_score == 0.6


def test_no_text_is_shown_twice() -> None:
    """Passages overlap, and a shown one goes on into the next."""
    text = "\n\n".join(f"{letter} {LONG[:380]}" for letter in "ABCDEFGH")
    parts = [text.index(f"{letter} ") for letter in "ABCDEFGH"]
    passages = tuple(
        Passage(
            f"c{n}", "d", "", "", None, text[start:end].strip(), 1.0, 50, n, start,
            start + len(text[start:end].strip()), evidence=0.6,
        )
        for n, (start, end) in enumerate([(parts[0], parts[2]), (parts[1], parts[4])])
    )  # fmt: skip
    for ranked in (passages, passages[::-1]):
        result = choose_quotes(
            RetrievalResult((), None, ranked=ranked),
            lambda passage: passages[passage.position + 1 :],
        )
        shown = sorted((quote.start, quote.end) for quote in result.quotes)
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(shown))
        for quote in result.quotes:
            assert text[quote.start : quote.end] == quote.text


def test_without_evidence_nothing_is_quoted() -> None:
    passages = tuple(replace(item, evidence=0.03) for item in build_passages(LONG, 300))
    result = choose_quotes(RetrievalResult((), None, ranked=passages), lambda _: ())
    assert (result.quotes, result.best_score, result.reason) == ((), 0.03, "")
    assert choose_quotes(RetrievalResult((), None), lambda _: ()).quotes == ()


def test_a_passage_within_code_has_its_fences() -> None:
    [passage] = build_passages("x = 1\ny = 2")
    passage = replace(passage, fence="```py")
    result = choose_quotes(RetrievalResult((), None, ranked=(passage,)), lambda _: ())
    assert result.quotes[0].text == "```py\nx = 1\ny = 2\n```"
    assert (result.quotes[0].start, result.quotes[0].end) == (0, 11)
