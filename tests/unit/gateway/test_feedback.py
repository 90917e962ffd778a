"""Test which feedback is accepted, which reader it belongs to, and which scores result."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.unit.gateway.exchanges import create_record
from twin_resources.access.keys import Key
from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api.feedback import (
    MAX_COMMENT_CHARACTERS,
    MAX_EDIT_CHARACTERS,
    build_scores,
    read_feedback,
    store_feedback,
)
from twin_resources.gateway.exchange.supported_prose import ProseNote, SupportedSentenceFilter
from twin_resources.gateway.hooks.trace_logger import (
    automatic_scores,
)
from twin_resources.observability.langfuse.outbox import Outbox

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


@pytest.mark.parametrize(("counts", "support"), [(None, None), ((0, 0), None), ((3, 1), 1 / 3)])
def test_an_answer_is_scored_for_the_support_of_its_judged_sentences(
    counts: tuple[int, int] | None, support: float | None
) -> None:
    record = replace(create_record(), shown_text="Oil sparingly.", seconds=1.0)
    if counts is not None:
        judge: Any = None
        sentences = SupportedSentenceFilter(judge, 0.5, ())
        sentences.claim_count, sentences.kept_count = counts
        record.prose_note = ProseNote(supported_sentences=sentences)
    values = {score.name: score.value for score in automatic_scores(record)}
    assert values["latency_s"] == 1.0
    assert values.get("support") == (None if support is None else pytest.approx(support))
