"""Whether a state store is that of this home, or an empty one that was named in its place.

Scope: the refusal, with the way to move a home. Out of scope: moving it (`backup`).
Without it a store that was named later, or lost, would look like a home without versions, and the
next policy would take every version out of service.
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

# rows of which say nothing of a home
_OURS = {schema_number.name, leases.name} | DAGSTERS_TABLES


class EmptyStateStore(TwinError):
    """The state store knows nothing of a home that has versions, or a store of its own."""


def check_state_of_home(settings: Settings, state: State) -> None:
    """Do nothing if the store is this home's, or the home is a new one.

    Raises:
        EmptyStateStore: it has no row, and the home has versions or another store with rows.
    """
    check_versions_known(state, settings.policy_path)
    former = settings.home / "state.sqlite"
    is_another = _file_of(state) != former.resolve()
    if is_another and not has_rows(state) and _file_has_rows(former):
        raise _refusal(_shown(state), f"{former} is the store of this home")


def check_versions_known(state: State, policy_path: Path) -> None:
    """Do nothing if the store has a version, or the policy none.

    Raises:
        EmptyStateStore: the policy names versions, and the store has none of any author.
    """
    with state.reading() as connection:
        is_made = sa.inspect(connection).has_table(model_versions.name)
        version = sa.select(model_versions.c.version).limit(1)
        if is_made and connection.execute(version).first() is not None:
            return
    check_none_served(policy_path, shown=_shown(state))


def check_none_served(policy_path: Path, *, shown: str) -> None:
    """Do nothing if the policy names no version, or there is none.

    Args:
        shown: the address of a store without versions.

    Raises:
        EmptyStateStore: it names some.
    """
    try:
        policy = read_policy(policy_path)
    except TwinError:
        return  # there is none, or none that could be read again
    served = [slug for slug, author in policy.authors.items() if author.stable]
    if served:
        raise _refusal(shown, f"{policy_path} names versions of {', '.join(sorted(served))}")


def has_rows(state: State) -> bool:
    """Whether any table of the store has one; its own number and leases do not count."""
    with state.reading() as connection:
        known = sa.MetaData()
        known.reflect(connection, only=lambda name, _: name not in _OURS)
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
