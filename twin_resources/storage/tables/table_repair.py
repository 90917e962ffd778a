"""Plan and carry out the repair of a damaged table by restoring its newest intact version.

Scope: finding that version, and listing the tags and versions that are lost.
Out of scope: asking the user, and recomputing rows (an import does that from upstream).
Method: a Lance version is a manifest and the files that it lists
(https://lance.org/format/table/). The repair deletes the manifests of damaged versions, because an
erasure must be able to decode every remaining file.
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
from twin_resources.storage.storage_faults import DamagedError
from twin_resources.storage.tables.store import (
    StoredTable,
    commit_without_rows,
    open_table,
    open_version,
    read_record,
)
from twin_resources.storage.tables.sync import delete_empty_inputs, read_empty_inputs
from twin_resources.storage.tables.table_integrity import check_table, find_damaged_indexes

if TYPE_CHECKING:
    from twin_resources.storage.state.lease import Lease
    from twin_resources.storage.state.state import State

# Lance numbers manifests down from this number, so a listing starts with the newest version.
_MAX_VERSION = 2**64 - 1


@dataclass(frozen=True)
class TableRepair:
    """A table's damage and the plan for its repair.

    Attributes:
        uri: a folder, or `s3://bucket/prefix`.
        problem: the error in the newest version.
        restore_version: the newest undamaged version. If it is None, the table is deleted.
        row_count: the number of rows in that version; 0 if there is none.
        written_at: the time when that version was written (ISO 8601, UTC); empty if there is none.
        broken_manifests: the addresses of later versions' manifests, which are deleted.
        removed_tags: the tags on those versions, which are deleted.
        damaged_indexes: the damaged indexes of the newest version, which are dropped. Rows do not
            change.
    """

    uri: str
    problem: str
    restore_version: int | None = None
    row_count: int = 0
    written_at: str = ""
    broken_manifests: tuple[str, ...] = ()
    removed_tags: tuple[str, ...] = ()
    damaged_indexes: tuple[str, ...] = ()


def plan_repair(uri: str) -> TableRepair | None:
    """Plan the repair of a table without changing it; return None if the table is undamaged.

    Args:
        uri: the address of a table, in a folder or in a bucket that the environment configures.

    Raises:
        StorageError: the cause is not damage (full, read-only, unreachable, locked).
        TwinError: the bucket cannot be listed.
    """
    try:
        table = open_table(uri)
        if table is None and is_object_address(uri) and list_objects(f"{uri}/data"):
            raise DamagedError.for_place(
                uri, f"open the table {uri}", "its row files exist, but its versions do not"
            )
        if table is None:
            return None
        check_table(table, verify_values=True)
    except DamagedError as error:
        problem = error.found
    else:
        damaged_indexes = find_damaged_indexes(table)
        if not damaged_indexes:
            return None
        index_problem = f"{uri} has damaged indexes: {', '.join(damaged_indexes)}"
        return TableRepair(
            uri,
            index_problem,
            restore_version=table.dataset.version,
            damaged_indexes=damaged_indexes,
        )
    broken_manifests: list[str] = []
    for version, manifest, written_at in _list_manifests(uri):
        undamaged_table = _open_if_undamaged(uri, version)
        if undamaged_table is not None:
            timestamp = datetime.fromtimestamp(written_at, UTC)
            return TableRepair(
                uri,
                problem,
                restore_version=version,
                row_count=read_record(undamaged_table).row_count,
                written_at=timestamp.isoformat(timespec="seconds"),
                broken_manifests=tuple(broken_manifests),
                removed_tags=_find_later_tags(undamaged_table, version),
            )
        broken_manifests.append(manifest)
    return TableRepair(uri, problem, broken_manifests=tuple(broken_manifests))


def repair_table(plan: TableRepair, lease: Lease, *, state: State) -> None:
    """Carry out a repair plan, after which the table is undamaged or deleted.

    Raises:
        StorageError: the table cannot be written, or is still damaged.
    """
    lease.check()
    # The restored version may contain rows of inputs that are recorded as having none, so these
    # records are deleted.
    delete_empty_inputs(state, plan.uri, read_empty_inputs(state, plan.uri)["_input_key"].to_list())
    if plan.restore_version is None:
        _delete(plan.uri)
        return
    if plan.damaged_indexes:
        table = _open_existing(plan.uri)
        for name in plan.damaged_indexes:
            table.dataset.drop_index(name)
    else:
        _restore_version(plan, plan.restore_version)
    table = _open_existing(plan.uri)
    check_table(table, verify_values=True)
    for name in find_damaged_indexes(table):
        table.dataset.drop_index(name)


def _restore_version(plan: TableRepair, version: int) -> None:
    newest_version = max((number for number, *_ in _list_manifests(plan.uri)), default=version)
    table = open_version(plan.uri, version)
    record = replace(read_record(table), exact=True)
    for tag in plan.removed_tags:
        table.dataset.tags.delete(tag)
    for manifest in plan.broken_manifests:
        _delete(manifest)
    table = _open_existing(plan.uri)
    # A version number is never reused for other rows, because readers cache rows by this number.
    while table.dataset.version <= newest_version:
        table, _ = commit_without_rows(table, record)


def _open_existing(uri: str) -> StoredTable:
    table = open_table(uri)
    if table is None:
        raise DamagedError.for_place(uri, f"repair the table {uri}", "its versions are missing")
    return table


def _open_if_undamaged(uri: str, version: int) -> StoredTable | None:
    try:
        table = open_version(uri, version)
        check_table(table, verify_values=True)
    except DamagedError:
        return None
    return table


def _find_later_tags(table: StoredTable, version: int) -> tuple[str, ...]:
    tags = table.dataset.tags.list()
    return tuple(sorted(name for name, fields in tags.items() if fields["version"] > version))


def _list_manifests(uri: str) -> list[tuple[int, str, float]]:
    """Return every manifest's version, address and modification time, newest version first."""
    folder = f"{uri}/_versions"
    if is_object_address(uri):
        files = [
            (f"{folder}/{stored_object.name}", stored_object.modified)
            for stored_object in list_objects(folder)
        ]
    else:
        files = [(str(path), path.stat().st_mtime) for path in Path(folder).glob("*.manifest")]
    manifests: list[tuple[int, str, float]] = []
    for address, written_at in files:
        stem, _, suffix = address.rpartition("/")[2].rpartition(".")
        if suffix == "manifest" and stem.isdigit():
            number = int(stem)
            version = number if number < _MAX_VERSION // 2 else _MAX_VERSION - number
            manifests.append((version, address, written_at))
    return sorted(manifests, reverse=True)


def _delete(address: str) -> None:
    """Delete a file, or a folder with its contents."""
    if is_object_address(address):
        remove_objects(address)
    elif Path(address).is_dir():
        shutil.rmtree(address)
    else:
        Path(address).unlink(missing_ok=True)
