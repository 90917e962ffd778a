"""Erase from the store `traces`: the embedded trace store's file, or Langfuse through its API.

Scope: finding traces and scores that contain the erased data, deleting them, and checking again.
Out of scope: the store's tables (`trace_store/trace_tables.py`), the API (`langfuse/client.py`),
the ledger's copy (`state_store.py`).

The file is edited directly even if the store is running, because SQLite allows a second process to
write. Langfuse Cloud returns 429 above its limit of requests per minute, and the client waits for
the time given in the response. It also accepts only 50 to 1,000 deletions a day. The journal
records the accepted deletions, and the next run continues with the others. Langfuse accepts a
deletion (202, "queued") and performs it in the background
(https://langfuse.com/docs/administration/data-deletion). It also ingests spans in the background.
Data that Langfuse still returns is reported with a deadline and is not a failure.
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
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.decoding import find_in_file
from twin_resources.erasure.erasure_target import ErasureTarget, hash_parts
from twin_resources.erasure.sqlite_files import (
    delete_matching_rows,
    open_for_erasure,
    rewrite_database,
)
from twin_resources.observability.langfuse.client import LangfuseClient, TraceStoreError
from twin_resources.observability.langfuse.datasets import dataset_items
from twin_resources.observability.langfuse.trace_texts import score_trace_id
from twin_resources.wait_limits import MAX_IDLE_S

NOT_FOUND, TOO_MANY_REQUESTS = 404, 429
TRACES_PER_REQUEST = 500  # 17 KB of ids
EXPERIMENT_ITEM = "experiment-item-run"  # the SDK's name for an experiment's outermost spans


@dataclass(frozen=True)
class ErasableObservation:
    """One observation of a trace.

    Attributes:
        row: all fields of the observation.
        provider: the paid provider's model that answered, or empty.
    """

    trace_id: str
    reader: str
    author: str
    row: Mapping[str, Any]
    provider: str = ""


@dataclass(frozen=True)
class EmbeddedTraces:
    """The home's `traces.sqlite`."""

    installation: Installation
    name: str = "traces"

    @property
    def path(self) -> Path:
        return self.installation.settings.home / "traces.sqlite"

    def iter_observations(self) -> Iterator[ErasableObservation]:
        """Yield every observation, one at a time."""
        if not self.path.is_file():
            return
        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=MAX_IDLE_S)
        connection.row_factory = sqlite3.Row
        try:
            for row in connection.execute("SELECT * FROM observations"):
                yield _read_observation(dict(row))
        finally:
            connection.close()

    def erase(self, target: ErasureTarget) -> int:
        """See `DataStore.erase`."""
        if not self.path.is_file():
            return 0
        traces = {
            observation.trace_id
            for observation in self.iter_observations()
            if belongs_to_target(observation, target)
        } | target.traces
        with open_for_erasure(self.path) as connection:
            erased_count = 0
            connection.execute("BEGIN")
            for table in ("observations", "scores"):
                sql = f"DELETE FROM {table} WHERE trace_id = ?"
                keys = [(trace,) for trace in sorted(traces)]
                erased_count += connection.executemany(sql, keys).rowcount
            connection.execute("COMMIT")
            # Delete scores that a reader gave to other readers' answers.
            erased_count += delete_matching_rows(connection, "scores", target)
        rewrite_database(self.path)
        return erased_count

    def find_remaining(self, target: ErasureTarget) -> list[str]:
        """See `DataStore.find_remaining`."""
        return find_in_file(self.path, target)


@dataclass(frozen=True)
class LangfuseTraces:
    """The configured Langfuse; `is_background` means that deletions take effect later."""

    installation: Installation
    client: LangfuseClient
    request: int = 0  # number of the request in the journal
    name: str = "traces"
    is_background: bool = True

    def iter_observations(self) -> Iterator[ErasableObservation]:
        """Yield every generation, then every answer of an evaluation experiment, newest first."""
        for item in chain(
            self.client.observations(type="GENERATION", expand_metadata=("twin.chunks",)),
            self.client.observations(name=EXPERIMENT_ITEM),
        ):
            yield _read_observation(
                {
                    "trace_id": item["traceId"],
                    "user_id": item.get("userId") or "",
                    "input": item.get("input"),
                    "output": item.get("output"),
                    "metadata": item.get("metadata"),
                }
            )

    def find_dataset_items(self, target: ErasureTarget) -> list[str]:
        """Return the ids of evaluation dataset items that contain the target."""
        return [
            str(item["id"])
            for author in sorted(target.authors | {target.author} - {""})
            for item in dataset_items(self.client, author)
            if (target.is_whole_author and author == target.author) or target.matches_value(item)
        ]

    def erase(self, target: ErasureTarget) -> int:
        """Request deletion of matching traces, scores and items; return the number of new requests.

        See `DataStore.erase`.
        """
        journal.open_journal(self.installation.state)
        traces = {
            row.trace_id for row in self.iter_observations() if belongs_to_target(row, target)
        } | target.traces
        scores = [
            str(score["id"])
            for score in self.client.scores()
            if target.matches_value(score)
            and score_trace_id(score) not in traces  # deleted with its trace
        ]
        accepted_requests = journal.read_requested_deletions(self.installation.state, self.request)
        pending_traces = [
            trace for trace in sorted(traces) if hash_parts("trace", trace) not in accepted_requests
        ]
        self._delete_traces(pending_traces)
        count = len(pending_traces)
        for kind, ids, delete in (
            ("score", scores, self.client.delete_score),
            ("item", self.find_dataset_items(target), self.client.delete_dataset_item),
        ):
            for item_id in ids:
                if (digest := hash_parts(kind, item_id)) not in accepted_requests:
                    with self._record_deletions(digest):
                        delete(item_id)
                    count += 1
        return count

    def _delete_traces(self, trace_ids: Sequence[str]) -> None:
        for start in range(0, len(trace_ids), TRACES_PER_REQUEST):
            batch = trace_ids[start : start + TRACES_PER_REQUEST]
            with self._record_deletions(*(hash_parts("trace", trace) for trace in batch)):
                self.client.delete_traces(batch)

    @contextmanager
    def _record_deletions(self, *hashes: str) -> Generator[None]:
        """Record in the journal that a deletion was accepted or postponed.

        404 counts as accepted, because the object is already deleted or this server has no such
        route. `find_remaining` reports the objects that the server still returns.
        """
        try:
            yield
        except TraceStoreError as error:
            if error.status == TOO_MANY_REQUESTS:
                journal.record_deletions(self.installation.state, self.request, [journal.POSTPONED])
            if error.status != NOT_FOUND:
                raise
        journal.record_deletions(self.installation.state, self.request, hashes)

    def find_remaining(self, target: ErasureTarget) -> list[str]:
        """Return the target's data that Langfuse still returns; see `DataStore.find_remaining`."""
        locations = [
            f"trace {observation.trace_id}"
            for observation in self.iter_observations()
            if belongs_to_target(observation, target)
        ]
        locations += [f"dataset item {item_id}" for item_id in self.find_dataset_items(target)]
        return locations + [
            f"score {score['id']}" for score in self.client.scores() if target.matches_value(score)
        ]


def list_trace_stores(
    installation: Installation, request: int = 0
) -> list[EmbeddedTraces | LangfuseTraces]:
    """Return the configured trace store, for a request of the journal, and the embedded one's file.

    A home that was switched to a Langfuse still has the file of the embedded store.
    """
    if not installation.settings.has_real_langfuse:
        return [EmbeddedTraces(installation)]
    client = LangfuseClient.from_settings(installation.settings, wait=time.sleep)
    return [
        LangfuseTraces(installation, client, request),
        EmbeddedTraces(installation, "traces.sqlite"),
    ]


def belongs_to_target(observation: ErasableObservation, target: ErasureTarget) -> bool:
    """Return whether a trace belongs to the reader or the author, or shows the post."""
    if target.matches_identifier(observation.trace_id) or target.matches_identifier(
        observation.reader
    ):
        return True
    if target.is_whole_author and observation.author == target.author:
        return True
    return target.matches_value(dict(observation.row))


def _read_observation(row: dict[str, Any]) -> ErasableObservation:
    metadata = row.get("metadata")
    if isinstance(metadata, str):
        metadata = json.loads(metadata)
    metadata_values: dict[str, Any] = metadata or {}
    return ErasableObservation(
        trace_id=str(row["trace_id"]),
        reader=str(row.get("user_id") or metadata_values.get("twin.reader") or ""),
        author=str(metadata_values.get("twin.author") or ""),
        row=row,
        provider=str(metadata_values.get("twin.provider") or ""),
    )
