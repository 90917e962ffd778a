"""Open the state store of a home, and tell a lost store from a new home by the file `home.json`."""
# pyright: strict

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from twin_resources.atomic_writes import replace_file
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

MARKER_NAME = "home.json"
# Tables whose rows do not belong to a home.
_TABLES_WITHOUT_HOME_DATA = DAGSTER_TABLES | {schema_versions.name, written_tables.name}


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
        marker = settings.home / MARKER_NAME
        if not marker.exists():
            with translate_storage_errors("remember the state store of this home", marker):
                marker.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                replace_file(marker, json.dumps({"state": identity}) + "\n")
    except BaseException:
        state.close()
        raise
    return state


def check_home_state(settings: Settings, state: State | None) -> str:
    """Check that this is the home's store, without changing it.

    Args:
        state: the opened store, which may have no tables; None if its file is missing or empty.

    Returns:
        The store's identity; empty for the empty store of a new home.

    Raises:
        LostStateError: `home.json` names another store, or the store is empty and there are tables.
    """
    marked_identity = _read_marker(settings.home / MARKER_NAME)
    identity = _read_identity(state) if state is not None else ""
    if marked_identity and identity != marked_identity:
        found = "is the store of another home" if identity else "is empty"
        raise _lost_state_error(settings, f"it {found}, and {settings.home} has another one")
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


def _read_marker(path: Path) -> str:
    """Return the identity in `home.json`; empty if there is no such file."""
    try:
        return str(json.loads(path.read_bytes())["state"])
    except FileNotFoundError:
        return ""
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(
            f"read {path}",
            found="it does not name this home's state store",
            next_step="if `twin versions` and `twin keys list` show what they should after you "
            "have deleted the file, it is written again; else restore the last backup",
        ) from error


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
