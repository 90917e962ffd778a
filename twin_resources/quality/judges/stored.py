"""What is computed once for an author and kept: calibrations and certificates of judges.

Scope: keeping a document and reading it back.
Out of scope: any document (`topic.py`, `voice.py`, `panel.py`).

One table a kind, one row a name: (name, hash of what calls for it, document). A calibration is held
on to when posts are added, because another one is another judge, whose scores need a new baseline:
it is made again for another method, embedder or base model, when the author's texts have doubled
and still were too few, and when about twice as many other people write in the instance: of whom a
voice is told apart decides what is heard in it. After a post is forgotten its rows go too, and are
made from what is left.
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
    """One row: `inputs` is a hash; the row is computed when it is new."""

    inputs: str
    compute: Callable[[], Mapping[str, Any]]


def once(
    tables: Tables, into: str, *, author: str, tasks: Mapping[str, JudgeTask]
) -> dict[str, Any]:
    """Documents by name: taken from the table, or computed and kept there.

    Rows of other names are deleted, so every call passes all names of a table.
    """

    def computed(rows: pl.DataFrame) -> pl.DataFrame:
        documents = [
            json.dumps(tasks[name].compute(), ensure_ascii=False) for name in rows["name"].to_list()
        ]
        return rows.with_columns(pl.Series("document", documents, dtype=pl.String))

    names = sorted(tasks)
    wanted = {"name": names, "inputs": [tasks[name].inputs for name in names]}
    tables.sync(
        pl.DataFrame(wanted, schema={"name": pl.String, "inputs": pl.String}),
        into,
        author=author,
        key="name",
        function=computed,
        version="1",
        schema=_SCHEMA,
        row_key="name",
        batch_rows=1,  # what was paid for stays when the next one fails
    )
    stored = tables.read(into, author, columns=["name", "document"])
    return {name: json.loads(document) for name, document in stored.iter_rows()}


def doublings(count: int) -> int:
    """How often 1 was doubled to reach a number: equal until it has about doubled."""
    return count.bit_length()
