"""Test which feedback is accepted, which reader it belongs to, and which scores result."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.unit.gateway.exchanges import PASSAGE, create_record
from twin_resources.access.keys import Key
from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api.feedback import (
    MAX_COMMENT_CHARACTERS,
    MAX_EDIT_CHARACTERS,
    build_scores,
    read_feedback,
    store_feedback,
)
from twin_resources.gateway.hooks.trace_logger import (
    automatic_scores,
    extract_passages,
    lexical_support,
)
from twin_resources.gateway.passage_finder import RetrievedPassages
from twin_resources.models.quotes.answer_text import AnswerOpening, render_prose_label
from twin_resources.observability.langfuse.outbox import Outbox
from twin_resources.prompt.templates import DEFAULT_TEMPLATE

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OTHER_TRACE = "00f067aa0ba902b7a3ce929d0e0e4736"
READER = Key("0123456789abcdef", "reader", frozenset({"ann"}), "a reader")
SITE = Key("aaaaaaaaaaaaaaaa", "site", frozenset({"ann"}), "a site")
ADMIN = Key("fedcba9876543210", "admin", frozenset({"*"}), "admin")
NOW = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)


def encode(**fields: Any) -> bytes:
    return json.dumps({"trace_id": TRACE} | fields).encode()


@pytest.mark.parametrize(
    ("fields", "vote", "edit"),
    [
        ({"thumb": "up"}, 1.0, ""),
        ({"thumb": "down"}, 0.0, ""),
        ({"score": 0.25}, 0.25, ""),
        ({"score": 1}, 1.0, ""),
        ({"edit": " One drop. "}, None, "One drop."),
        ({"thumb": "down", "edit": "One drop."}, 0.0, "One drop."),
    ],
)
def test_votes_and_edits_are_parsed(fields: dict[str, Any], vote: float | None, edit: str) -> None:
    feedback = read_feedback(encode(**fields), READER)
    assert (feedback.vote, feedback.edit, feedback.reader, feedback.simulated) == (
        vote,
        edit,
        READER.reader,
        False,
    )


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "bad_feedback"),
        (b"[]", 400, "bad_feedback"),
        (encode(), 400, "bad_feedback"),
        (encode(edit="   "), 400, "bad_feedback"),
        (encode(thumb="sideways"), 400, "bad_feedback"),
        (encode(thumb=["up"]), 400, "bad_feedback"),
        (encode(thumb="up", score=1), 400, "bad_feedback"),
        (encode(score=True), 400, "bad_feedback"),
        (encode(score=1.01), 400, "bad_feedback"),
        (encode(score=-0.01), 400, "bad_feedback"),
        (b'{"trace_id": "' + TRACE.encode() + b'", "score": NaN}', 400, "bad_feedback"),
        (b'{"trace_id": "' + TRACE.encode() + b'", "score": 1e999}', 400, "bad_feedback"),
        (encode(score=10**400), 400, "bad_feedback"),
        (encode(thumb="up", trace_id="mine"), 400, "bad_feedback"),
        (encode(thumb="up", trace_id=TRACE.upper()), 400, "bad_feedback"),
        (encode(edit="x" * (MAX_EDIT_CHARACTERS + 1)), 400, "bad_feedback"),
        (b'{"trace_id": "' + TRACE.encode() + b'", "edit": "\\ud800"}', 400, "bad_feedback"),
        (encode(thumb="up", author="bob"), 400, "bad_feedback"),
        (encode(preferred=TRACE), 400, "bad_feedback"),
        (encode(preferred="mine"), 400, "bad_feedback"),
        (encode(preferred=7), 400, "bad_feedback"),
        (encode(comment="only that"), 400, "bad_feedback"),
        (encode(thumb="up", comment="x" * (MAX_COMMENT_CHARACTERS + 1)), 400, "bad_feedback"),
        (encode(thumb="up", comment=["x"]), 400, "bad_feedback"),
        (encode(edit="x" * 70_000), 400, "bad_feedback"),
        (encode(thumb="up", reader="somebody else"), 403, "reader_not_allowed"),
        (encode(thumb="up", simulated=True), 403, "reader_not_allowed"),
        (encode(thumb="up", reader=7), 403, "reader_not_allowed"),
    ],
)
def test_invalid_feedback_is_refused(body: bytes, status: int, code: str) -> None:
    with pytest.raises(RefusedError) as excinfo:
        read_feedback(body, READER)
    assert (excinfo.value.status, excinfo.value.code) == (status, code)


def test_an_admin_key_distinguishes_its_readers() -> None:
    first = read_feedback(encode(thumb="up", reader="anna@example.org", simulated=True), ADMIN)
    second = read_feedback(encode(thumb="up", reader="bert@example.org"), ADMIN)
    assert first.reader != second.reader
    assert (first.simulated, second.simulated) == (True, False)
    [score] = build_scores(first, ADMIN, now=NOW)
    assert "anna" not in json.dumps(score.body())
    assert score.metadata["twin.simulated"] == "true"


def test_a_site_votes_for_its_readers() -> None:
    named = read_feedback(encode(thumb="up", user="eve"), SITE)
    assert named.reader == SITE.for_reader("eve").reader != SITE.reader
    assert named.reader == read_feedback(encode(thumb="up", reader="eve"), SITE).reader
    assert read_feedback(encode(thumb="up"), SITE).reader == SITE.reader
    assert read_feedback(encode(thumb="up", user="eve"), READER).reader == READER.reader
    with pytest.raises(RefusedError, match="role site"):
        read_feedback(encode(thumb="up", user="eve", simulated=True), SITE)


def test_a_comment_becomes_one_line() -> None:
    feedback = read_feedback(encode(thumb="down", comment=" Not \n him. "), READER)
    [score] = build_scores(feedback, READER, now=NOW)
    assert (score.comment, score.body()["comment"]) == ("Not him.", "Not him.")


def test_a_preference_scores_both_answers_without_a_vote() -> None:
    """The detector of falling votes must not count preferences, because one answer always loses."""
    feedback = read_feedback(encode(preferred=OTHER_TRACE, comment="stiff"), READER)
    worse, better = build_scores(feedback, READER, now=NOW)
    assert {worse.name, better.name} == {"comparison"}
    assert [(score.trace_id, score.value, score.comment) for score in (worse, better)] == [
        (TRACE, 0.0, "stiff"),
        (OTHER_TRACE, 1.0, ""),
    ]
    assert worse.metadata["twin.against"] == OTHER_TRACE
    assert better.metadata["twin.against"] == TRACE
    # The ids depend on reader and trace, so a changed preference replaces both scores.
    reversed_feedback = read_feedback(
        json.dumps({"trace_id": OTHER_TRACE, "preferred": TRACE}).encode(), READER
    )
    assert {score.id for score in build_scores(reversed_feedback, READER, now=NOW)} == {
        worse.id,
        better.id,
    }


def test_a_reader_has_one_vote_per_trace() -> None:
    first = build_scores(read_feedback(encode(thumb="up"), READER), READER, now=NOW)
    second = build_scores(read_feedback(encode(score=0.2, edit="No."), READER), READER, now=NOW)
    other_scores = build_scores(read_feedback(encode(thumb="up"), ADMIN), ADMIN, now=NOW)
    assert first[0].id == second[0].id != other_scores[0].id
    assert [score.data_type for score in second] == ["NUMERIC", "CORRECTION"]
    assert first[0].metadata["twin.at"] == "2026-11-20T12:00:00.123Z"
    assert first[0].metadata["twin.authors"] == "ann"


async def test_accepted_feedback_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twin_resources.observability.langfuse.outbox.MAX_SCORES", 1)
    path = tmp_path / "outbox.sqlite"
    outbox = Outbox(path)
    for _ in range(2):
        response = await store_feedback(outbox, READER, encode(thumb="up"))
        item = Outbox(path).get_next_item()
        assert item is not None
        assert response["scores"] == [{"id": item.id, "name": "thumbs"}]
        assert json.loads(item.body)["value"] == 1.0
        outbox.mark_sent(item)
    await store_feedback(outbox, READER, encode(thumb="down"))
    with pytest.raises(RefusedError, match="not accepted") as excinfo:
        await store_feedback(outbox, ADMIN, encode(thumb="down"))
    assert (excinfo.value.status, excinfo.value.code) == (503, "outbox_full")


def test_lexical_support_is_the_share_of_long_words_in_the_passages() -> None:
    prompt = [{"role": "user", "content": "From my posts:\n\n[1] Oil\nOne drop of brass oil.\n\n"
               "Question: Why silver?"}]  # fmt: skip
    passages = extract_passages(prompt, template=DEFAULT_TEMPLATE.hash)
    assert "silver" not in passages
    assert lexical_support("Brass wants a drop.", passages) == pytest.approx(2 / 3)
    assert lexical_support("Brass, drop!", passages) == 1.0
    assert lexical_support("Silver lining", passages) == 0.0
    assert lexical_support("a b c", passages) is None
    assert lexical_support("Brass", "") is None


# Two of the quotation's four words are in the passage of the prompt, as in a quotation that goes on
# beyond its passage: it was shown with "support .49", in red.
QUOTATION = "> Oil sparingly, wipe afterwards.\n>\n> — On oil, 2024-05-01"
LABEL = render_prose_label("Written by a program")


@pytest.mark.parametrize(
    ("form", "answer", "support"),
    [
        ("quote", QUOTATION, None),
        ("quote_and_voice", QUOTATION, None),  # no sentence of its prose was shown
        ("quote_and_voice", f"{QUOTATION}\n\n{LABEL}Sparingly.", 1.0),
        ("quote_and_voice", f"{QUOTATION}\n\n{LABEL}Sparingly, with mercury.", 1 / 3),
        ("voice", f"{LABEL}Sparingly, with mercury.", 1 / 3),
        ("not_found", f"Nothing answers this. The closest:\n\n{QUOTATION}", None),
    ],
)
def test_prose_is_scored_for_support_and_quotations_are_not(
    form: Any, answer: str, support: float | None
) -> None:
    record = create_record(opening=QUOTATION)
    content = f"From my posts:\n\n[1] On oil\nOil sparingly.\n\n{DEFAULT_TEMPLATE.question}"
    exchange = replace(
        record.exchange,
        retrieved_passages=RetrievedPassages((PASSAGE,)),
        form=form,
        opening=AnswerOpening(QUOTATION),
        cited_passages=(PASSAGE,),
        messages=[{"role": "user", "content": content.format(question="Which oil?")}],
    )
    record = replace(record, exchange=exchange, answer_form=form, shown_text=answer, seconds=1.0)
    scores = automatic_scores(record)
    values = {score.name: score.value for score in scores}
    assert values["latency_s"] == 1.0
    assert values.get("support") == (None if support is None else pytest.approx(support))
