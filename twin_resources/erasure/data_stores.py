"""Every place of an instance, in one list.

Scope: which places there are, and their order. Out of scope: what a place is
(`data_store.py`), any one place (a module each), the order of a whole request (`erasing.py`).

A new store of text is a new place: it joins `places_of`. Every file under the home that no place
has claimed is scanned and cleaned by the last one (`home_files.py`), so a forgotten registration is
found by the proof and not by a person.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence

from twin_resources.erasure.checkpoint_folders import Checkpoints
from twin_resources.erasure.data_store import DataStore, Installation
from twin_resources.erasure.home_files import HomeFiles
from twin_resources.erasure.lance_tables import LanceTables
from twin_resources.erasure.outbox_rows import WaitingInOutbox
from twin_resources.erasure.shared_store import SharedStore
from twin_resources.erasure.state_store import StateStore
from twin_resources.erasure.trace_store import trace_store_of


def places_of(
    instance: Installation, *, dagster: DataStore, request: int = 0
) -> Sequence[DataStore]:
    """Every place of an instance, in the order in which they are erased.

    What writes comes before what it writes to: the outbox would fill the trace store again, that
    one the ledger, the ledger and the posts the tables.

    Args:
        dagster: its records (`dagster_records.py`): only who has imported Dagster can open them.
        request: of the journal, for which a Langfuse is asked.
    """
    return (
        WaitingInOutbox(instance),
        trace_store_of(instance, request),
        LanceTables(instance),
        Checkpoints(instance),
        SharedStore(instance),
        dagster,
        HomeFiles(instance),
        StateStore(instance),
    )
