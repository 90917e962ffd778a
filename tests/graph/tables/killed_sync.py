"""Run a sync in a process that kills itself at a numbered boundary.

Scope: the killed process. Out of scope: the assertions (`test_sync_killed.py`).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lance
import polars as pl
from sqlalchemy import event

from tests.graph.tables.words import build_posts
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import SyncResult, Tables

SCHEMA: dict[str, pl.DataType] = {
    "word_id": pl.String(),
    "word": pl.String(),
    "post": pl.String(),
}


def split_words(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the words of each post, keyed by post and word."""
    split = rows.filter(pl.col("text") != "").with_columns(pl.col("text").str.split(" "))
    return split.explode("text").select(
        pl.format("{}#{}", "post", "text").alias("word_id"), pl.col("text").alias("word"), "post"
    )


def sync(
    folder: Path, texts: Mapping[str, str], version: str, *, state: State | None = None
) -> SyncResult:
    """Sync the table of a folder in batches of one post."""
    state = state or State.open(f"sqlite:///{folder}/state.sqlite")
    tables = Tables(str(folder / "tables"), state=state)
    return tables.sync(
        build_posts(texts),
        "words",
        author="mara",
        key="post",
        function=split_words,
        version=version,
        schema=SCHEMA,
        row_key="word_id",
        batch_rows=1,
    )


def sync_until_killed(folder: Path, texts: Mapping[str, str], version: str, kill_at: int) -> None:
    """Sync; kill this process at boundary `kill_at`, or else write the number of boundaries."""
    state = State.open(f"sqlite:///{folder}/state.sqlite")
    count = 0

    def pass_boundary() -> None:
        nonlocal count
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    def add_boundaries(call: Callable[..., Any]) -> Callable[..., Any]:
        def call_between_boundaries(*args: Any, **keywords: Any) -> Any:
            pass_boundary()
            result = call(*args, **keywords)
            pass_boundary()
            return result

        return call_between_boundaries

    event.listen(state.engine, "commit", lambda _connection: pass_boundary())
    # Before a Lance commit, its files are written but belong to no version.
    lance.LanceDataset.commit = staticmethod(add_boundaries(lance.LanceDataset.commit))
    sync(folder, texts, version, state=state)
    (folder / "boundaries").write_text(str(count))
