"""Test that rows that break a claim about the instruction dataset are counted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from twin_assets.instructions.dataset_claims import check_provenance, check_verbatim

TEXT = "# Title\n\nFirst paragraph, long enough.\n\nSecond one.\n"
ANSWER = "First paragraph, long enough."
START = TEXT.index(ANSWER)
DOCUMENTS = pl.DataFrame({"document_id": ["d"], "text": [TEXT]})
DATES = {year: datetime(year, 1, 1, tzinfo=UTC) for year in (2010, 2015, 2020)}
CHUNKS = pl.DataFrame(
    {
        "chunk_id": ["d-0", "d-1", "old", "new", "undated"],
        "document_id": ["d", "d", "e", "f", "g"],
        "start": [0, 40, 0, 0, 0],
        "end": [39, 60, 50, 50, 50],
        "published_at": [DATES[2015], DATES[2015], DATES[2010], DATES[2020], None],
    }
)


def build_row(**changes: Any) -> dict[str, Any]:
    answer = changes.get("answer", ANSWER)
    return {
        "sample_id": "s",
        "document_id": "d",
        "chunk_id": "d-0",
        "start": START,
        "end": START + len(ANSWER),
        "answer": answer,
        "messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": answer}],
        "published_at": DATES[2015],
        "context_chunk_ids": ["old", "d-1"],
    } | changes


def find_broken_claims(**changes: Any) -> set[str]:
    frame = pl.DataFrame(
        [build_row(**changes)], schema_overrides={"published_at": pl.Datetime("us", "UTC")}
    )
    counts = vars(check_verbatim(frame, DOCUMENTS)) | vars(check_provenance(frame, CHUNKS))
    return {name for name, count in counts.items() if count and name != "rows"}


def test_a_valid_row_breaks_no_claim() -> None:
    assert find_broken_claims() == set()
    frame = pl.DataFrame([build_row()])
    assert check_verbatim(frame, DOCUMENTS).holds
    assert check_provenance(frame, CHUNKS).are_chunks_valid
    assert check_provenance(frame, CHUNKS).are_contexts_valid


@pytest.mark.parametrize(
    ("claim", "changes"),
    [
        ("not_in_document", {"answer": "First paragraph, short enough."}),
        ("not_in_document", {"document_id": "nowhere", "chunk_id": "d-0"}),
        ("not_in_messages", {"messages": [{"role": "assistant", "content": "Other."}]}),
        ("not_in_messages", {"messages": [{"role": "user", "content": ANSWER}]}),
        ("no_whole_paragraphs", {"start": START + 6, "answer": ANSWER[6:]}),
        ("no_whole_paragraphs", {"end": START + 5, "answer": ANSWER[:5]}),
        ("unknown_chunk", {"chunk_id": "vanished"}),
        ("unknown_chunk", {"chunk_id": "old"}),
        ("chunk_elsewhere", {"chunk_id": "d-1"}),
        ("unknown_context", {"context_chunk_ids": ["vanished"]}),
        ("gives_answer_away", {"context_chunk_ids": ["old", "d-0"]}),
        ("newer_context", {"context_chunk_ids": ["new"]}),
        ("newer_context", {"context_chunk_ids": ["undated"]}),
    ],
)
def test_each_broken_claim_is_counted(claim: str, changes: dict[str, Any]) -> None:
    assert claim in find_broken_claims(**changes)


def test_an_undated_answer_may_have_any_context() -> None:
    context = {"context_chunk_ids": ["new", "undated", "old"]}
    assert find_broken_claims(published_at=None, **context) == set()
