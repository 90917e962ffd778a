"""Test prose that is judged by sentence: omitted sentences, and answers with quotations alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.gateway.exchanges import FakeRouter, compose, create_record
from tests.unit.judges.word_vectors import embed
from twin_resources.authors.answer_forms import ProseRelease, SentenceThreshold
from twin_resources.gateway.exchange.exchange import RequestRecord
from twin_resources.gateway.exchange.supported_prose import ProseNote, SupportedSentenceFilter
from twin_resources.gateway.passage_finder import PassageFinder
from twin_resources.models.quotes.answer_text import extract_prose
from twin_resources.quality.judges.judge import cache_embeddings
from twin_resources.quality.judges.sentence_support import SentenceSupport

POSTS = (
    "A clock wants one drop of oil on each pivot. Never turn the hands backwards. "
    "Brass ages in the damp air of a kitchen.",
)
SUPPORTED = "A clock wants one drop of oil on each pivot."
ALSO_SUPPORTED = "Brass ages in the damp air of a kitchen."
OPPOSITE = "Turn the hands backwards."
INVENTED = "Whisky on Wednesdays mends springs faster than patience."
THRESHOLD = 0.6
LABEL_LINE = "✎ **Written by a program, not by Ann**\n\n"


def create_judged_record(**body: Any) -> RequestRecord:
    record = create_record(opening="> Quoted.", **body)
    record.decision = replace(
        record.decision, version="v3", route="stable", prose_release=ProseRelease("")
    )
    judge = SentenceSupport(embed, embedder="words")
    record.prose_note = ProseNote(
        supported_sentences=SupportedSentenceFilter(judge, THRESHOLD, POSTS)
    )
    return record


async def show_prose(record: RequestRecord, text: str, *, size: int = 7) -> list[str]:
    """Return the pieces of an answer below its opening."""
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    pieces, _ = await compose(record, FakeRouter(parts))
    pieces[0] = pieces[0].removeprefix("> Quoted.")
    return [piece for piece in pieces if piece]


@pytest.mark.parametrize("stream", [True, False])
async def test_an_unsupported_sentence_is_left_out_and_counted(stream: bool) -> None:
    record = create_judged_record(stream=stream)
    text = f"{SUPPORTED} {OPPOSITE} {ALSO_SUPPORTED} Is that not so?"
    pieces = await show_prose(record, text)
    assert pieces[0].startswith(f"\n\n{LABEL_LINE}A clock")
    assert (len(pieces) > 1) is stream, (
        "a stream sends the first sentence before the last is complete"
    )
    shown = extract_prose(record.prefix + "".join(pieces))
    assert shown == f"{SUPPORTED} {ALSO_SUPPORTED} Is that not so?"
    assert record.shown_text == shown
    twin = record.twin_field()
    assert twin["answer"] == "quote_and_voice"
    assert twin["version"] == "v3"
    assert twin["prose"] | {"sentences": 3, "left_out": 1, "judged": True} == twin["prose"]


@pytest.mark.parametrize("stream", [True, False])
async def test_prose_is_dropped_if_less_than_half_is_supported(stream: bool) -> None:
    record = create_judged_record(stream=stream)
    text = (
        f"{SUPPORTED} {OPPOSITE} {INVENTED}" if not stream else f"{INVENTED} {OPPOSITE} {SUPPORTED}"
    )
    assert await show_prose(record, text) == [], "the heading is not sent either"
    twin = record.twin_field()
    assert (twin["answer"], twin["version"], twin["route"]) == ("quote", "quotes", "quotes")
    lost = "2 of 3 sentences are unsupported"
    assert twin["prose"]["why"] == (f"{lost}, the first among them" if stream else lost)
    assert twin["prose"]["model"] == "twin/ann@voice"
    assert record.shown_text == record.prefix == "> Quoted.", (
        "the trace contains the text that the reader received"
    )
    assert not record.is_fixed, "a model was called, so the answer has a cost"


@pytest.mark.parametrize("first", [INVENTED, OPPOSITE, "Yes.", "No, the clock never wants oil."])
@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_loses_its_first_sentence_is_not_shown(
    first: str, stream: bool
) -> None:
    record = create_judged_record(stream=stream)
    text = f"{first} {SUPPORTED} {ALSO_SUPPORTED}"
    assert await show_prose(record, text) == []
    why = record.twin_field()["prose"]["why"]
    assert why == "1 of 3 sentences are unsupported, the first among them"


async def test_a_sentence_without_a_claim_is_kept_or_dropped_with_the_previous_one() -> None:
    record = create_judged_record()
    await show_prose(record, f"Oh no. {SUPPORTED} So it is. {OPPOSITE} Why? {ALSO_SUPPORTED}")
    assert record.shown_text == f"{SUPPORTED} So it is. {ALSO_SUPPORTED}"
    assert record.twin_field()["prose"]["sentences"] == 3


async def test_an_answer_without_claims_is_dropped() -> None:
    assert await show_prose(create_judged_record(), "Why?") == []


async def test_prose_without_a_judge_is_not_changed() -> None:
    record = create_judged_record(stream=True)
    record.prose_note = ProseNote(draft_reason="so")
    assert "".join(await show_prose(record, INVENTED)) == f"\n\n{LABEL_LINE}{INVENTED}"
    assert record.prefix == "> Quoted."
    assert record.twin_field()["draft"] == {"why": "so"}


async def test_a_sentence_does_not_end_within_a_number() -> None:
    record = create_judged_record(stream=True)
    sentence_filter = record.prose_note.supported_sentences
    assert sentence_filter is not None
    assert await sentence_filter.feed("A clock wants one drop of oil on each pivot.") == ""
    assert await sentence_filter.feed("5 ") == ""
    assert sentence_filter.claim_count == 0


class CountingRetriever:
    """A retriever whose embedder records the texts that it embeds."""

    embedder_revision = "words"

    def __init__(self) -> None:
        self.embedded_texts: list[str] = []

    def embed(self, texts: Any) -> Any:
        self.embedded_texts += texts
        return embed(texts)


async def test_the_judge_has_the_gates_revision_and_embeds_each_text_once() -> None:
    retriever: Any = CountingRetriever()
    finder = PassageFinder(lambda: retriever)
    revision = SentenceSupport(embed, embedder="words").revision
    assert finder.create_sentence_judge(revision) is None, "the embedder is not open"
    finder._open_retriever()
    assert finder.create_sentence_judge("another") is None
    judge = finder.create_sentence_judge(revision)
    assert judge is not None
    threshold = SentenceThreshold(revision, THRESHOLD)
    sentence_filter = SupportedSentenceFilter(
        judge, threshold.threshold, POSTS, finder.run_in_thread
    )
    shown = await sentence_filter.feed(f"{SUPPORTED} And") + await sentence_filter.feed(
        f" so. {ALSO_SUPPORTED}", is_final=True
    )
    assert shown == f"{SUPPORTED} And so. {ALSO_SUPPORTED}"
    assert len(retriever.embedded_texts) == len(set(retriever.embedded_texts))
    assert cache_embeddings(embed)(["oil", "oil"]).shape == (2, 512)
