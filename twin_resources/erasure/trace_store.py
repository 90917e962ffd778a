"""The place `traces`: the embedded trace store's file, or a Langfuse over its API.

Scope: finding traces and scores of what is gone, deleting them, and looking again.
Out of scope: the store's tables (`trace_store/trace_tables.py`), the API
(`langfuse/client.py`), the ledger's copy (`state_store.py`).

The file is worked on directly, whether the store runs or not: SQLite lets a second process write.
A Langfuse in the cloud answers 429 beyond its requests a minute: whoever erases waits as long as it
asks. It also takes only 50 to 1,000 deletions a day: what it took is in the journal, and the next
run goes on after it. A Langfuse takes a deletion (202, "queued") and carries it out in the
background (https://langfuse.com/docs/administration/data-deletion), and it also takes spans in the
background: what it still answers is told with a deadline and is no failure.
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

from twin_resources.erasure import journal
from twin_resources.erasure.data_store import DataStore, Installation
from twin_resources.erasure.decoding import held_in
from twin_resources.erasure.erasure_target import ErasureTarget, digest_of
from twin_resources.erasure.sqlite_files import opened, rewrite, row_holds
from twin_resources.longest_waits import MAX_IDLE_S
from twin_resources.observability.langfuse.client import LangfuseClient, TraceStoreError
from twin_resources.observability.langfuse.datasets import dataset_items

_AT_ONCE = 500
NOT_FOUND, NOT_ALLOWED, TOO_MANY = 404, 405, 429
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
        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=MAX_IDLE_S)
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
    request: int = 0  # of the journal
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
        """Ask for the deletion of every trace, score and item that this request has not asked for
        yet; returns how many of these. See `DataStore.erase`."""
        journal.open_journal(self.instance.state)
        traces = {one.trace_id for one in self.seen() if is_of(one, gone)} | gone.traces
        scores = [
            str(score["id"])
            for score in self.client.scores()
            if gone.is_among(score) and _trace_of(score) not in traces  # those go with their traces
        ]
        taken = journal.deletions_of(self.instance.state, self.request)
        left = [trace for trace in sorted(traces) if digest_of("trace", trace) not in taken]
        self._delete_traces(left)
        count = len(left)
        for kind, ids, delete in (
            ("score", scores, self.client.delete_score),
            ("item", self.items(gone), self.client.delete_dataset_item),
        ):
            for one in ids:
                if (digest := digest_of(kind, one)) not in taken:
                    with self._asking(digest):
                        delete(one)
                    count += 1
        return count

    def _delete_traces(self, trace_ids: Sequence[str]) -> None:
        """Many a call; one by one where the server has no such route."""
        for start in range(0, len(trace_ids), TRACES_A_CALL):
            some = trace_ids[start : start + TRACES_A_CALL]
            try:
                with self._asking(*(digest_of("trace", one) for one in some), may_lack=False):
                    self.client.delete_traces(some)
            except TraceStoreError as error:
                if error.status not in (NOT_FOUND, NOT_ALLOWED):
                    raise
                for trace_id in some:
                    with self._asking(digest_of("trace", trace_id)):
                        self.client.delete_trace(trace_id)

    @contextmanager
    def _asking(self, *hashes: str, may_lack: bool = True) -> Generator[None]:
        """Note in the journal that a deletion was taken, or put off.

        Args:
            may_lack: 404 counts as taken: it has gone, or this server has no such route; `holds`
                tells what is still answered.
        """
        try:
            yield
        except TraceStoreError as error:
            if error.status == TOO_MANY:
                journal.note_deletions(self.instance.state, self.request, [journal.PUT_OFF])
            if error.status != NOT_FOUND or not may_lack:
                raise
        journal.note_deletions(self.instance.state, self.request, hashes)

    def holds(self, gone: ErasureTarget) -> list[str]:
        """Traces, scores and items that it still answers; see `DataStore.holds`."""
        places = [f"trace {one.trace_id}" for one in self.seen() if is_of(one, gone)]
        places += [f"dataset item {item_id}" for item_id in self.items(gone)]
        return places + [
            f"score {score['id']}" for score in self.client.scores() if gone.is_among(score)
        ]


def _trace_of(score: Mapping[str, Any]) -> str:
    subject: Mapping[str, Any] = score.get("subject") or {}
    of_trace = subject.get("id") if subject.get("kind") == "trace" else ""
    return str(subject.get("traceId") or of_trace or "")


def trace_store_of(instance: Installation, request: int = 0) -> DataStore:
    """The trace store that the settings name, for a request of the journal."""
    if not instance.settings.has_real_langfuse:
        return EmbeddedTraces(instance)
    client = LangfuseClient.from_settings(instance.settings, wait=time.sleep)
    return LangfuseTraces(instance, client, request)


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
