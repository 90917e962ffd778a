"""Column names and types of `instruction_dataset`, for tests that write rows by hand."""

from __future__ import annotations

import polars as pl

SAMPLE_SCHEMA = {
    "sample_id": pl.String(),
    "document_id": pl.String(),
    "chunk_id": pl.String(),
    "split": pl.String(),
    "question": pl.String(),
    "answer": pl.String(),
    "start": pl.Int64(),
    "end": pl.Int64(),
    "messages": pl.List(pl.Struct({"role": pl.String(), "content": pl.String()})),
    "template": pl.String(),
    "context_chunk_ids": pl.List(pl.String()),
}
