"""Test the forms of an answer: quotations, prose below them, or the closest passages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.gateway.exchanges import (
    PUBLISHED_AT,
    FakeRetrieval,
    FakeRetriever,
    change_snapshot,
    create_path,
    policy_with_stable,
    prepare,
)
from twin_resources.access.refusals import RefusedError
from twin_resources.authors import Author
from twin_resources.authors.answer_forms import (
    NO_VERSION_REASON,
    AnswerSetting,
    ProseRelease,
    SentenceThreshold,
)
from twin_resources.authors.front_desk_settings import read_front_desk
from twin_resources.gateway.exchange.supported_prose import NOT_JUDGED
from twin_resources.gateway.passage_finder import RetrievedPassages
from twin_resources.gateway.request_path import UNCHECKED, RequestPath
from twin_resources.models.quotes.answer_text import PROSE_MARK, extract_prose
from twin_resources.models.quotes.quoter import Quote, QuoteResult
from twin_resources.models.retrieval.retrieval import Passage
from twin_resources.prompt.templates import ANSWER_MODEL_TEMPLATE, DEFAULT_TEMPLATE, Template
from twin_resources.registry.policy import AuthorPolicy, Policy
from twin_resources.settings import Settings

RELEASED = ProseRelease("")
FAILED = ProseRelease("92 % of sentences unsupported, limit 10 %")
POSTS = tuple(
    Passage(f"c{n}", f"d{n}", f"Post {n}", f"https://x/{n}", PUBLISHED_AT, f"Text {n}.", 1 / n, 4)
    for n in (1, 2, 3, 4)
)
QUOTED_TEXT = "Oil dries in eight years.\nThen it stops."
FIRST = Quote(
    QUOTED_TEXT, "d2", "Post 2", "https://x/2", PUBLISHED_AT, 10, 10 + len(QUOTED_TEXT), 0.71234
)
SECOND = Quote("Not *much* oil.", "d9", "An [odd] one", "", PUBLISHED_AT.replace(2019), 0, 15, 0.5)


SOURCE_LINE = "— [Post 2](https://x/2), 2024-05-01 · found by a program"
ONE_QUOTE = QuoteResult((FIRST,), 0.7, 0.3)


class FakeQuoter:
    """Chooses the same quotations for each question, and records what it was given."""

    def __init__(self, result: QuoteResult) -> None:
        self.result = result
        self.documents: list[Sequence[str]] = []

    def __call__(self, retrieval: Any, read_following: Any) -> QuoteResult:
        del read_following
        self.documents.append([post.document_id for post in retrieval.nearest])
        return self.result


def create_quoting_path(
    home: Settings,
    quoter: FakeQuoter | QuoteResult = ONE_QUOTE,
    *,
    answer: AnswerSetting = "auto",
    prose: ProseRelease = RELEASED,
    disclosure: str = "field",
) -> RequestPath:
    """Return a request path with four posts and a quoter that returns one quotation by default."""
    retrieval = FakeRetrieval(POSTS[:1], nearest=POSTS, vector=(1.0,))
    return create_path(
        home,
        FakeRetriever(lambda: retrieval),
        author=Author("ann", "Ann", answer=answer, disclosure=disclosure),
        quoter=FakeQuoter(quoter) if isinstance(quoter, QuoteResult) else quoter,
        policy=policy_with_stable(prose=prose),
    )


async def test_a_question_in_another_language_is_answered_in_that_language(home: Settings) -> None:
    result = QuoteResult((FIRST,), 0.71, 0.3, languages=("en",), known_languages=("en",))
    quoter = FakeQuoter(result)
    prepared = await prepare(
        create_quoting_path(home, quoter), "Welches Öl nimmt man für eine Uhr?"
    )
    assert prepared.exchange.fixed_answer.startswith("Die Beiträge von Ann sind auf Englisch, ")
    assert "Post 1" in prepared.exchange.fixed_answer
    assert prepared.exchange.quotes == ()


async def test_quotations_open_the_answer_and_prose_follows(home: Settings) -> None:
    quoter = FakeQuoter(QuoteResult((FIRST, SECOND), 0.71, 0.3))
    prepared = await prepare(create_quoting_path(home, quoter))
    assert quoter.documents == [["d1", "d2", "d3", "d4"]]
    assert prepared.exchange.fixed_answer == ""
    assert prepared.prefix == (
        "> Oil dries in eight years.\n> Then it stops.\n>\n"
        "> — [Post 2](https://x/2), 2024-05-01 · found by a program\n\n"
        "> Not *much* oil.\n>\n> — An \\[odd\\] one, 2019-05-01 "
        "· from 2019, older than the first passage"
    )
    twin = prepared.twin_field()
    assert twin["answer"] == "quote_and_voice"
    assert twin["version"] == "v3"
    first, second = twin["quotes"]
    assert first == {
        "text": QUOTED_TEXT, "document_id": "d2", "title": "Post 2",
        "url": "https://x/2", "published_at": "2024-05-01", "start": 10, "end": 50,
        "score": 0.7123, "age": "", "at": [0, 44],
    }  # fmt: skip
    assert second["age"] == "from 2019, older than the first passage"
    start, end = second["at"]
    assert prepared.prefix[start:end] == "> Not *much* oil."
    # A post without an address is quoted but has no citation.
    assert prepared.citations == [
        {
            "type": "url_citation",
            "url_citation": {
                "url": "https://x/2", "title": "Post 2", "start_index": 0, "end_index": 44,
            },
        }
    ]  # fmt: skip
    # `twin forget` finds the trace by these: the chunks in the prompt, then the quotations.
    metadata = prepared.trace_metadata()
    assert metadata["twin.chunks"] == "c1,c2"
    assert metadata["twin.quotes"] == f"d2:10-{10 + len(QUOTED_TEXT)},d9:0-15"
    assert "Text 1." in prepared.exchange.messages[-1]["content"]


async def test_an_answer_of_quotations_calls_no_model(home: Settings) -> None:
    prepared = await prepare(create_quoting_path(home, answer="quote"))
    assert prepared.exchange.fixed_answer.endswith(SOURCE_LINE)
    assert PROSE_MARK not in prepared.exchange.fixed_answer
    assert prepared.headers() == {"x-twin-trace-id": prepared.trace_id}
    assert prepared.prefix == ""
    assert prepared.is_fixed
    # A vote on this answer counts for no model.
    assert (prepared.decision.version, prepared.decision.checkpoint) == ("quotes", "")
    assert [source.chunk_id for source in prepared.exchange.sources] == ["c2"]
    assert prepared.meter is None
    assert prepared.exchange.fallback is None
    prepared.begin()
    prepared.end(100)
    assert prepared.usd == 0.0


@pytest.mark.parametrize("answer", ["auto", "quote_and_voice"])
async def test_prose_whose_sentences_cannot_be_checked_is_not_shown(
    home: Settings, answer: AnswerSetting
) -> None:
    released = ProseRelease("", SentenceThreshold("the judge of an earlier verdict", 0.5))
    prepared = await prepare(create_quoting_path(home, answer=answer, prose=released))
    assert "— [Post 2](https://x/2), 2024-05-01" in prepared.exchange.fixed_answer
    twin = prepared.twin_field()
    assert (twin["answer"], twin["prose"]["shown"]) == ("quote", False)
    assert twin["prose"]["why"] == UNCHECKED


@pytest.mark.parametrize("answer", ["auto", "quote_and_voice", "voice"])
async def test_prose_that_is_not_released_is_not_shown_and_the_answer_says_why(
    home: Settings, answer: AnswerSetting
) -> None:
    path = create_quoting_path(home, answer=answer, prose=FAILED)
    prepared = await prepare(path)
    assert prepared.exchange.fixed_answer.endswith(SOURCE_LINE)
    twin = prepared.twin_field()
    assert (twin["answer"], twin["version"], twin["draft"]) == ("quote", "quotes", None)
    assert twin["prose"] == {
        "shown": False, "label": "", "why": FAILED.why_not, "model": "twin/ann@voice",
        "judged": False, "sentences": 0, "left_out": 0,
    }  # fmt: skip
    assert twin["release"] == "quotations alone: 92 % of sentences unsupported, limit 10 %"
    if answer == "voice":
        assert twin["degraded"] == (
            "v3 is not released for voice (92 % of sentences unsupported, limit 10 %); "
            "to force it, run `twin release v3 --reason …`"
        )
        forced = replace(FAILED, forced=True)
        path = create_quoting_path(home, answer=answer, prose=forced)
        assert (await prepare(path)).answer_form == "voice"
    else:
        assert twin["degraded"] == ""


@pytest.mark.parametrize("prose", [RELEASED, FAILED])
async def test_a_draft_is_marked_prose_below_the_quotations(
    home: Settings, prose: ProseRelease
) -> None:
    path = create_quoting_path(home, answer="quote", prose=prose)
    prepared = await prepare(path, model="twin/ann@voice")
    assert prepared.exchange.fixed_answer == ""
    label = "Written by a program, not by Ann"
    assert prepared.prefix.endswith(SOURCE_LINE)
    assert prepared.heading == f"\n\n✎ **{label}**\n\n"
    twin = prepared.twin_field()
    assert (twin["answer"], twin["version"], twin["route"]) == (
        "quote_and_voice", "v3", "alias:voice",
    )  # fmt: skip
    mark = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
    assert twin["digital_source_type"] == mark
    assert prepared.headers()["x-twin-digital-source-type"] == mark
    assert twin["draft"] == {"why": prose.why_not or NOT_JUDGED}
    assert (twin["prose"]["shown"], twin["prose"]["label"]) == (True, label)
    assert not twin["prose"]["judged"]
    assert prepared.trace_metadata()["twin.prose_label"] == label


async def test_prose_of_the_base_model_is_shown_only_on_request(home: Settings) -> None:
    path = create_quoting_path(home)
    change_snapshot(path, policy=None)
    twin = (await prepare(path)).twin_field()
    assert (twin["answer"], twin["prose"]["why"]) == ("quote", NO_VERSION_REASON)
    draft = (await prepare(path, model="twin/ann@voice")).twin_field()
    assert (draft["version"], draft["draft"]) == ("base", {"why": NO_VERSION_REASON})


@pytest.mark.parametrize("answer", ["quote", "auto"])
async def test_below_the_threshold_the_closest_passages_are_shown(
    home: Settings, answer: AnswerSetting
) -> None:
    prepared = await prepare(create_quoting_path(home, QuoteResult((), 0.2, 0.3), answer=answer))
    twin = prepared.twin_field()
    assert prepared.exchange.fixed_answer == "\n\n".join(
        [
            "I found nothing in Ann's posts that answers this. The closest:",
            *(f"> Text {n}.\n>\n> — [Post {n}](https://x/{n}), 2024-05-01" for n in (1, 2, 3)),
        ]
    )
    assert twin["answer"] == "not_found"
    for number, passage in enumerate(twin["nearest"], start=1):
        assert (passage["title"], passage["text"]) == (f"Post {number}", f"Text {number}.")
        begin, end = passage["at"]
        assert prepared.exchange.fixed_answer[begin:end] == f"> Text {number}."
    assert twin["sources"] == twin["quotes"] == []
    assert prepared.trace_metadata()["twin.chunks"] == "c1,c2,c3"


async def test_the_authors_own_words_and_address_stand_above_the_closest_passages(
    home: Settings,
) -> None:
    path = create_quoting_path(home, QuoteResult((), 0.2, 0.3))
    own_text, address = {"not_written": "Not yet."}, {"write_to": "ann@clocks.example"}
    for table, above in (
        (own_text, "Not yet."),
        (own_text | address, "Not yet. Write to Ann: ann@clocks.example."),
        (address, "I found nothing in Ann's posts that answers this. "
                  "Write to Ann: ann@clocks.example. The closest:"),
    ):  # fmt: skip
        author = Author("ann", "Ann", front_desk=read_front_desk(table))
        change_snapshot(path, authors={"ann": author})
        prepared = await prepare(path)
        assert prepared.exchange.fixed_answer.startswith(f"{above}\n\n> Text 1.")


async def test_the_dates_that_a_question_names_are_said_above_the_answer(home: Settings) -> None:
    path = create_quoting_path(home, QuoteResult((FIRST,), 0.7, 0.3))
    prepared = await prepare(path, "Which oil did you use in 2019?")
    twin = prepared.twin_field()
    assert twin["dates"] == {"first": "2019-01-01", "last": "2019-12-31", "outside": False}
    assert prepared.prefix.startswith("ⓘ Searched: posts dated 2019.\n\n> Oil dries")
    begin, end = twin["quotes"][0]["at"]
    assert prepared.prefix[begin:end].startswith("> Oil dries")
    undated = await prepare(path, "Which oil fits the 2019 model?")
    assert undated.twin_field()["dates"] is None
    assert undated.prefix.startswith("> Oil dries")


async def test_an_author_with_prose_only_gets_no_quotations(home: Settings) -> None:
    quoter = FakeQuoter(ONE_QUOTE)
    prepared = await prepare(create_quoting_path(home, quoter, answer="voice"))
    assert quoter.documents == []
    assert prepared.answer_form == "voice"
    assert prepared.prefix == prepared.exchange.fixed_answer == ""


@pytest.mark.parametrize(
    "fields", [{"model": "twin/ann@stable"}, {"model": "twin/ann@base"},
              {"response_format": {"type": "json_object"}}]
)  # fmt: skip
async def test_a_named_version_and_json_get_no_quotations(
    home: Settings, fields: dict[str, Any]
) -> None:
    quoter = FakeQuoter(ONE_QUOTE)
    prepared = await prepare(create_quoting_path(home, quoter), **fields)
    assert quoter.documents == []
    assert prepared.answer_form == "voice"
    assert prepared.degraded == ()


async def test_prose_without_a_quotation_is_not_shown(home: Settings) -> None:
    prepared = await prepare(create_quoting_path(home, QuoteResult((), reason="no table yet")))
    assert prepared.exchange.fixed_answer == "No post by Ann can be quoted right now."
    twin = prepared.twin_field()
    assert (twin["answer"], twin["version"]) == ("quote", "quotes")
    assert twin["degraded"] == "no quotation: no table yet"
    assert twin["prose"]["why"] == "there is no quotation above it"
    assert "found no answer" in twin["disclosure"]


async def test_quotations_are_removed_from_earlier_turns(home: Settings) -> None:
    path = create_quoting_path(home)
    record = await prepare(path)
    answer = f"{record.prefix}{record.heading}I oil it myself."
    assert extract_prose(answer) == "I oil it myself."
    assert extract_prose("I oil it myself.") == "I oil it myself."
    assert extract_prose("> A reader's own quotation") == ""
    messages = (await prepare(path, "Which oil?", answer, "And when?")).exchange.messages
    assert messages[1:3] == [
        {"role": "user", "content": "Which oil?"},
        {"role": "assistant", "content": "I oil it myself."},
    ]


@pytest.mark.parametrize(
    ("answer", "is_refused"), [("quote", True), ("auto", True), ("voice", False)]
)
async def test_without_readable_posts_only_prose_is_answered(
    home: Settings, answer: AnswerSetting, is_refused: bool
) -> None:
    path = create_quoting_path(home, answer=answer)

    def fail_to_open() -> Any:
        raise OSError("the disk is gone")

    path.passage_finder.open_retriever = fail_to_open
    if is_refused:
        with pytest.raises(RefusedError) as excinfo:
            await prepare(path)
        assert (excinfo.value.status, excinfo.value.code) == (503, "posts_unreadable")
    else:
        prepared = await prepare(path)
        assert prepared.degraded == ("retrieval failed (OSError)",)


@pytest.mark.parametrize("is_released", [True, False])
async def test_a_fallback_needs_released_prose(home: Settings, is_released: bool) -> None:
    path = create_quoting_path(home)
    snapshot = path.live_config.current
    stable = snapshot.get_author_policy("ann").stable  # type: ignore[union-attr]
    assert stable is not None
    canary = replace(stable, version=4, checkpoint="hash4")
    stable = replace(stable, prose=RELEASED if is_released else FAILED)
    entry = AuthorPolicy(stable, canary, weights={"stable": 0.0, "canary": 1.0})
    servers = {**snapshot.servers, "ann/v4": snapshot.servers["base"]}
    policy = Policy(authors={"ann": entry})
    change_snapshot(path, policy=policy, servers=servers)
    prepared = await prepare(path)
    assert (prepared.answer_form, prepared.decision.version) == ("quote_and_voice", "v4")
    assert (prepared.exchange.fallback is not None) is is_released


LONG = replace(SECOND, text="Oil is sparing. " * 100)


@pytest.mark.parametrize(
    ("template", "passages", "quotes", "expected"),
    [
        (DEFAULT_TEMPLATE, POSTS, (FIRST,), [post.text for post in POSTS]),
        (ANSWER_MODEL_TEMPLATE, POSTS, (), [post.text for post in POSTS]),
        (ANSWER_MODEL_TEMPLATE, POSTS, (FIRST, SECOND, FIRST), [FIRST.text, SECOND.text]),
        (ANSWER_MODEL_TEMPLATE, POSTS, (LONG,), [LONG.text[:1199]]),
        # the author has not agreed that the provider sees posts
        (ANSWER_MODEL_TEMPLATE, (), (FIRST,), []),
    ],
)
def test_a_named_model_reads_the_quotations_and_a_trained_one_the_passages(
    template: Template,
    passages: Sequence[Passage],
    quotes: Sequence[Quote],
    expected: Sequence[str],
) -> None:
    found = RetrievedPassages(tuple(passages))
    assert [item.text for item in found.for_prompt(template, quotes)] == expected


@pytest.mark.parametrize(("answer", "expected"), [("auto", QUOTED_TEXT), ("voice", POSTS[0].text)])
async def test_a_named_models_prompt_and_trace_name_the_same_posts(
    home: Settings, answer: AnswerSetting, expected: str
) -> None:
    path = create_quoting_path(home, answer=answer)
    policy = policy_with_stable(template=ANSWER_MODEL_TEMPLATE.hash)
    change_snapshot(path, policy=policy)
    prepared = await prepare(path)
    prompt = prepared.exchange.messages[-1]["content"]
    assert [text for text in (QUOTED_TEXT, POSTS[0].text) if text in prompt] == [expected]
    assert bool(prepared.trace_metadata()["twin.quotes"]) is (expected == QUOTED_TEXT)
