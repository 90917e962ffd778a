"""Plan and carry out the repair of a damaged table: return to its newest undamaged version.

Scope: finding that version, and listing what is lost with the later ones. Out of scope: asking
a person, and computing rows again (an import does that from upstream).
Method: a Lance version is a manifest and the files that it names; `restore` commits an older one as
the newest (https://lance.org/format/table/). Unreadable files are deleted: they hold nothing
usable, and forgetting must be able to decode every remaining file.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from twin_resources.storage.object_store import (
    is_object_address,
    list_objects,
    remove_objects,
)
from twin_resources.storage.storage_faults import Damaged
from twin_resources.storage.tables.store import (
    StoredTable,
    open_table,
    open_version,
    read_record,
    settle,
)
from twin_resources.storage.tables.sync import forget_empty, read_empty
from twin_resources.storage.tables.wholeness import check_indexes, check_table

if TYPE_CHECKING:
    from twin_resources.storage.state.lease import Lease
    from twin_resources.storage.state.state import State

_LARGEST = 2**64 - 1  # Lance counts manifests down from here, so a listing begins with the newest


@dataclass(frozen=True)
class TableRepair:
    """A table's damage and the plan of its repair.

    Attributes:
        uri: a folder, or `s3://bucket/prefix`.
        problem: the error of the newest version.
        back_to: the newest undamaged version, or None if there is none and the table is deleted.
        rows: number of rows in that version, or 0 without one.
        written_at: when that version was written (ISO 8601, UTC), or empty without one.
        broken: addresses of the manifests of later versions, which are deleted.
        untagged: tags on those versions, which are deleted.
        indexes: damaged indexes of the newest version, which are dropped; rows do not change.
    """

    uri: str
    problem: str
    back_to: int | None = None
    rows: int = 0
    written_at: str = ""
    broken: tuple[str, ...] = ()
    untagged: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()


def plan_repair(uri: str) -> TableRepair | None:
    """Plan the repair of a table without changing it; return None if the table is undamaged.

    Args:
        uri: address of a table in a folder, or in a bucket that the environment names.

    Raises:
        StorageFault: the fault is not damage (full, read-only, unreachable, locked).
        TwinError: the bucket cannot be listed.
    """
    try:
        table = open_table(uri, storage_options=None)
        if table is None and is_object_address(uri) and list_objects(f"{uri}/data"):
            raise Damaged.at(
                uri, f"open the table {uri}", "its row files exist, its versions do not"
            )
        if table is None:
            return None
        check_table(table, every_value=True)
    except Damaged as fault:
        problem = fault.found
    else:
        damaged = check_indexes(table)
        if not damaged:
            return None
        found = f"{uri} has damaged indexes: {', '.join(damaged)}"
        return TableRepair(uri, found, back_to=table.dataset.version, indexes=damaged)
    broken: list[str] = []
    for version, manifest, written_at in _manifests(uri):
        whole = _whole_at(uri, version)
        if whole is not None:
            written = datetime.fromtimestamp(written_at, UTC)
            return TableRepair(
                uri,
                problem,
                back_to=version,
                rows=read_record(whole).rows,
                written_at=written.isoformat(timespec="seconds"),
                broken=tuple(broken),
                untagged=_tags_after(whole, version),
            )
        broken.append(manifest)
    return TableRepair(uri, problem, broken=tuple(broken))


def repair(plan: TableRepair, lease: Lease, *, state: State) -> None:
    """Carry out a repair plan; afterwards the table is undamaged or deleted.

    Raises:
        StorageFault: the table cannot be written, or is still damaged.
    """
    lease.confirm()
    # The restored version may hold rows of inputs that later had none, so forget these inputs.
    forget_empty(state, plan.uri, read_empty(state, plan.uri)["_input_key"].to_list())
    if plan.back_to is None:
        _remove(plan.uri)
        return
    if plan.indexes:
        table = _opened(plan.uri)
        for name in plan.indexes:
            table.dataset.drop_index(name)
    else:
        _go_back(plan, plan.back_to)
    table = _opened(plan.uri)
    check_table(table, every_value=True)
    if damaged := check_indexes(table):
        for name in damaged:
            table.dataset.drop_index(name)


def _go_back(plan: TableRepair, version: int) -> None:
    newest = max((number for number, *_ in _manifests(plan.uri)), default=version)
    table = open_version(plan.uri, version)
    record = replace(read_record(table), exact=True)
    for tag in plan.untagged:
        table.dataset.tags.delete(tag)
    for manifest in plan.broken:
        _remove(manifest)
    table = _opened(plan.uri)
    # A version number is never used for other rows, because readers cache rows by it.
    while table.dataset.version <= newest:
        table, _ = settle(table, record)


def _opened(uri: str) -> StoredTable:
    table = open_table(uri, storage_options=None)
    if table is None:
        raise Damaged.at(uri, f"repair the table {uri}", "its versions are missing")
    return table


def _whole_at(uri: str, version: int) -> StoredTable | None:
    try:
        table = open_version(uri, version)
        check_table(table, every_value=True)
    except Damaged:
        return None
    return table


def _tags_after(table: StoredTable, version: int) -> tuple[str, ...]:
    tags = table.dataset.tags.list()
    return tuple(sorted(name for name, fields in tags.items() if fields["version"] > version))


def _manifests(uri: str) -> list[tuple[int, str, float]]:
    """Return version, address and modification time of every manifest, newest version first."""
    folder = f"{uri}/_versions"
    if is_object_address(uri):
        files = [(f"{folder}/{item.name}", item.modified) for item in list_objects(folder)]
    else:
        files = [(str(path), path.stat().st_mtime) for path in Path(folder).glob("*.manifest")]
    manifests: list[tuple[int, str, float]] = []
    for address, written_at in files:
        stem, _, suffix = address.rpartition("/")[2].rpartition(".")
        if suffix == "manifest" and stem.isdigit():
            number = int(stem)
            version = number if number < _LARGEST // 2 else _LARGEST - number
            manifests.append((version, address, written_at))
    return sorted(manifests, reverse=True)


def _remove(address: str) -> None:
    """Delete a file, or a folder with its content."""
    if is_object_address(address):
        remove_objects(address)
    elif Path(address).is_dir():
        shutil.rmtree(address)
    else:
        Path(address).unlink(missing_ok=True)
