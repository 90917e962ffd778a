"""Open the state store of a home, and tell a lost store from a new home by the file `home.json`."""
# pyright: strict

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from twin_resources.home_marker import MARKER_NAME, HomeMarker, change_marker, read_marker
from twin_resources.settings import secrets_path
from twin_resources.storage.file_store import FileStore
from twin_resources.storage.state.state import State, StateError
from twin_resources.storage.state.state_tables import (
    DAGSTER_TABLES,
    schema_versions,
    written_tables,
)
from twin_resources.storage.storage_faults import translate_storage_errors

if TYPE_CHECKING:
    from twin_resources.settings import Settings

# Tables whose rows do not belong to a home.
_TABLES_WITHOUT_HOME_DATA = DAGSTER_TABLES | {schema_versions.name, written_tables.name}


_ERASURES = "forget_requests"  # the table of `erasure/journal.py`


class LostStateError(StateError):
    """The home has existed, and the configured state store is empty or another home's."""


def open_home_state(settings: Settings) -> State:
    """Open this home's state store; a new home gets one, and remembers it in `home.json`.

    The store holds the hashes of erased posts and readers' keys. An empty one in its place would
    accept the erased posts at the next import.

    Raises:
        LostStateError: the home has existed, and this is not its store. Nothing is created.
        StateError, StorageError: the store cannot be opened.
    """
    file = _sqlite_file(settings)
    if file is not None and not (file.exists() and file.stat().st_size):
        check_home_state(settings, None)
    state = State.open(settings.state_address)
    try:
        identity = check_home_state(settings, state) or _claim_store(state)
        remember_state(settings, state, identity)
    except BaseException:
        state.close()
        raise
    return state


def read_home_state(settings: Settings) -> State | None:
    """Open this home's state store as it is; return None if a new home has none yet.

    Raises:
        LostStateError: the home has existed, and this is not its store.
        StateError, StorageError: the store cannot be opened.
    """
    file = _sqlite_file(settings)
    if file is not None and not (file.exists() and file.stat().st_size):
        check_home_state(settings, None)
        return None
    state = State.connect(settings.state_address)
    try:
        check_home_state(settings, state)
    except BaseException:
        state.close()
        raise
    return state


def remember_state(settings: Settings, state: State, identity: str = "") -> None:
    """Remember in `home.json` the store, its last erasure, and that there are keys.

    Args:
        identity: the store's identity; empty to keep the one that is remembered.
    """
    number, has_secrets = _read_last_erasure(state), secrets_path(settings).exists()

    def update(marker: HomeMarker) -> HomeMarker:
        return replace(
            marker,
            state=marker.state or identity,
            has_secrets=marker.has_secrets or has_secrets,
            erasures=max(marker.erasures, number),
        )

    marker = read_marker(settings.home)
    if update(marker) != marker:
        with translate_storage_errors("remember what this home has", settings.home):
            change_marker(settings.home, update)


def check_home_state(settings: Settings, state: State | None) -> str:
    """Check that this is the home's store, without changing it.

    Args:
        state: the opened store, which may have no tables; None if its file is missing or empty.

    Returns:
        The store's identity; empty for the empty store of a new home.

    Raises:
        LostStateError: `home.json` names another store or counts more erasures than the store has,
            or the store is empty and there are tables.
    """
    marker = read_marker(settings.home)
    marked_identity = marker.state
    identity = _read_identity(state) if state is not None else ""
    if marked_identity and identity != marked_identity:
        found = "is the store of another home" if identity else "is empty"
        raise _lost_state_error(settings, f"it {found}, and {settings.home} has another one")
    if state is not None and marked_identity:
        erasures = _read_last_erasure(state)
        if erasures < marker.erasures:
            raise _older_state_error(settings, erasures, marker.erasures)
    if identity or (state is not None and has_rows(state)):
        return identity
    if next(iter(FileStore(settings.tables_base).list_files()), None):
        raise _lost_state_error(settings, f"it is empty, and {settings.tables_base} has tables")
    return ""


def has_rows(state: State) -> bool:
    """Return whether any table of the store has rows, except its version and the list of tables."""
    with state.read_transaction() as connection:
        metadata = sa.MetaData()
        metadata.reflect(connection, only=lambda name, _: name not in _TABLES_WITHOUT_HOME_DATA)
        return any(
            connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first()
            for table in metadata.sorted_tables
        )


def _claim_store(state: State) -> str:
    """Give the store an identity, unless another process has just done so; return it."""
    columns = schema_versions.c
    with state.transaction() as connection:
        connection.execute(
            sa.update(schema_versions)
            .where(columns.store == "state", columns.home == "")
            .values(home=uuid.uuid4().hex)
        )
        query = sa.select(columns.home).where(columns.store == "state")
        return connection.execute(query).scalar_one()


def _read_identity(state: State) -> str:
    with state.read_transaction() as connection:
        inspector = sa.inspect(connection)
        if not inspector.has_table(schema_versions.name):
            return ""
        names = {column["name"] for column in inspector.get_columns(schema_versions.name)}
        if schema_versions.c.home.name not in names:
            return ""
        query = sa.select(schema_versions.c.home).where(schema_versions.c.store == "state")
        return connection.execute(query).scalar() or ""


def _read_last_erasure(state: State) -> int:
    """Return the number of the last request to erase something; these rows are never deleted."""
    with state.read_transaction() as connection:
        if not sa.inspect(connection).has_table(_ERASURES):
            return 0
        return connection.execute(sa.text(f"SELECT max(number) FROM {_ERASURES}")).scalar() or 0


def _sqlite_file(settings: Settings) -> Path | None:
    try:
        url = sa.make_url(settings.state_address)
    except ArgumentError:
        return None  # `State.open` says what is wrong with it
    is_file = url.get_backend_name() == "sqlite" and url.database
    return Path(str(url.database)) if is_file else None


def _lost_state_error(settings: Settings, reason: str) -> LostStateError:
    address = sa.make_url(settings.state_address).render_as_string(hide_password=True)
    return LostStateError(
        f"use the state store {address}",
        found=f"{reason}; readers' keys and the list of erased posts are not in it",
        next_step="`twin restore FILE --home NEW` restores the last backup; without one, begin a "
        "new home, and erase there again what was erased here. To move this home to another store, "
        "run `twin backup FILE` with its own, then `twin restore` with the new TWIN_STATE_URL",
    )


def _older_state_error(settings: Settings, erasures: int, expected_erasures: int) -> LostStateError:
    address = sa.make_url(settings.state_address).render_as_string(hide_password=True)
    marker = settings.home / MARKER_NAME
    return LostStateError(
        f"use the state store {address}",
        found=f"it is an older copy: it has {erasures} of the {expected_erasures} requests to "
        "erase something that this home has counted, and would let the erased posts come back",
        next_step="put the newest copy back; or restore the last backup with `twin restore FILE "
        f"--home NEW`; or go on with this copy: delete {marker}, which is written again, and run "
        "`twin forget` again for what was erased since",
    )
