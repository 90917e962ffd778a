"""The store `traces`: erase from the embedded trace store's file, or from a Langfuse over its API.

Scope: finding traces and scores that hold the erased data, deleting them, and checking again.
Out of scope: the store's tables (`trace_store/trace_tables.py`), the API (`langfuse/client.py`),
the ledger's copy (`state_store.py`).

The file is edited directly, whether or not the store is running; SQLite allows a second process to
write. A cloud Langfuse answers 429 above its requests per minute; the caller waits as long as the
answer asks. It also accepts only 50 to 1,000 deletions a day; the journal records accepted ones,
and the next run continues from there. Langfuse accepts a deletion (202, "queued") and performs it
in the background (https://langfuse.com/docs/administration/data-deletion); it also ingests spans in
the background. Data it still returns is reported with a deadline and is not a failure.
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
EXPERIMENT_ITEM = "experiment-item-run"  # the SDK's name for an experiment's outermost spans


@dataclass(frozen=True)
class SeenObservation:
    """One observation of a trace.

    Attributes:
        row: everything that the observation holds.
        provider: the paid provider's model that was called, or empty if none was.
    """

    trace_id: str
    reader: str
    author: str
    row: Mapping[str, Any]
    provider: str = ""


@dataclass(frozen=True)
class EmbeddedTraces:
    """The home's `traces.sqlite`."""

    instance: Installation
    name: str = "traces"

    @property
    def path(self) -> Path:
        return self.instance.settings.home / "traces.sqlite"

    def seen(self) -> Iterator[SeenObservation]:
        """Yield every observation, one at a time."""
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
            # scores that a reader gave on other readers' answers
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
    """The Langfuse named in the settings; `is_background` means deletions take effect later."""

    instance: Installation
    client: LangfuseClient
    request: int = 0  # number of the request in the journal
    name: str = "traces"
    is_background: bool = True

    def seen(self) -> Iterator[SeenObservation]:
        """Yield every generation, then every evaluation experiment's answers, newest first."""
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
        """Return ids of evaluation dataset items that hold the target."""
        return [
            str(item["id"])
            for author in sorted(gone.authors | {gone.author} - {""})
            for item in dataset_items(self.client, author)
            if (gone.whole_author and author == gone.author) or gone.is_among(item)
        ]

    def erase(self, gone: ErasureTarget) -> int:
        """Request deletion of matching traces, scores and items; return the number of new requests.

        See `DataStore.erase`.
        """
        journal.open_journal(self.instance.state)
        traces = {one.trace_id for one in self.seen() if is_of(one, gone)} | gone.traces
        scores = [
            str(score["id"])
            for score in self.client.scores()
            if gone.is_among(score) and _trace_of(score) not in traces  # deleted with its trace
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
        """Delete traces in batches, or one by one if the server has no batch route."""
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
        """Record in the journal that a deletion was accepted or put off.

        Args:
            may_lack: count 404 as accepted, because the object is already deleted or this server
                has no such route. `holds` reports what the server still returns.
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
        """Return traces, scores and items that Langfuse still returns; see `DataStore.holds`."""
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
    """Return the trace store named in the settings, for a request of the journal."""
    if not instance.settings.has_real_langfuse:
        return EmbeddedTraces(instance)
    client = LangfuseClient.from_settings(instance.settings, wait=time.sleep)
    return LangfuseTraces(instance, client, request)


def is_of(seen: SeenObservation, gone: ErasureTarget) -> bool:
    """Return whether a trace is by the reader, of the author, or shows the post."""
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
