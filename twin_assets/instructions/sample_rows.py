"""Render whole rows of the dataset, with each sample's messages, from rows of its plan.

Scope: rendering a sample as the gateway renders a question, and the rows of a general set. Out of
scope: the plan (`building.py`), the wording (`twin_resources.prompt.templates`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.corpus.corpus_tables import columns_of, validated
from twin_assets.instructions.general_set import GENERAL, GeneralSample
from twin_assets.instructions.instruction_tables import InstructionDataset
from twin_resources.prompt.control_marks import FAMILIES, ControlMarks
from twin_resources.prompt.shown_passages import SHOWN_COLUMNS, ShownPassage
from twin_resources.prompt.templates import Template, render
from twin_resources.storage.tables.rows_by_id import read_by_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twin_resources.storage.tables.tables import Tables


def whole_rows(
    plan: pl.DataFrame,
    tables: Tables,
    author: str,
    template: Template,
    *,
    general: Mapping[str, GeneralSample],
    marks: ControlMarks = FAMILIES,
) -> pl.DataFrame:
    """Return `InstructionDataset` rows for rows of the plan.

    Args:
        general: the samples of the split `general`, by sample id.
        marks: the control tokens of the models that may read the prompts.
    """
    own = plan.filter(pl.col("split") != GENERAL)
    answers: dict[str, str] = dict(
        read_by_id(
            tables,
            "instruction_drafts",
            author,
            "sample_id",
            own["sample_id"],
            ["sample_id", "answer"],
        ).iter_rows()
    )
    chunk_ids = own["context_chunk_ids"].explode().drop_nulls().unique()
    shown = {
        chunk_id: ShownPassage(*row)
        for chunk_id, *row in read_by_id(
            tables,
            "document_chunks",
            author,
            "chunk_id",
            chunk_ids,
            ["chunk_id", *SHOWN_COLUMNS],
        ).iter_rows()
    }
    answers |= {sample_id: one.answer for sample_id, one in general.items()}
    messages = [
        [{"role": role, "content": text} for role, text in general[row["sample_id"]].messages]
        if row["split"] == GENERAL
        else _rendered(row, answers[row["sample_id"]], shown, template, marks)
        for row in plan.to_dicts()
    ]
    types = columns_of(InstructionDataset)
    whole = plan.with_columns(
        pl.Series("messages", messages, dtype=types["messages"]),
        pl.Series("answer", [answers[sample_id] for sample_id in plan["sample_id"].to_list()]),
    )
    return validated(whole, InstructionDataset)


def _rendered(
    row: Mapping[str, Any],
    answer: str,
    shown: Mapping[str, ShownPassage],
    template: Template,
    marks: ControlMarks,
) -> Sequence[Mapping[str, str]]:
    messages = render(
        template,
        author_name=row["author_name"],
        question=row["question"],
        passages=[shown[chunk_id] for chunk_id in row["context_chunk_ids"]],
        marks=marks,
    )
    return [*messages, {"role": "assistant", "content": answer.strip()}]


def general_plan(
    chosen: Sequence[GeneralSample], *, source: str, template: Template, like: pl.DataFrame
) -> pl.DataFrame:
    """Return rows of the plan for general samples.

    Args:
        like: the plan of the author's own samples.
    """
    rows: list[dict[str, Any]] = [
        {
            "sample_id": one.sample_id,
            "document_id": GENERAL,
            "chunk_id": GENERAL,
            "split": GENERAL,
            "question": one.question,
            "start": 0,
            "end": len(one.answer),
            "context_chunk_ids": [],
            "template": template.hash,
            "retrieval": "none",
            "published_at": None,
            "title": "",
            "instruction_source": f"{GENERAL}:{source}",
            "author_name": "",
        }
        for one in chosen
    ]
    return pl.DataFrame(rows, schema=like.schema)
