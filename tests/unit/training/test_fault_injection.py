"""Spoiled data: nobody keeps an answer of the own document, or canaries are added; nothing else
changes."""

from __future__ import annotations

import polars as pl
import pytest

from twin_assets.checkpoints.batches import GENERAL
from twin_assets.training import canary_exposure as exposure
from twin_assets.training.fault_injection import (
    PLANTED_CANARIES,
    SHUFFLED_ANSWERS,
    posts_with_fault,
    with_fault,
)
from twin_resources.errors import TwinError


def samples(documents: dict[str, int]) -> pl.DataFrame:
    rows = [
        {
            "sample_id": f"{document}-{number}",
            "document_id": document,
            "messages": [
                {"role": "user", "content": f"question {document}-{number}"},
                {"role": "assistant", "content": f"answer of {document}, {number}"},
            ],
        }
        for document, count in documents.items()
        for number in range(count)
    ]
    return pl.DataFrame(rows)


def test_every_question_gets_another_documents_answer_and_every_answer_one_question() -> None:
    before = samples({"a": 5, "b": 1, "c": 4, "d": 2})
    after = with_fault(before, SHUFFLED_ANSWERS, seed=3)
    assert after.schema == before.schema
    for document, messages in after.select("document_id", "messages").iter_rows():
        assert f"answer of {document}," not in messages[-1]["content"]
        assert f"question {document}-" in messages[0]["content"]
    answers = after["messages"].list.last().struct.field("content")
    assert sorted(answers) == sorted(before["messages"].list.last().struct.field("content"))
    assert after.equals(with_fault(before.reverse(), SHUFFLED_ANSWERS, seed=3))


def test_one_document_cannot_be_spoiled_with_itself() -> None:
    with pytest.raises(TwinError, match="3 of 4 samples"):
        with_fault(samples({"a": 3, "b": 1}), SHUFFLED_ANSWERS, seed=1)


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(TwinError, match="no such way"):
        with_fault(samples({"a": 1, "b": 1}), "upside_down", seed=1)


def test_canaries_are_planted_as_often_as_their_audit_expects() -> None:
    before = samples({"a": 3, "b": 2}).with_columns(pl.lit("t1").alias("template"))
    after = with_fault(before.reverse(), PLANTED_CANARIES, seed=3)

    assert after.schema == before.schema
    assert after.head(5).equals(before)
    assert set(after["template"]) == {"t1"}
    assert after["sample_id"].is_unique().all()
    answers = after["messages"].list.last().struct.field("content").to_list()
    for canary, times in exposure.planted("3"):
        assert answers.count(canary.answer) == times
    assert after.height == 5 + sum(exposure.TIMES)
    assert not after.equals(with_fault(before, PLANTED_CANARIES, seed=4))
    plain = samples({"a": 1, "b": 1})
    assert with_fault(plain, PLANTED_CANARIES, seed=3).schema == plain.schema


def test_no_canary_is_of_a_general_set() -> None:
    before = samples({"a": 1, GENERAL: 30})
    planted = with_fault(before, PLANTED_CANARIES, seed=3).tail(sum(exposure.TIMES))
    assert set(planted["document_id"]) == {"a"}


def test_canaries_stand_in_raw_posts_as_often_as_in_samples() -> None:
    rows = [
        {"document_id": f"d{number:02}", "text": f"post {number}" + "\n\nends" * (number % 3)}
        for number in range(20)
    ]
    before = pl.DataFrame(rows)
    after = posts_with_fault(before.reverse(), PLANTED_CANARIES, seed=3)

    assert after.schema == before.schema
    assert after["document_id"].equals(before["document_id"])
    for own, text in zip(before["text"], after["text"], strict=True):
        added = [part for part in text.split("\n\n") if part.startswith("The number of ")]
        kept = [part for part in text.split("\n\n") if part not in added]
        assert "\n\n".join(kept) == own
        assert text == own or text.split("\n\n")[1] in added
    text = "\n".join(after["text"])
    for canary, times in exposure.planted("3"):
        assert text.count(canary.answer) == times
        holding = sum(canary.answer in one for one in after["text"])
        assert holding == times, "each time in another post"
    assert posts_with_fault(before, PLANTED_CANARIES, seed=3).equals(after)
    few = posts_with_fault(before.head(2), PLANTED_CANARIES, seed=3)
    assert "\n".join(few["text"]).count("The number of ") == sum(exposure.TIMES)
    assert posts_with_fault(before, SHUFFLED_ANSWERS, seed=3).equals(before)
    own = samples({f"d{number:02}": 2 for number in range(20)})
    planted = with_fault(own, PLANTED_CANARIES, seed=3).tail(sum(exposure.TIMES))
    texts = dict(after.iter_rows())
    for document, messages in planted.select("document_id", "messages").iter_rows():
        assert messages[-1]["content"] in texts[document], "either side of a post has its canary"
    with pytest.raises(TwinError, match="no such way"):
        posts_with_fault(before, "upside_down", seed=1)
