"""What a place is: somewhere that holds text or identifiers, and can erase and prove.

Scope: the interface of a place, and the instance that places work on.
Out of scope: any one place (a module each), the list of them (`data_stores.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from twin_resources.erasure.erasure_target import ErasureTarget
    from twin_resources.registry.registry import Registry
    from twin_resources.settings import Settings
    from twin_resources.storage.state.state import State
    from twin_resources.storage.tables.tables import Tables


@dataclass(frozen=True)
class Installation:
    """One installation: the home, and what its settings name outside of it."""

    settings: Settings
    state: State
    tables: Tables
    registry: Registry

    @classmethod
    def of(cls, settings: Settings) -> Installation:
        """The instance of a home."""
        from twin_resources.registry.registry import Registry
        from twin_resources.storage.state.state import State
        from twin_resources.storage.tables.tables import Tables

        state = State.open(settings.state_address)
        tables = Tables(settings.tables_base, state=state)
        return cls(settings, state, tables, Registry(state, policy_path=settings.policy_path))


class DataStore(Protocol):
    """Somewhere that holds text or identifiers. Both methods may be called again at any time."""

    @property
    def name(self) -> str:
        """In the journal and in the certificate."""
        ...

    def erase(self, gone: ErasureTarget) -> int:
        """Remove what is gone, so that no decoding brings it back; returns how many rows, files …

        Raises:
            TwinError: it could not be done now; nothing is lost by trying again.
        """
        ...

    def holds(self, gone: ErasureTarget) -> list[str]:
        """Where it still is, as words for people without any text of it; empty: nowhere.

        Everything that the place keeps is decoded for the answer.
        """
        ...
