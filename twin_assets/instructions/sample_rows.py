"""Render rows of the dataset, with each sample's messages, from rows of the plan.

Scope: rendering a sample as the gateway renders a question. Out of scope: the plan
(`dataset_building.py`), the wording (`twin_resources.prompt.templates`).
"""
# pyright: strict

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from twin_assets.corpus.corpus_tables import column_types, validate_rows
from twin_assets.instructions.instruction_tables import InstructionDataset
from twin_resources.prompt.control_marks import ControlMarks
from twin_resources.prompt.shown_passages import SHOWN_COLUMNS, PromptPassage
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, render
from twin_resources.storage.tables.rows_by_id import read_by_id

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables


def render_rows(
    plan: pl.DataFrame, tables: Tables, author: str, marks: ControlMarks
) -> pl.DataFrame:
    """Return `InstructionDataset` rows for rows of the plan.

    Args:
        marks: the control tokens of the models that read the prompts.
    """
    answers: dict[str, str] = dict(
        read_by_id(
            tables,
            "instruction_drafts",
            author,
            "sample_id",
            plan["sample_id"],
            ["sample_id", "answer"],
        ).iter_rows()
    )
    chunk_ids = plan["context_chunk_ids"].explode().drop_nulls().unique()
    passage_by_chunk = {
        chunk_id: PromptPassage(*row)
        for chunk_id, *row in read_by_id(
            tables, "embeddings", author, "chunk_id", chunk_ids, ["chunk_id", *SHOWN_COLUMNS]
        ).iter_rows()
    }
    messages = [
        [
            *render(
                DEFAULT_TEMPLATE,
                author_name=row["author_name"],
                question=row["question"],
                passages=[passage_by_chunk[chunk_id] for chunk_id in row["context_chunk_ids"]],
                marks=marks,
            ),
            {"role": "assistant", "content": answers[row["sample_id"]].strip()},
        ]
        for row in plan.to_dicts()
    ]
    types = column_types(InstructionDataset)
    rows = plan.with_columns(
        pl.Series("messages", messages, dtype=types["messages"]),
        pl.Series("answer", [answers[sample_id] for sample_id in plan["sample_id"].to_list()]),
    )
    return validate_rows(rows, InstructionDataset)
