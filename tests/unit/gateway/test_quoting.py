"""What a question to `twin/<author>` gets: quotations, prose below them, or the nearest posts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from twin_resources.access.keys import Key
from twin_resources.access.refusals import RefusedError
from twin_resources.authors import Author
from twin_resources.authors.answer_forms import NO_VERSION_REASON, AnswerSetting, ProseRelease
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.exchange.supported_prose import NOT_JUDGED
from twin_resources.gateway.found_passages import PassageFinder
from twin_resources.gateway.request.request_body import read_question
from twin_resources.gateway.routing.snapshot import Server, Snapshot
from twin_resources.gateway.stages.request_path import RequestPath
from twin_resources.models.quotes.answer_text import (
    PROSE_HEADING,
    bold_answering_sentence,
    extract_prose,
)
from twin_resources.models.quotes.quoter import Quote, QuoteResult
from twin_resources.models.retrieval.retrieval import Passage
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.registry.policy import AuthorPolicy, Policy, ServedVersion
from twin_resources.settings import Settings

KEY = Key("0123456789abcdef", "reader", frozenset({"*"}), "all")
WHEN = datetime(2024, 5, 1, tzinfo=UTC)
ANN = Author("ann", "Ann")
RELEASED = ProseRelease("")
FAILED = ProseRelease("92 % of sentences unsupported, limit 20 %")
POSTS = tuple(
    Passage(f"c{n}", f"d{n}", f"Post {n}", f"https://x/{n}", WHEN, f"Text {n}.", 1 / n, 4)
    for n in (1, 2, 3, 4)
)
SAID = "Oil dries in eight years.\nThen it stops."
FIRST = Quote(SAID, "d2", "Post 2", "https://x/2", WHEN, 10, 10 + len(SAID), 0.71234)
SECOND = Quote("Not *much* oil.", "d9", "An [odd] one", "", None, 0, 15, 0.5)


class Found:
    passages = POSTS[:1]
    nearest = POSTS
    reason = ""
    vector = (1.0,)
    tokens = None
    embedder = "e1"


class Posts:
    """In the place of the retriever."""

    embedder_revision = "e1"

    def retrieve(
        self, author: str, question: str, *, token_budget: int, with_tokens: bool
    ) -> Found:
        return Found()


class Quoting:
    """In the place of the quoter."""

    def __init__(self, quoted: QuoteResult) -> None:
        self.quoted = quoted
        self.asked: list[Sequence[str]] = []
        self.shown: list[str] = []
        self.languages: list[str] = []

    def calibrated_embedder(self, author: str) -> str:
        return "e1"

    def quote(
        self,
        author: str,
        question: Any,
        documents: Sequence[str],
        *,
        tokens: Any,
        embedder: str,
        shown_text: str,
        language: str,
    ) -> QuoteResult:
        self.asked.append(documents)
        self.shown.append(shown_text)
        self.languages.append(language)
        return self.quoted


def path(
    home: Settings,
    quoting: Quoting,
    *,
    answer: AnswerSetting = "auto",
    prose: ProseRelease = RELEASED,
) -> RequestPath:
    live = LiveConfig(home)
    server = Server("http://127.0.0.1:1/v1", "base", "", ready=True, engine="llama 1")
    stable = ServedVersion(3, "hash3", DEFAULT_TEMPLATE.hash, "", None, "", "", prose)
    policy = Policy(authors={"ann": AuthorPolicy(stable=stable, weights={"stable": 1.0})})
    author = replace(ANN, answer=answer)
    live.current = Snapshot({"ann": author}, policy, {"base": server, "ann/v3": server})
    opener: Any = Posts
    return RequestPath(live, PassageFinder(opener, lambda _: quoting), usd_per_hour=0.02)  # type: ignore[arg-type,return-value]


async def prepare(
    way: RequestPath, *turns: str, model: str = "twin/ann", **more: Any
) -> RequestRecord:
    messages = [
        {"role": ("user", "assistant")[place % 2], "content": turn}
        for place, turn in enumerate(turns or ("Which oil?",))
    ]
    asked = read_question({"model": model, "messages": messages} | more)
    return await way.prepare(asked, KEY, today=date(2026, 3, 1))


async def test_a_question_in_another_language_names_the_nearest_posts_in_its_own(
    home: Settings,
) -> None:
    found = QuoteResult((FIRST,), 0.71, 0.3, languages=("en",), known_languages=("en",))
    quoting = Quoting(found)
    prepared = await prepare(path(home, quoting), "Welches Öl nimmt man für eine Uhr?")
    assert quoting.languages == ["de"], "such questions have a threshold of their own"
    assert prepared.exchange.fixed_answer.startswith("Die Beiträge von Ann sind auf Englisch.")
    assert "Post 1" in prepared.exchange.fixed_answer
    assert prepared.quotes == ()


async def test_the_sentence_that_answers_is_bold_and_the_quotation_stays_as_it_is(
    home: Settings,
) -> None:
    place = (0, len("Oil dries in eight years."))
    one_line = replace(FIRST, text=SAID.replace("\n", " "), marked=place)
    prepared = await prepare(path(home, Quoting(QuoteResult((one_line,), 0.71, 0.3))))
    assert prepared.prefix.startswith("> **Oil dries in eight years.** Then it stops.\n")
    (quote,) = prepared.twin_field()["quotes"]
    assert (quote["text"], quote["marked"]) == (one_line.text, list(place))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("It alone answers.", "It alone answers."),
        ("Not *much* oil. It dries.", "Not *much* oil."),
        ("Over two\nlines. It dries.", "Over two\nlines."),
        ("See:\n```\nrm x\n```", "rm x"),
        ("Two things:\n- Oil it.\n- Wind it.", "- Oil it."),
    ],
)
def test_no_sentence_is_bold_that_would_be_read_wrongly(text: str, sentence: str) -> None:
    begin = text.index(sentence)
    quote = replace(SECOND, text=text, marked=(begin, begin + len(sentence)))
    assert bold_answering_sentence(quote) == text


async def test_quotations_open_the_answer_and_prose_follows(home: Settings) -> None:
    quoting = Quoting(QuoteResult((FIRST, SECOND), 0.71, 0.3))
    prepared = await prepare(path(home, quoting))
    assert quoting.asked == [["d1", "d2", "d3", "d4"]]
    assert prepared.exchange.fixed_answer == ""
    assert prepared.prefix == (
        "> Oil dries in eight years.\n> Then it stops.\n>\n"
        "> — [Post 2](https://x/2), 2024-05-01\n\n"
        "> Not *much* oil.\n>\n> — An \\[odd\\] one\n\n"
        f"{PROSE_HEADING}\n\n"
    )
    told = prepared.twin_field()
    assert told["answer"] == "quote_and_voice"
    assert told["version"] == "v3"
    first, second = told["quotes"]
    assert first == {
        "text": SAID, "marked": None, "document_id": "d2", "title": "Post 2", "url": "https://x/2",
        "published_at": "2024-05-01", "start": 10, "end": 10 + len(SAID), "score": 0.7123,
        "at": [0, 44],
    }  # fmt: skip
    begin, end = second["at"]
    assert prepared.prefix[begin:end] == "> Not *much* oil."
    # A post without an address is quoted and cannot be cited by one.
    assert prepared.citations == [
        {
            "type": "url_citation",
            "url_citation": {
                "url": "https://x/2", "title": "Post 2", "start_index": 0, "end_index": 44,
            },
        }
    ]  # fmt: skip
    # By these forgetting finds the trace: what the prompt showed, then what was quoted beside it.
    metadata = prepared.trace_metadata()
    assert metadata["twin.chunks"] == "c1,c2"
    assert metadata["twin.quotes"] == f"d2:10-{10 + len(SAID)},d9:0-15"
    assert "Text 1." in prepared.exchange.messages[-1]["content"]


async def test_quotations_alone_ask_no_model(home: Settings) -> None:
    prepared = await prepare(path(home, Quoting(QuoteResult((FIRST,), 0.7, 0.3)), answer="quote"))
    assert prepared.exchange.fixed_answer.endswith("— [Post 2](https://x/2), 2024-05-01")
    assert PROSE_HEADING not in prepared.exchange.fixed_answer
    assert prepared.prefix == ""
    assert prepared.is_fixed
    # A vote on it is a vote on no model.
    assert (prepared.decision.version, prepared.decision.checkpoint) == ("quotes", "")
    assert [source.chunk_id for source in prepared.sources] == ["c2"]
    assert prepared.cost.meter is None
    assert prepared.fallback is None
    prepared.cost.begin()
    prepared.end(100)
    assert prepared.cost.usd == 0.0


@pytest.mark.parametrize("answer", ["auto", "quote_and_voice", "voice"])
async def test_prose_that_is_not_released_is_not_shown_and_the_answer_says_why(
    home: Settings, answer: AnswerSetting
) -> None:
    way = path(home, Quoting(QuoteResult((FIRST,), 0.7, 0.3)), answer=answer, prose=FAILED)
    prepared = await prepare(way)
    assert prepared.exchange.fixed_answer.endswith("— [Post 2](https://x/2), 2024-05-01")
    told = prepared.twin_field()
    assert (told["answer"], told["version"], told["draft"]) == ("quote", "quotes", None)
    assert told["prose"] == {
        "shown": False, "why": FAILED.why_not, "model": "twin/ann@voice", "judged": False,
        "sentences": 0, "left_out": 0,
    }  # fmt: skip
    assert told["release"] == "quotations alone: 92 % of sentences unsupported, limit 20 %"
    if answer == "voice":
        assert told["degraded"] == (
            "v3 is not released for voice (92 % of sentences unsupported, limit 20 %); "
            "`twin release v3 --reason …` forces it"
        )
        forced = replace(FAILED, forced=True)
        way = path(home, Quoting(QuoteResult((FIRST,), 0.7, 0.3)), answer=answer, prose=forced)
        assert (await prepare(way)).answer_form == "voice"
    else:
        assert told["degraded"] == ""


@pytest.mark.parametrize("prose", [RELEASED, FAILED])
async def test_a_draft_is_prose_below_the_quotations_and_says_what_it_is(
    home: Settings, prose: ProseRelease
) -> None:
    way = path(home, Quoting(QuoteResult((FIRST,), 0.7, 0.3)), answer="quote", prose=prose)
    prepared = await prepare(way, model="twin/ann@voice")
    assert prepared.exchange.fixed_answer == ""
    assert prepared.prefix.endswith(f"\n\n{PROSE_HEADING}\n\n")
    told = prepared.twin_field()
    assert (told["answer"], told["version"], told["route"]) == (
        "quote_and_voice", "v3", "alias:voice",
    )  # fmt: skip
    assert told["draft"] == {"why": prose.why_not or NOT_JUDGED}
    assert told["prose"]["shown"]
    assert not told["prose"]["judged"]


async def test_the_base_models_prose_is_shown_to_who_asks_for_it_alone(home: Settings) -> None:
    way = path(home, Quoting(QuoteResult((FIRST,), 0.7, 0.3)))
    way.live_config.current = replace(way.live_config.current, policy=None)
    told = (await prepare(way)).twin_field()
    assert (told["answer"], told["prose"]["why"]) == ("quote", NO_VERSION_REASON)
    draft = (await prepare(way, model="twin/ann@voice")).twin_field()
    assert (draft["version"], draft["draft"]) == ("base", {"why": NO_VERSION_REASON})


@pytest.mark.parametrize("answer", ["quote", "auto"])
async def test_below_the_threshold_the_nearest_posts_are_named(
    home: Settings, answer: AnswerSetting
) -> None:
    prepared = await prepare(path(home, Quoting(QuoteResult((), 0.2, 0.3)), answer=answer))
    told = prepared.twin_field()
    assert " has not written about this." in prepared.exchange.fixed_answer
    assert "[Post 1](https://x/1)" in prepared.exchange.fixed_answer
    assert "Post 4" not in prepared.exchange.fixed_answer
    assert told["answer"] == "not_written_about"
    assert [post["title"] for post in told["nearest"]] == ["Post 1", "Post 2", "Post 3"]
    assert told["sources"] == told["quotes"] == []
    assert prepared.trace_metadata()["twin.chunks"] == "c1,c2,c3"


async def test_prose_alone_looks_for_nothing_to_quote(home: Settings) -> None:
    quoting = Quoting(QuoteResult((FIRST,), 0.7, 0.3))
    prepared = await prepare(path(home, quoting, answer="voice"))
    assert quoting.asked == []
    assert prepared.answer_form == "voice"
    assert prepared.prefix == prepared.exchange.fixed_answer == ""


@pytest.mark.parametrize(
    "named", [{"model": "twin/ann@stable"}, {"model": "twin/ann@base"},
              {"response_format": {"type": "json_object"}}]
)  # fmt: skip
async def test_a_named_version_and_json_stay_as_they_are(
    home: Settings, named: dict[str, Any]
) -> None:
    quoting = Quoting(QuoteResult((FIRST,), 0.7, 0.3))
    prepared = await prepare(path(home, quoting), **named)
    assert quoting.asked == []
    assert prepared.answer_form == "voice"
    assert prepared.degraded == ()


async def test_without_anything_to_quote_no_prose_stands_alone(home: Settings) -> None:
    prepared = await prepare(path(home, Quoting(QuoteResult((), reason="no table yet"))))
    assert prepared.exchange.fixed_answer == "No post by Ann can be quoted right now."
    told = prepared.twin_field()
    assert (told["answer"], told["version"]) == ("quote", "quotes")
    assert told["degraded"] == "nothing quoted: no table yet"
    assert told["prose"]["why"] == "there is no quotation above it"
    assert "found nothing" in told["disclosure"]


async def test_a_conversation_goes_on_without_its_quotations(home: Settings) -> None:
    way = path(home, Quoting(QuoteResult((FIRST,), 0.7, 0.3)))
    earlier = (await prepare(way)).prefix + "I oil it myself."
    assert extract_prose(earlier) == "I oil it myself."
    assert extract_prose("I oil it myself.") == "I oil it myself."
    assert extract_prose("> A reader's own quotation") == ""
    messages = (await prepare(way, "Which oil?", earlier, "And when?")).exchange.messages
    assert messages[1:3] == [
        {"role": "user", "content": "Which oil?"},
        {"role": "assistant", "content": "I oil it myself."},
    ]


@pytest.mark.parametrize(("answer", "refused"), [("quote", True), ("auto", True), ("voice", False)])
async def test_nobody_is_spoken_for_when_the_posts_cannot_be_read(
    home: Settings, answer: AnswerSetting, refused: bool
) -> None:
    way = path(home, Quoting(QuoteResult((FIRST,), 0.7, 0.3)), answer=answer)

    def broken() -> Any:
        raise OSError("the disk is gone")

    way.passage_finder.open_retriever = broken
    if refused:
        with pytest.raises(RefusedError) as caught:
            await prepare(way)
        assert (caught.value.status, caught.value.code) == (503, "posts_unreadable")
    else:
        prepared = await prepare(way)
        assert prepared.degraded == ("retrieval failed (OSError)",)


@pytest.mark.parametrize("stands_by", [True, False])
async def test_a_version_stands_by_only_where_its_prose_is_released_too(
    home: Settings, stands_by: bool
) -> None:
    way = path(home, Quoting(QuoteResult((FIRST,), 0.7, 0.3)))
    now = way.live_config.current
    stable = now.get_author_policy("ann").stable  # type: ignore[union-attr]
    assert stable is not None
    canary = replace(stable, version=4, checkpoint="hash4")
    stable = replace(stable, prose=RELEASED if stands_by else FAILED)
    entry = AuthorPolicy(stable, canary, weights={"stable": 0.0, "canary": 1.0})
    servers = {**now.servers, "ann/v4": now.servers["base"]}
    policy = Policy(authors={"ann": entry})
    way.live_config.current = replace(now, policy=policy, servers=servers)
    answering = await prepare(way)
    assert (answering.answer_form, answering.decision.version) == ("quote_and_voice", "v4")
    assert (answering.fallback is not None) is stands_by


async def test_what_earlier_answers_show_reaches_the_search_for_quotations(home: Settings) -> None:
    quoting = Quoting(QuoteResult((FIRST,), 0.7, 0.3))
    way = path(home, quoting)
    await prepare(way)
    await prepare(way, "Which oil?", "> Oil dries.", "Go on.")
    assert quoting.shown[0] == ""
    assert set(quoting.shown[1:]) == {"> Oil dries."}
