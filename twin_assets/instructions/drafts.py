"""Draft a sample for each passage that can be an answer, with a template's question.

Scope: combining passages and templates. Out of scope: a teacher's questions
(`teacher_questions.py`), splits, context and rendering (`dataset_building.py`).
"""
# pyright: strict

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import polars as pl

from twin_assets.corpus.corpus_tables import column_types, validate_rows
from twin_assets.corpus.shingles import shingles
from twin_assets.instructions.answer_passages import find_passages
from twin_assets.instructions.back_translation import (
    TEMPLATES_VERSION,
    Instruction,
    write_questions,
)
from twin_assets.instructions.instruction_tables import InstructionDrafts
from twin_assets.instructions.set_similarity import sketch

DRAFTS_VERSION = f"5:{TEMPLATES_VERSION}"
DOCUMENT_COLUMNS = ("document_id", "title", "published_at", "text", "language", "kept")
"""Columns of `cleaned_documents` that `draft_documents` reads."""

ANSWER_SHINGLE_WORDS = 5
ANSWER_SKETCH_SIZE = 32


def draft_documents(documents: pl.DataFrame) -> pl.DataFrame:
    """Draft every passage of every kept document.

    Args:
        documents: `DOCUMENT_COLUMNS` of `cleaned_documents`.

    Returns:
        `InstructionDrafts`. `sample_id` is derived from the document and the answer, so an edit of
        one paragraph does not change the other samples' ids.
    """
    rows: list[dict[str, Any]] = []
    for document in documents.filter(pl.col("kept")).to_dicts():
        rows += _draft_document(document)
    return validate_rows(
        pl.DataFrame(rows, schema=column_types(InstructionDrafts)), InstructionDrafts
    )


def _draft_document(document: dict[str, Any]) -> list[dict[str, Any]]:
    text: str = document["text"]
    passages = find_passages(text)
    instructions: list[Instruction] = write_questions(
        passages,
        document_id=document["document_id"],
        title=document["title"],
        text=text,
        language=document["language"],
    )
    digest_counts: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    for passage, instruction in zip(passages, instructions, strict=True):
        answer = text[passage.start : passage.end]
        digest = hashlib.sha256(answer.encode()).hexdigest()[:12]
        digest_counts[digest] += 1
        duplicate_suffix = f"-{digest_counts[digest]}" if digest_counts[digest] > 1 else ""
        rows.append(
            {
                "sample_id": f"{document['document_id']}-{digest}{duplicate_suffix}",
                "document_id": document["document_id"],
                "title": document["title"],
                "published_at": document["published_at"],
                "start": passage.start,
                "end": passage.end,
                "words": passage.word_count,
                "answer": answer,
                "answer_sketch": sketch(
                    shingles(answer, width=ANSWER_SHINGLE_WORDS), size=ANSWER_SKETCH_SIZE
                ),
                "question": instruction.question,
                "instruction_source": instruction.source,
                "continuation": instruction.continuation,
            }
        )
    return rows
