"""Test the deliberate corruption of training data."""

from __future__ import annotations

import polars as pl
import pytest

from twin_assets.training.fault_injection import SHUFFLED_ANSWERS, inject_fault
from twin_resources.errors import TwinError


def build_samples(documents: dict[str, int]) -> pl.DataFrame:
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


def test_each_question_gets_the_answer_of_another_document() -> None:
    samples = build_samples({"a": 5, "b": 1, "c": 4, "d": 2})
    result = inject_fault(samples, SHUFFLED_ANSWERS, seed=3)
    assert result.schema == samples.schema
    for document, messages in result.select("document_id", "messages").iter_rows():
        assert f"answer of {document}," not in messages[-1]["content"]
        assert f"question {document}-" in messages[0]["content"]
    answers = result["messages"].list.last().struct.field("content")
    assert sorted(answers) == sorted(samples["messages"].list.last().struct.field("content"))
    assert result.equals(inject_fault(samples.reverse(), SHUFFLED_ANSWERS, seed=3))


def test_a_single_document_cannot_be_corrupted() -> None:
    with pytest.raises(TwinError, match="3 of 4 samples"):
        inject_fault(build_samples({"a": 3, "b": 1}), SHUFFLED_ANSWERS, seed=1)


def test_an_unknown_method_is_an_error() -> None:
    with pytest.raises(TwinError, match="an unknown method"):
        inject_fault(build_samples({"a": 1, "b": 1}), "upside_down", seed=1)
