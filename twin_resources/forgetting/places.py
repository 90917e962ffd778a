"""What a place is: somewhere that holds text or identifiers, and can erase and prove.

Belongs here: the interface of a place, the instance that places work on, and the one registry.
Does not belong here: any one place (a module each), the order of a whole request (`forgetting.py`).

A new store of text is a new place: it joins `places_of`. Every file under the home that no place
has claimed is scanned and cleaned by the last one (`home_files.py`), so a forgotten registration is
found by the proof and not by a person.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from twin_resources.forgetting.gone import Gone
    from twin_resources.registry.registry import Registry
    from twin_resources.settings import Settings
    from twin_resources.state.state import State
    from twin_resources.tables.tables import Tables


@dataclass(frozen=True)
class Instance:
    """One installation: the home, and what its settings name outside of it."""

    settings: Settings
    state: State
    tables: Tables
    registry: Registry

    @classmethod
    def of(cls, settings: Settings) -> Instance:
        """The instance of a home."""
        from twin_resources.registry.registry import Registry
        from twin_resources.state.state import State
        from twin_resources.tables.tables import Tables

        state = State.open(settings.state_address)
        tables = Tables(settings.tables_base, state=state)
        return cls(settings, state, tables, Registry(state, policy_path=settings.policy_path))


class Place(Protocol):
    """Somewhere that holds text or identifiers. Both methods may be called again at any time."""

    @property
    def name(self) -> str:
        """In the journal and in the certificate."""
        ...

    def erase(self, gone: Gone) -> int:
        """Remove what is gone, so that no decoding brings it back; returns how many rows, files …

        Raises:
            TwinError: it could not be done now; nothing is lost by trying again.
        """
        ...

    def holds(self, gone: Gone) -> list[str]:
        """Where it still is, as words for people without any text of it; empty: nowhere.

        Everything that the place keeps is decoded for the answer.
        """
        ...


def places_of(instance: Instance, *, dagster: Place) -> Sequence[Place]:
    """Every place of an instance, in the order in which they are erased.

    What writes comes before what it writes to: the outbox would fill the trace store again, that
    one the ledger, the ledger and the posts the tables.

    Args:
        dagster: its records (`dagster_records.py`): only who has imported Dagster can open them.
    """
    from twin_resources.forgetting.checkpoints import Checkpoints
    from twin_resources.forgetting.home_files import HomeFiles
    from twin_resources.forgetting.lance_tables import LanceTables
    from twin_resources.forgetting.outbox import WaitingInOutbox
    from twin_resources.forgetting.state_store import StateStore
    from twin_resources.forgetting.trace_store import trace_store_of

    return (
        WaitingInOutbox(instance),
        trace_store_of(instance),
        LanceTables(instance),
        Checkpoints(instance),
        dagster,
        HomeFiles(instance),
        StateStore(instance),
    )
