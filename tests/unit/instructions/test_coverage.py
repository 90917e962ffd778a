"""Test that every document has a sample or a reason, and that lost documents are counted."""

from __future__ import annotations

import polars as pl

from twin_assets.instructions.coverage import (
    Coverage,
    find_documents_without_samples,
    measure_coverage,
)

PROSE = "The tide came in over the flats while nobody was looking at the clock. " * 5
TEXTS = {"code": "```c\nint x;\n```", "prose": PROSE}
DOCUMENTS = pl.DataFrame({"document_id": ["a", "b", "code"], "words": [70, 70, 60]})
DATASET = pl.DataFrame(
    {"sample_id": ["a-1", "b-1"], "document_id": ["a", "b"], "split": ["train", "left_out"]}
)
DRAFTS = pl.DataFrame({"sample_id": ["a-1", "b-1"], "words": [70, 30]})


def test_documents_without_a_sample_have_a_reason() -> None:
    assert find_documents_without_samples(DATASET, DOCUMENTS) == ["code"]
    coverage = measure_coverage(DATASET, DRAFTS, DOCUMENTS, TEXTS)
    reasons = {"all_left_out": 1, "no_prose": 1}
    assert coverage == Coverage(3, 1, reasons, unexplained=0, lost_drafts=0, strangers=0, words=0.5)
    assert coverage.is_complete


def test_a_document_with_prose_and_no_sample_is_lost() -> None:
    prose = pl.DataFrame({"document_id": ["prose"], "words": [70]})
    coverage = measure_coverage(DATASET, DRAFTS, pl.concat([DOCUMENTS, prose]), TEXTS)
    assert (coverage.unexplained, coverage.is_complete) == (1, False)


def test_a_draft_without_a_sample_is_lost() -> None:
    drafts = pl.concat([DRAFTS, pl.DataFrame({"sample_id": ["a-2"], "words": [50]})])
    coverage = measure_coverage(DATASET, drafts, DOCUMENTS, TEXTS)
    assert (coverage.lost_drafts, coverage.is_complete) == (1, False)


def test_a_sample_without_a_document_is_counted() -> None:
    coverage = measure_coverage(
        DATASET, DRAFTS, DOCUMENTS.filter(pl.col("document_id") != "a"), TEXTS
    )
    assert (coverage.strangers, coverage.is_complete) == (1, False)
