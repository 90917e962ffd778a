"""List all data stores of an installation, in the order of erasure.

Scope: the stores and their order. Out of scope: the interface of a store (`data_store.py`),
individual stores (one module each), the steps of a request (`erasing.py`).

A new store of text must be added to `list_stores`. `HomeFiles` scans and cleans every file under
the home that no other store claims, so the proof also covers a file of an unregistered store.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence

from twin_resources.erasure.checkpoint_folders import Checkpoints
from twin_resources.erasure.data_store import DataStore, Installation
from twin_resources.erasure.home_files import HomeFiles
from twin_resources.erasure.lance_tables import LanceTables
from twin_resources.erasure.outbox_rows import OutboxRows
from twin_resources.erasure.skill_folders import SkillFolders
from twin_resources.erasure.state_store import StateStore
from twin_resources.erasure.trace_store import list_trace_stores


def list_stores(
    installation: Installation, *, dagster: DataStore, request: int = 0
) -> Sequence[DataStore]:
    """Return every store of an installation, in the order of erasure.

    The outbox precedes the trace stores, and both precede the ledger (`StateStore`). Otherwise they
    would copy erased data again.

    Args:
        dagster: Dagster's records (`dagster_records.py`), which only a caller that imports Dagster
            can open.
        request: the request's number in the journal, under which Langfuse deletions are recorded.
    """
    return (
        OutboxRows(installation),
        *list_trace_stores(installation, request),
        LanceTables(installation),
        SkillFolders(installation),
        Checkpoints(installation),
        dagster,
        HomeFiles(installation),
        StateStore(installation),
    )
