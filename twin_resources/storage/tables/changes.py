"""Find the inputs that a table must recompute, and those that have vanished.

Scope: input hashes, groups, comparison with stored rows, bounded batches; frames only.
Out of scope: Lance, the state store, row values other than keys and hashes.
Method: build systems with content hashes, Mokhov, Mitchell and Peyton Jones, "Build Systems à la
Carte", 2018 (https://doi.org/10.1145/3236774): a verifying trace of (input hash, function version).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from twin_resources.errors import TwinError
from twin_resources.storage.tables.hashing import HASH_BYTES, hash_parts, sum_hashes


@dataclass(frozen=True)
class TableChanges:
    """The work of one sync.

    Attributes:
        inputs: one row per changed input: `key`, `input_hash`, `positions` (list of upstream row
            numbers) and `unit` (the group, or otherwise the key). Inputs of a unit are computed
            together.
        vanished: the stored input keys that upstream no longer has.
        vanished_empty: the recorded inputs without rows that upstream no longer has.
    """

    inputs: pl.DataFrame
    vanished: list[str]
    vanished_empty: list[str]


def input_hashes(rows: pl.DataFrame) -> pl.DataFrame:
    """Return one row per input: `key`, `input_hash`, `unit`, `positions`.

    Args:
        rows: one row per upstream row, in upstream order: `key`, `hash` and optionally `group`.

    The hash of an input is its row's hash, or the sum of its rows' hashes. With groups, it covers
    all keys and hashes of the group. It therefore changes for every member if the group gains,
    loses or changes a member.

    Raises:
        TwinError: a key is in several groups.
    """
    if "group" in rows.columns:
        _check_one_group(rows)
    elif rows["key"].n_unique() == rows.height:  # the usual case: nothing to sum
        return rows.select(
            "key",
            pl.col("hash").alias("input_hash"),
            pl.col("key").alias("unit"),
            pl.int_range(pl.len(), dtype=pl.UInt32)
            .reshape((-1, 1))
            .arr.to_list()
            .alias("positions"),
        )
    inputs = (
        rows.with_row_index("position")
        .group_by("key", maintain_order=True)
        .agg(
            pl.col("hash"),
            pl.col("group").first()
            if "group" in rows.columns
            else pl.col("key").first().alias("group"),
            pl.col("position").alias("positions"),
        )
    )
    hashes = [
        parts[0] if len(parts) == 1 else sum_hashes(parts).to_bytes(HASH_BYTES, "big")
        for parts in inputs["hash"].to_list()
    ]
    inputs = inputs.select(
        "key",
        pl.Series("input_hash", hashes, dtype=pl.Binary),
        pl.col("group").alias("unit"),
        "positions",
    )
    return _sum_hashes_by_group(inputs) if "group" in rows.columns else inputs


def _check_one_group(rows: pl.DataFrame) -> None:
    groups = rows.group_by("key").agg(pl.col("group").n_unique())
    ambiguous_keys = groups.filter(pl.col("group") > 1)["key"].sort().to_list()
    if ambiguous_keys:
        raise TwinError(
            "sync a table by groups",
            found=f"inputs in several groups: {', '.join(map(repr, ambiguous_keys[:5]))}",
            next_step="give all upstream rows with the same key the same group",
        )


def _sum_hashes_by_group(inputs: pl.DataFrame) -> pl.DataFrame:
    hashes_by_unit: dict[object, list[bytes]] = {}
    input_rows = zip(inputs["unit"].to_list(), inputs["key"], inputs["input_hash"], strict=True)
    for unit, key, input_hash in input_rows:
        hashes_by_unit.setdefault(unit, []).append(hash_parts(key, input_hash))
    hash_by_unit = {
        unit: sum_hashes(parts).to_bytes(HASH_BYTES, "big")
        for unit, parts in hashes_by_unit.items()
    }
    hashes = [hash_by_unit[unit] for unit in inputs["unit"].to_list()]
    return inputs.with_columns(pl.Series("input_hash", hashes, dtype=pl.Binary))


def find_changes(
    inputs: pl.DataFrame, *, stored: pl.DataFrame, empty: pl.DataFrame, version: str
) -> TableChanges:
    """Find the changed and the vanished inputs.

    Args:
        inputs: the result of `input_hashes`.
        stored: every stored row's bookkeeping columns: `_input_key`, `_input_hash`, `_version`.
        empty: the recorded inputs without rows, in the same columns; stored rows take precedence.
        version: the function's current version.
    """
    stored_keys = stored.select("_input_key", "_input_hash", "_version").unique()
    # A key with two hashes or versions comes from an interrupted sync and is recomputed.
    inconsistent_keys = stored_keys.filter(pl.col("_input_key").is_duplicated()).select(
        "_input_key"
    )
    current_inputs = pl.concat(
        [
            stored_keys.join(inconsistent_keys, on="_input_key", how="anti"),
            empty.select("_input_key", "_input_hash", "_version").join(
                stored_keys, on="_input_key", how="anti"
            ),
        ]
    ).filter(pl.col("_version") == version)
    changed_inputs = inputs.join(
        current_inputs,
        left_on=["key", "input_hash"],
        right_on=["_input_key", "_input_hash"],
        how="anti",
        maintain_order="left",
    )
    keys = inputs.select("key")
    vanished_keys = (
        stored_keys.select("_input_key")
        .unique()
        .join(keys, left_on="_input_key", right_on="key", how="anti")
    )
    vanished_empty_keys = empty.join(keys, left_on="_input_key", right_on="key", how="anti")
    return TableChanges(
        changed_inputs,
        sorted(vanished_keys["_input_key"].to_list()),
        sorted(vanished_empty_keys["_input_key"].to_list()),
    )


def split_batches(inputs: pl.DataFrame, *, rows: int) -> Iterator[pl.DataFrame]:
    """Split the inputs into batches of at most `rows` upstream rows; a unit is never split.

    A unit larger than `rows` forms its own batch.
    """
    sizes = (
        inputs.group_by("unit", maintain_order=True)
        .agg(pl.col("positions").list.len().sum().alias("size"))
        .iter_rows()
    )
    batch_by_unit: dict[object, int] = {}
    batch, batch_size = 0, 0
    for unit, size in sizes:
        if batch_size and batch_size + size > rows:
            batch, batch_size = batch + 1, 0
        batch_by_unit[unit] = batch
        batch_size += size
    if not batch_by_unit:
        return
    batch_numbers = pl.Series("batch", [batch_by_unit[unit] for unit in inputs["unit"].to_list()])
    yield from inputs.with_columns(batch_numbers).partition_by("batch", include_key=False)
