"""Define the interface of a data store, which erases texts or identifiers and proves the erasure.

Scope: the interface of a store, and the installation on which stores operate.
Out of scope: individual stores (one module each), the list of them (`data_stores.py`).
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
    """One installation: its home, and the external services named in its settings."""

    settings: Settings
    state: State
    tables: Tables
    registry: Registry

    @classmethod
    def for_settings(cls, settings: Settings) -> Installation:
        """Return the installation of a home."""
        from twin_resources.registry.registry import Registry
        from twin_resources.storage.state.home_state import open_home_state
        from twin_resources.storage.tables.tables import Tables

        state = open_home_state(settings)
        tables = Tables(settings.tables_base, state=state)
        return cls(settings, state, tables, Registry(state, policy_path=settings.policy_path))


class DataStore(Protocol):
    """A store of texts or identifiers; `erase` and `find_remaining` may be called repeatedly."""

    @property
    def name(self) -> str:
        """The store's name in the journal and in the certificate."""
        ...

    def erase(self, target: ErasureTarget) -> int:
        """Erase the target so that decoding cannot recover it; return the number of erased items.

        Raises:
            TwinError: erasing is not possible now; a retry is safe.
        """
        ...

    def find_remaining(self, target: ErasureTarget) -> list[str]:
        """Return descriptions of the locations that still contain the target, without its text.

        The list is based on decoding the whole store, and is empty if the target is erased.
        """
        ...
