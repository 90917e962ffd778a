"""The place `traces`: the embedded trace store's file, or a Langfuse over its API.

Belongs here: finding traces and scores of what is gone, deleting them, and looking again.
Does not belong here: the store's tables (`trace_store/trace_tables.py`), the API
(`langfuse/client.py`), the ledger's copy (`state_store.py`).

The file is worked on directly, whether the store runs or not: SQLite lets a second process write.
A Langfuse in the cloud answers 429 beyond its requests a minute: whoever erases waits as long as it
asks. A Langfuse takes a deletion (202, "queued") and carries it out in the background
(https://langfuse.com/docs/administration/data-deletion), and it also takes spans in the background:
what it still answers is told with a deadline and is no failure.
"""
# pyright: strict

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from twin_resources.erasure.data_store import DataStore, Installation
from twin_resources.erasure.decoding import held_in
from twin_resources.erasure.erasure_target import ErasureTarget
from twin_resources.erasure.sqlite_files import opened, rewrite, row_holds
from twin_resources.longest_waits import MOST_IDLE_S
from twin_resources.observability.langfuse.client import LangfuseClient, TraceStoreError
from twin_resources.observability.langfuse.datasets import dataset_items

_AT_ONCE = 500
NOT_FOUND, NOT_ALLOWED = 404, 405
TRACES_A_CALL = 500  # 17 KB of ids
EXPERIMENT_ITEM = "experiment-item-run"  # the SDK's name of an experiment's outermost spans


@dataclass(frozen=True)
class SeenObservation:
    """An observation: whose it is, everything that it holds (`row`), and which paid provider's
    model it was asked of, if one was."""

    trace_id: str
    reader: str
    author: str
    row: Mapping[str, Any]
    provider: str = ""


@dataclass(frozen=True)
class EmbeddedTraces:
    """`traces.sqlite` of the home."""

    instance: Installation
    name: str = "traces"

    @property
    def path(self) -> Path:
        return self.instance.settings.home / "traces.sqlite"

    def seen(self) -> Iterator[SeenObservation]:
        """Every observation, one at a time."""
        if not self.path.is_file():
            return
        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=MOST_IDLE_S)
        connection.row_factory = sqlite3.Row
        try:
            for row in connection.execute("SELECT * FROM observations"):
                yield _seen(dict(row))
        finally:
            connection.close()

    def erase(self, gone: ErasureTarget) -> int:
        """See `DataStore.erase`."""
        if not self.path.is_file():
            return 0
        traces = {one.trace_id for one in self.seen() if is_of(one, gone)} | gone.traces
        with opened(self.path) as connection:
            erased = 0
            for start in range(0, len(traces), _AT_ONCE):
                some = sorted(traces)[start : start + _AT_ONCE]
                marks = ", ".join("?" * len(some))
                for table in ("observations", "scores"):
                    sql = f"DELETE FROM {table} WHERE trace_id IN ({marks})"
                    erased += connection.execute(sql, some).rowcount
            # what a reader gave on answers of somebody else
            rows = connection.execute("SELECT rowid, * FROM scores").fetchall()
            held = [(row[0],) for row in rows if row_holds(row[1:], gone)]
            connection.executemany("DELETE FROM scores WHERE rowid = ?", held)
        rewrite(self.path)
        return erased + len(held)

    def holds(self, gone: ErasureTarget) -> list[str]:
        """See `DataStore.holds`."""
        if not self.path.is_file():
            return []
        where = held_in(self.path, gone)
        return [where] if where else []


@dataclass(frozen=True)
class LangfuseTraces:
    """A Langfuse that the settings name. `is_background`: deletions take effect later."""

    instance: Installation
    client: LangfuseClient
    name: str = "traces"
    is_background: bool = True

    def seen(self) -> Iterator[SeenObservation]:
        """Every generation and every answer of an evaluation's experiments, newest first."""
        for item in chain(
            self.client.observations(type="GENERATION", expand_metadata=("twin.chunks",)),
            self.client.observations(name=EXPERIMENT_ITEM),
        ):
            yield _seen(
                {
                    "trace_id": item["traceId"],
                    "user_id": item.get("userId") or "",
                    "input": item.get("input"),
                    "output": item.get("output"),
                    "metadata": item.get("metadata"),
                }
            )

    def items(self, gone: ErasureTarget) -> list[str]:
        """Ids of the items of evaluations' datasets that hold it."""
        return [
            str(item["id"])
            for author in sorted(gone.authors | {gone.author} - {""})
            for item in dataset_items(self.client, author)
            if (gone.whole_author and author == gone.author) or gone.is_among(item)
        ]

    def erase(self, gone: ErasureTarget) -> int:
        """Ask for the deletion of every trace, score and item; see `DataStore.erase`."""
        traces = {one.trace_id for one in self.seen() if is_of(one, gone)} | gone.traces
        self._delete_traces(sorted(traces))
        scores = [
            str(one["id"])
            for one in self.client.scores()
            if gone.is_among(one) and _trace_of(one) not in traces  # those went with their traces
        ]
        for score_id in scores:
            with _none_there():
                self.client.delete_score(score_id)
        items = self.items(gone)
        for item_id in items:
            with _none_there():
                self.client.delete_dataset_item(item_id)
        return len(traces) + len(scores) + len(items)

    def _delete_traces(self, trace_ids: Sequence[str]) -> None:
        """Many a call; one by one where the server has no such route."""
        for start in range(0, len(trace_ids), TRACES_A_CALL):
            some = trace_ids[start : start + TRACES_A_CALL]
            try:
                self.client.delete_traces(some)
            except TraceStoreError as error:
                if error.status not in (NOT_FOUND, NOT_ALLOWED):
                    raise
                for trace_id in some:
                    with _none_there():
                        self.client.delete_trace(trace_id)

    def holds(self, gone: ErasureTarget) -> list[str]:
        """Traces, scores and items that it still answers; see `DataStore.holds`."""
        places = [f"trace {one.trace_id}" for one in self.seen() if is_of(one, gone)]
        places += [f"dataset item {item_id}" for item_id in self.items(gone)]
        return places + [f"score {one['id']}" for one in self.client.scores() if gone.is_among(one)]


def _trace_of(score: Mapping[str, Any]) -> str:
    subject: Mapping[str, Any] = score.get("subject") or {}
    of_trace = subject.get("id") if subject.get("kind") == "trace" else ""
    return str(subject.get("traceId") or of_trace or "")


@contextmanager
def _none_there() -> Generator[None]:
    """404: it has gone, or this server has no such route; `holds` tells what is still answered."""
    try:
        yield
    except TraceStoreError as error:
        if error.status != NOT_FOUND:
            raise


def trace_store_of(instance: Installation) -> DataStore:
    """The trace store that the settings name."""
    if not instance.settings.has_real_langfuse:
        return EmbeddedTraces(instance)
    return LangfuseTraces(
        instance, LangfuseClient.from_settings(instance.settings, wait=time.sleep)
    )


def is_of(seen: SeenObservation, gone: ErasureTarget) -> bool:
    """Whether a trace is a subject's: asked by the reader, of the author, or showing the post."""
    if gone.is_value(seen.trace_id) or gone.is_value(seen.reader):
        return True
    if gone.whole_author and seen.author == gone.author:
        return True
    return gone.is_among(dict(seen.row))


def _seen(row: dict[str, Any]) -> SeenObservation:
    metadata = row.get("metadata")
    if isinstance(metadata, str):
        metadata = json.loads(metadata)
    facts: dict[str, Any] = metadata or {}
    return SeenObservation(
        trace_id=str(row["trace_id"]),
        reader=str(row.get("user_id") or facts.get("twin.reader") or ""),
        author=str(facts.get("twin.author") or ""),
        row=row,
        provider=str(facts.get("twin.provider") or ""),
    )
