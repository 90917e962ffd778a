"""List every store of an installation.

Scope: the stores and their order. Out of scope: the interface of a store (`data_store.py`),
individual stores (one module each), the steps of a request (`erasing.py`).

Add a new store of text to `list_stores`. The store in `home_files.py` scans and cleans every file
under the home that no other store claims, so the proof also covers an unregistered store.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence

from twin_resources.erasure.checkpoint_folders import Checkpoints
from twin_resources.erasure.data_store import DataStore, Installation
from twin_resources.erasure.home_files import HomeFiles
from twin_resources.erasure.lance_tables import LanceTables
from twin_resources.erasure.outbox_rows import OutboxRows
from twin_resources.erasure.shared_store import SharedStore
from twin_resources.erasure.state_store import StateStore
from twin_resources.erasure.trace_store import make_trace_store


def list_stores(
    instance: Installation, *, dagster: DataStore, request: int = 0
) -> Sequence[DataStore]:
    """Return every store of an installation, in the order of erasure.

    The outbox precedes the trace store, and both precede the ledger (`StateStore`). Otherwise they
    would copy erased data again.

    Args:
        dagster: Dagster's records (`dagster_records.py`), which only a caller that imports Dagster
            can open.
        request: the request's number in the journal, under which Langfuse deletions are recorded.
    """
    return (
        OutboxRows(instance),
        make_trace_store(instance, request),
        LanceTables(instance),
        Checkpoints(instance),
        SharedStore(instance),
        dagster,
        HomeFiles(instance),
        StateStore(instance),
    )
