"""Store documents that are computed once per author: the judges' calibrations and certificates.

All are rows of one table, named by their kind and their name. Adding posts does not recompute a
calibration, because a new calibration is a new judge, whose scores need a new baseline. It is
recomputed for a different method, embedder or base model, and while the author has few texts, each
time their number doubles. It is also recomputed when the number of other writers in this
installation doubles, because a voice score depends on them. Erasing a post removes the rows, which
are then recomputed from the remaining posts.
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

JUDGES_TABLE = "judge_documents"
CERTIFICATES = "certificate"
"""The kind of the certificates, which are named by the claim that their judge decides."""
_SCHEMA: Mapping[str, pl.DataType] = {
    "key": pl.String(),
    "inputs": pl.String(),
    "document": pl.String(),
}


@dataclass(frozen=True)
class JudgeTask:
    """A document to store, which is computed if `inputs_hash` is new."""

    inputs_hash: str
    compute: Callable[[], Mapping[str, Any]]


def load_or_compute(
    tables: Tables, kind: str, *, author: str, tasks: Mapping[str, JudgeTask]
) -> dict[str, Any]:
    """Map each name to its document, after computing and storing those that are not stored.

    Documents of this kind with other names are deleted, so every call passes all names of a kind.
    """
    prefix = f"{kind}/"

    def compute_documents(rows: pl.DataFrame) -> pl.DataFrame:
        documents = [
            json.dumps(tasks[key.removeprefix(prefix)].compute(), ensure_ascii=False)
            for key in rows["key"].to_list()
        ]
        return rows.with_columns(pl.Series("document", documents, dtype=pl.String))

    task_rows = [(prefix + name, tasks[name].inputs_hash) for name in sorted(tasks)]
    inputs = pl.DataFrame(task_rows, {"key": pl.String, "inputs": pl.String}, orient="row")
    tables.sync(
        inputs,
        JUDGES_TABLE,
        author=author,
        key="key",
        function=compute_documents,
        version="1",
        schema=_SCHEMA,
        row_key="key",
        batch_rows=1,  # keeps a paid result if the next one fails
        key_prefix=prefix,
    )
    return read_documents(tables, kind, author=author)


def read_documents(tables: Tables, kind: str, *, author: str) -> dict[str, Any]:
    """Map the name of each stored document of a kind to it; empty if nothing is stored."""
    if not tables.exists(JUDGES_TABLE, author):
        return {}
    rows = tables.read(JUDGES_TABLE, author, columns=["key", "document"])
    prefix = f"{kind}/"
    return {
        key.removeprefix(prefix): json.loads(document)
        for key, document in rows.iter_rows()
        if key.startswith(prefix)
    }


def doubling_bucket(count: int) -> int:
    """Return the number's bit length, which changes only when the number roughly doubles."""
    return count.bit_length()
