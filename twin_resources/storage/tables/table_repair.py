"""Repair a damaged table: go back to its newest intact version, and drop damaged indexes.

A Lance version is a manifest and the files that it lists (https://lance.org/format/table/). The
manifests of damaged versions are deleted, because an erasure must be able to decode what remains.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from twin_resources.storage.file_store import FileStore
from twin_resources.storage.object_store import is_object_address, remove_objects
from twin_resources.storage.storage_faults import DamagedError
from twin_resources.storage.tables.store import (
    commit_without_rows,
    open_table,
    open_version,
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
        lost_version_count: the number of later versions, which are deleted.
        lost_tags: the tags on those versions, which are deleted.
        damaged_indexes: the indexes that are dropped if the rows are intact. Rows do not change.
    """

    uri: str
    problem: str
    restore_version: int | None = None
    row_count: int = 0
    lost_version_count: int = 0
    lost_tags: tuple[str, ...] = ()
    damaged_indexes: tuple[str, ...] = ()


def plan_repair(uri: str) -> TableRepair | None:
    """Plan the repair of a table without changing it; return None if the table is undamaged.

    Args:
        uri: the address of a table, in a folder or in a bucket that the environment configures.

    Raises:
        StorageError: the cause is not damage (full, read-only, unreachable, locked).
        TwinError: the bucket cannot be listed.
    """
    problem = ""
    try:
        table = open_table(uri)
        if table is None:
            return None
        check_table(table, verify_values=True)
        indexes = find_damaged_indexes(table)
        if not indexes:
            return None
        problem = f"{uri} has damaged indexes: {', '.join(indexes)}"
        version, row_count = table.dataset.version, table.row_count
        return TableRepair(uri, problem, version, row_count, damaged_indexes=indexes)
    except DamagedError as error:
        problem = error.found
    manifests = _list_manifests(uri)
    for lost_version_count, version in enumerate(manifests):
        try:
            table = open_version(uri, version)
            check_table(table, verify_values=True)
        except DamagedError:
            continue
        tags = table.dataset.tags.list()
        lost_tags = tuple(sorted(name for name in tags if tags[name]["version"] > version))
        row_count = table.row_count
        return TableRepair(uri, problem, version, row_count, lost_version_count, lost_tags)
    return TableRepair(uri, problem, lost_version_count=len(manifests))


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
    table = open_version(plan.uri, plan.restore_version)
    for tag in plan.lost_tags:
        table.dataset.tags.delete(tag)
    manifests = _list_manifests(plan.uri)
    for version, manifest in manifests.items():
        if version > plan.restore_version:
            _delete(manifest)
    table = open_version(plan.uri, plan.restore_version)
    # A version number is never reused for other rows, because readers cache rows by this number.
    while table.dataset.version <= max(manifests):
        table = commit_without_rows(table)
    for name in find_damaged_indexes(table):
        table.dataset.drop_index(name)
    check_table(table, verify_values=True)


def _list_manifests(uri: str) -> dict[int, str]:
    """Return the address of every manifest by its version, newest version first."""
    names = [Path(name) for name in FileStore(uri).list_files("_versions")]
    return {
        _MAX_VERSION - int(name.stem): f"{uri}/{name}"
        for name in names
        if name.suffix == ".manifest" and name.stem.isdigit()
    }


def _delete(address: str) -> None:
    """Delete a file, or a folder with its contents."""
    if is_object_address(address):
        remove_objects(address)
    elif Path(address).is_dir():
        shutil.rmtree(address)
    else:
        Path(address).unlink(missing_ok=True)
