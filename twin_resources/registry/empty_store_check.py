"""Refuse an empty state store if the home already has data in another one.

Scope: the check, and its error, which explains how to move a home.
Out of scope: moving it (`backup`).

Without this check, a changed or lost store would look like a home without versions, and the next
policy would take every version out of service.
"""
# pyright: strict

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from twin_resources.errors import TwinError
from twin_resources.registry.policy import read_policy
from twin_resources.storage.state.state_tables import (
    DAGSTER_TABLES,
    leases,
    model_versions,
    schema_versions,
)

if TYPE_CHECKING:
    from twin_resources.settings import Settings
    from twin_resources.storage.state.state import State

# Tables whose rows do not belong to a home.
_TABLES_WITHOUT_HOME_DATA = {schema_versions.name, leases.name} | DAGSTER_TABLES


class EmptyStateStoreError(TwinError):
    """The state store is empty, although the home has versions or another store with rows."""


def check_store_belongs_to_home(settings: Settings, state: State) -> None:
    """Check that the store belongs to this home. A new home accepts any store.

    Raises:
        EmptyStateStoreError: the store has no rows, and the home has versions or another store
            with rows.
    """
    check_store_has_versions(state, settings.policy_path)
    home_store = settings.home / "state.sqlite"
    is_other_store = _sqlite_path(state) != home_store.resolve()
    if is_other_store and not has_rows(state) and _file_has_rows(home_store):
        raise _empty_store_error(
            _address_without_password(state), f"{home_store} is the state store of this home"
        )


def check_store_has_versions(state: State, policy_path: Path) -> None:
    """Check that the store has a version if the policy lists one.

    Raises:
        EmptyStateStoreError: the policy lists versions, and the store has none.
    """
    with state.read_transaction() as connection:
        has_table = sa.inspect(connection).has_table(model_versions.name)
        version_query = sa.select(model_versions.c.version).limit(1)
        if has_table and connection.execute(version_query).first() is not None:
            return
    check_policy_lists_no_version(policy_path, store_address=_address_without_password(state))


def check_policy_lists_no_version(policy_path: Path, *, store_address: str) -> None:
    """Check that the policy, if there is one, lists no version.

    Args:
        store_address: the address of a store without versions, for the message.

    Raises:
        EmptyStateStoreError: the policy lists versions.
    """
    try:
        policy = read_policy(policy_path)
    except TwinError:
        return  # there is no readable policy
    served_slugs = [slug for slug, author in policy.authors.items() if author.stable]
    if served_slugs:
        raise _empty_store_error(
            store_address, f"{policy_path} lists versions of {', '.join(sorted(served_slugs))}"
        )


def has_rows(state: State) -> bool:
    """Return whether any table of the store has rows, except the schema version and leases."""
    with state.read_transaction() as connection:
        metadata = sa.MetaData()
        metadata.reflect(connection, only=lambda name, _: name not in _TABLES_WITHOUT_HOME_DATA)
        return any(
            connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first()
            for table in metadata.sorted_tables
        )


def _sqlite_path(state: State) -> Path | None:
    url = state.engine.url
    is_file = url.get_backend_name() == "sqlite" and url.database
    return Path(str(url.database)).resolve() if is_file else None


def _file_has_rows(path: Path) -> bool:
    from twin_resources.storage.state.state import State

    if not path.is_file() or not path.stat().st_size:
        return False
    home_state = State(sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool))
    try:
        return has_rows(home_state)
    finally:
        home_state.close()


def _address_without_password(state: State) -> str:
    return state.engine.url.render_as_string(hide_password=True)


def _empty_store_error(store_address: str, reason: str) -> EmptyStateStoreError:
    return EmptyStateStoreError(
        f"use the state store {store_address}",
        found=f"it is empty, and {reason}",
        next_step="to move the home, run `twin backup FILE` with the former store, then `twin "
        "restore FILE` with this TWIN_STATE_URL and a new TWIN_HOME; if the store was lost, "
        "restore its last backup",
    )
