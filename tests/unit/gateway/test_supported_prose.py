"""Prose that is judged sentence by sentence: what is left out, and where quotations stand alone."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.gateway.exchanges import create_chunk, create_record, create_response, stream_chunks
from tests.unit.judges.word_vectors import embed
from twin_resources.authors.answer_forms import ProseRelease, SentenceThreshold
from twin_resources.gateway.exchange.answer_ending import (
    remove_unsupported_sentences,
    stream_supported_sentences,
    stream_with_heading,
)
from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.exchange.supported_prose import (
    ProseNote,
    SupportedSentenceFilter,
)
from twin_resources.gateway.found_passages import PassageFinder
from twin_resources.models.quotes.answer_text import PROSE_HEADING, extract_prose
from twin_resources.quality.judges.judge import cache_embeddings
from twin_resources.quality.judges.sentence_support import SentenceSupport

POSTS = (
    "A clock wants one drop of oil on each pivot. Never turn the hands backwards. "
    "Brass ages in the damp air of a kitchen.",
)
RIGHT = "A clock wants one drop of oil on each pivot."
ALSO_RIGHT = "Brass ages in the damp air of a kitchen."
OPPOSITE = "Turn the hands backwards."
INVENTED = "Whisky on Wednesdays mends springs faster than patience."
THRESHOLD = 0.6


def record(**sent: Any) -> RequestRecord:
    made = create_record(opening="> Quoted.", **sent)
    made.decision = replace(
        made.decision, version="v3", route="stable", prose_release=ProseRelease("")
    )
    judge = SentenceSupport(embed, embedder="words")
    made.prose_note = ProseNote(
        supported_sentences=SupportedSentenceFilter(judge, THRESHOLD, POSTS)
    )
    return made


async def streamed(made: RequestRecord, text: str, *, size: int = 7) -> list[str]:
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    got: list[str] = []
    async for part in stream_with_heading(
        made, stream_supported_sentences(made, stream_chunks(parts, "stop"))
    ):
        content = part.choices[0].delta.content
        got += [content] if content else []
        assert not (content and part.choices[0].finish_reason), "some clients read no text there"
    return got


async def answered(made: RequestRecord, text: str) -> str:
    response = create_response(text, "stop")
    await remove_unsupported_sentences(made, response)
    return str(response.choices[0].message.content)


@pytest.mark.parametrize("stream", [True, False])
async def test_an_unsupported_sentence_is_left_out_and_counted(stream: bool) -> None:
    made = record(stream=stream)
    text = f"{RIGHT} {OPPOSITE} {ALSO_RIGHT} Is that not so?"
    if stream:
        pieces = await streamed(made, text)
        assert pieces[0].startswith(f"\n\n{PROSE_HEADING}\n\nA clock")
        assert len(pieces) > 1, "the first sentence does not wait for the last"
        shown = extract_prose(made.prefix + "".join(pieces))
    else:
        shown = await answered(made, text)
    assert shown == f"{RIGHT} {ALSO_RIGHT} Is that not so?"
    assert made.shown_text == shown
    told = made.twin_field()
    assert told["answer"] == "quote_and_voice"
    assert told["version"] == "v3"
    assert told["prose"] | {"sentences": 3, "left_out": 1, "judged": True} == told["prose"]


@pytest.mark.parametrize("stream", [True, False])
async def test_below_half_of_the_sentences_the_quotation_stands_alone(stream: bool) -> None:
    made = record(stream=stream)
    text = f"{INVENTED} {OPPOSITE} {RIGHT}"
    if stream:
        assert await streamed(made, text) == [], "not even the heading"
    else:
        assert await answered(made, text) == ""
    told = made.twin_field()
    assert (told["answer"], told["version"], told["route"]) == ("quote", "quotes", "quotes")
    assert told["prose"]["why"] == "2 of 3 sentences are unsupported"
    assert told["prose"]["model"] == "twin/ann@voice"
    assert made.shown_text == made.prefix == "> Quoted.", "the trace has what the reader got"
    assert not made.is_fixed, "a model has worked for it, and that has its price"


async def test_what_begins_badly_is_shown_once_half_of_it_is_supported() -> None:
    made = record(stream=True)
    pieces = await streamed(made, f"{INVENTED} {RIGHT} {ALSO_RIGHT}")
    assert "".join(pieces) == f"\n\n{PROSE_HEADING}\n\n{RIGHT} {ALSO_RIGHT}"


async def test_what_claims_nothing_shares_the_fate_of_the_sentence_before() -> None:
    made = record()
    assert await answered(made, f"Oh no. {RIGHT} So it is. {OPPOSITE} Why? {ALSO_RIGHT}") == (
        f"{RIGHT} So it is. {ALSO_RIGHT}"
    )
    assert made.twin_field()["prose"]["sentences"] == 3


async def test_an_answer_without_any_claim_shows_nothing() -> None:
    assert await answered(record(), "Why?") == ""


async def test_prose_that_is_not_judged_passes_as_it_is() -> None:
    made = record(stream=True)
    made.prose_note = ProseNote(draft_reason="so")
    assert "".join(await streamed(made, INVENTED)) == INVENTED
    assert made.prefix == f"> Quoted.\n\n{PROSE_HEADING}\n\n"
    assert made.twin_field()["draft"] == {"why": "so"}


async def test_a_number_is_not_cut_in_its_middle() -> None:
    made = record(stream=True)
    judged = made.prose_note.supported_sentences
    assert judged is not None
    assert await judged.feed("A clock wants one drop of oil on each pivot.") == ""
    assert await judged.feed("5 ") == ""
    assert judged.claim_count == 0


async def test_a_reader_who_leaves_ends_the_models_stream() -> None:
    closed: list[bool] = []

    async def source() -> AsyncGenerator[Any, None]:
        try:
            for _ in range(9):
                yield create_chunk(f"{RIGHT} ")
        finally:
            closed.append(True)

    model = source()
    stream = stream_supported_sentences(record(stream=True), model)
    async for part in stream:
        if part.choices[0].delta.content:
            break
    await stream.aclose()
    await model.aclose()
    assert closed == [True]


class Embeds:
    """In the place of the retriever: with an embedder that counts what it embeds."""

    embedder_revision = "words"

    def __init__(self) -> None:
        self.embedded: list[str] = []

    def embed(self, texts: Any) -> Any:
        self.embedded += texts
        return embed(texts)


async def test_the_judge_is_the_gates_or_none_and_embeds_nothing_twice() -> None:
    retriever: Any = Embeds()
    passages = PassageFinder(lambda: retriever)
    of_gate = SentenceSupport(embed, embedder="words").revision
    assert passages.sentence_judge(of_gate) is None, "the embedder is not open"
    passages._open()
    assert passages.sentence_judge("another") is None
    judge = passages.sentence_judge(of_gate)
    assert judge is not None
    cut = SentenceThreshold(of_gate, THRESHOLD)
    judged = SupportedSentenceFilter(judge, cut.threshold, POSTS, passages.run_in_thread)
    shown = await judged.feed(f"{RIGHT} And") + await judged.feed(
        f" so. {ALSO_RIGHT}", is_final=True
    )
    assert shown == f"{RIGHT} And so. {ALSO_RIGHT}"
    assert len(retriever.embedded) == len(set(retriever.embedded))
    assert cache_embeddings(embed)(["oil", "oil"]).shape == (2, 512)
