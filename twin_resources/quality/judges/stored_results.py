"""Store documents that are computed once per author: the judges' calibrations and certificates.

Scope: storing a document and reading it back.
Out of scope: the contents of documents (`topic.py`, `voice.py`, `panel.py`).

There is one table per kind of document, with one row per name: (name, hash of the inputs,
document). Adding posts does not recompute a calibration, because a new calibration is a new judge,
whose scores need a new baseline. A calibration is recomputed for a different method, embedder or
base model, and while the author has few texts, each time their number doubles. It is also
recomputed when the number of other writers in this installation doubles, because a voice score
depends on them. Erasing a post removes the rows, which are then recomputed from the remaining
posts.
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

CERTIFICATE_TABLE = "judge_certificates"
_SCHEMA: Mapping[str, pl.DataType] = {
    "name": pl.String(),
    "inputs": pl.String(),
    "document": pl.String(),
}


@dataclass(frozen=True)
class JudgeTask:
    """A document to store, which is computed if `inputs_hash` is new."""

    inputs_hash: str
    compute: Callable[[], Mapping[str, Any]]


def load_or_compute(
    tables: Tables, table: str, *, author: str, tasks: Mapping[str, JudgeTask]
) -> dict[str, Any]:
    """Map each name to its document, after computing and storing those that the table lacks.

    Rows with other names are deleted, so every call passes all names of a table.
    """

    def compute_documents(rows: pl.DataFrame) -> pl.DataFrame:
        documents = [
            json.dumps(tasks[name].compute(), ensure_ascii=False) for name in rows["name"].to_list()
        ]
        return rows.with_columns(pl.Series("document", documents, dtype=pl.String))

    names = sorted(tasks)
    task_columns = {"name": names, "inputs": [tasks[name].inputs_hash for name in names]}
    tables.sync(
        pl.DataFrame(task_columns, schema={"name": pl.String, "inputs": pl.String}),
        table,
        author=author,
        key="name",
        function=compute_documents,
        version="1",
        schema=_SCHEMA,
        row_key="name",
        batch_rows=1,  # keeps a paid result if the next one fails
    )
    stored_rows = tables.read(table, author, columns=["name", "document"])
    return {name: json.loads(document) for name, document in stored_rows.iter_rows()}


def doubling_bucket(count: int) -> int:
    """Return the number's bit length, which changes only when the number roughly doubles."""
    return count.bit_length()
