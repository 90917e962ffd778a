"""Render rows of the dataset, with each sample's messages, from rows of the plan.

Scope: rendering a sample as the gateway renders a question, and the rows of a general set. Out of
scope: the plan (`building.py`), the wording (`twin_resources.prompt.templates`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.corpus.corpus_tables import column_types, validate_rows
from twin_assets.instructions.general_set import GENERAL, GeneralSample
from twin_assets.instructions.instruction_tables import InstructionDataset
from twin_resources.prompt.control_marks import COMMON_MARKS, ControlMarks
from twin_resources.prompt.shown_passages import SHOWN_COLUMNS, PromptPassage
from twin_resources.prompt.templates import Template, render
from twin_resources.storage.tables.rows_by_id import read_by_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twin_resources.storage.tables.tables import Tables


def render_rows(
    plan: pl.DataFrame,
    tables: Tables,
    author: str,
    template: Template,
    *,
    general: Mapping[str, GeneralSample],
    marks: ControlMarks = COMMON_MARKS,
) -> pl.DataFrame:
    """Return `InstructionDataset` rows for rows of the plan.

    Args:
        general: the samples of the split `general`, by sample id.
        marks: the control tokens of the models that read the prompts.
    """
    author_rows = plan.filter(pl.col("split") != GENERAL)
    answers: dict[str, str] = dict(
        read_by_id(
            tables,
            "instruction_drafts",
            author,
            "sample_id",
            author_rows["sample_id"],
            ["sample_id", "answer"],
        ).iter_rows()
    )
    chunk_ids = author_rows["context_chunk_ids"].explode().drop_nulls().unique()
    passage_by_chunk = {
        chunk_id: PromptPassage(*row)
        for chunk_id, *row in read_by_id(
            tables,
            "document_chunks",
            author,
            "chunk_id",
            chunk_ids,
            ["chunk_id", *SHOWN_COLUMNS],
        ).iter_rows()
    }
    answers |= {sample_id: sample.answer for sample_id, sample in general.items()}
    messages = [
        [{"role": role, "content": text} for role, text in general[row["sample_id"]].messages]
        if row["split"] == GENERAL
        else _render_messages(row, answers[row["sample_id"]], passage_by_chunk, template, marks)
        for row in plan.to_dicts()
    ]
    types = column_types(InstructionDataset)
    rows = plan.with_columns(
        pl.Series("messages", messages, dtype=types["messages"]),
        pl.Series("answer", [answers[sample_id] for sample_id in plan["sample_id"].to_list()]),
    )
    return validate_rows(rows, InstructionDataset)


def _render_messages(
    row: Mapping[str, Any],
    answer: str,
    passage_by_chunk: Mapping[str, PromptPassage],
    template: Template,
    marks: ControlMarks,
) -> Sequence[Mapping[str, str]]:
    messages = render(
        template,
        author_name=row["author_name"],
        question=row["question"],
        passages=[passage_by_chunk[chunk_id] for chunk_id in row["context_chunk_ids"]],
        marks=marks,
    )
    return [*messages, {"role": "assistant", "content": answer.strip()}]


def plan_general_samples(
    samples: Sequence[GeneralSample],
    *,
    source: str,
    template: Template,
    schema_source: pl.DataFrame,
) -> pl.DataFrame:
    """Return rows of the plan for general samples.

    Args:
        schema_source: the plan of the author's own samples.
    """
    rows: list[dict[str, Any]] = [
        {
            "sample_id": sample.sample_id,
            "document_id": GENERAL,
            "chunk_id": GENERAL,
            "split": GENERAL,
            "question": sample.question,
            "start": 0,
            "end": len(sample.answer),
            "context_chunk_ids": [],
            "template": template.hash,
            "retrieval": "none",
            "published_at": None,
            "title": "",
            "instruction_source": f"{GENERAL}:{source}",
            "author_name": "",
        }
        for sample in samples
    ]
    return pl.DataFrame(rows, schema=schema_source.schema)
