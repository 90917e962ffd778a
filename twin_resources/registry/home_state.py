"""Refuse an empty state store in place of the one that belongs to this home.

Scope: the refusal, with the way to move a home. Out of scope: moving it (`backup`).
Without this check a changed or lost store would look like a home without versions, and the next
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
    DAGSTERS_TABLES,
    leases,
    model_versions,
    schema_number,
)

if TYPE_CHECKING:
    from twin_resources.settings import Settings
    from twin_resources.storage.state.state import State

# tables whose rows do not belong to a home
_HOMELESS_TABLES = {schema_number.name, leases.name} | DAGSTERS_TABLES


class EmptyStateStore(TwinError):
    """The state store is empty, but the home has versions, or a store of its own."""


def check_state_of_home(settings: Settings, state: State) -> None:
    """Check that the store belongs to this home; any store may belong to a new home.

    Raises:
        EmptyStateStore: the store has no row, and the home has versions or another store with rows.
    """
    check_versions_known(state, settings.policy_path)
    former = settings.home / "state.sqlite"
    is_another = _file_of(state) != former.resolve()
    if is_another and not has_rows(state) and _file_has_rows(former):
        raise _refusal(_shown(state), f"{former} is the store of this home")


def check_versions_known(state: State, policy_path: Path) -> None:
    """Check that the store has a version if the policy names one.

    Raises:
        EmptyStateStore: the policy names versions, and the store has none of any author.
    """
    with state.reading() as connection:
        has_table = sa.inspect(connection).has_table(model_versions.name)
        version = sa.select(model_versions.c.version).limit(1)
        if has_table and connection.execute(version).first() is not None:
            return
    check_none_served(policy_path, shown=_shown(state))


def check_none_served(policy_path: Path, *, shown: str) -> None:
    """Check that the policy, if there is one, names no version.

    Args:
        shown: the address of a store without versions, for the message.

    Raises:
        EmptyStateStore: the policy names some.
    """
    try:
        policy = read_policy(policy_path)
    except TwinError:
        return  # no policy, or an unreadable one
    served = [slug for slug, author in policy.authors.items() if author.stable]
    if served:
        raise _refusal(shown, f"{policy_path} names versions of {', '.join(sorted(served))}")


def has_rows(state: State) -> bool:
    """Return whether any table of the store has rows, except its schema number and leases."""
    with state.reading() as connection:
        known = sa.MetaData()
        known.reflect(connection, only=lambda name, _: name not in _HOMELESS_TABLES)
        return any(
            connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first()
            for table in known.sorted_tables
        )


def _file_of(state: State) -> Path | None:
    url = state.engine.url
    is_file = url.get_backend_name() == "sqlite" and url.database
    return Path(str(url.database)).resolve() if is_file else None


def _file_has_rows(path: Path) -> bool:
    from twin_resources.storage.state.state import State

    if not path.is_file() or not path.stat().st_size:
        return False
    former = State(sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool))
    try:
        return has_rows(former)
    finally:
        former.close()


def _shown(state: State) -> str:
    return state.engine.url.render_as_string(hide_password=True)


def _refusal(shown: str, why: str) -> EmptyStateStore:
    return EmptyStateStore(
        f"use the state store {shown}",
        found=f"it is empty, and {why}",
        next_step="to move the home, run `twin backup FILE` with the former store, then `twin "
        "restore FILE` with this TWIN_STATE_URL and a new TWIN_HOME; if the store was lost, "
        "restore its last backup",
    )
