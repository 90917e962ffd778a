"""Find the inputs that a table must recompute, and those that were removed upstream.

Scope: input hashes, comparison with stored rows, bounded batches; frames only.
Out of scope: Lance, the state store, row values other than keys and hashes.
Method: build systems with content hashes, Mokhov, Mitchell and Peyton Jones, "Build Systems à la
Carte", 2018 (https://doi.org/10.1145/3236774): a verifying trace of (input hash, function version).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from twin_resources.storage.tables.hashing import HASH_BYTES, sum_hashes


@dataclass(frozen=True)
class TableChanges:
    """The inputs that one sync must compute or delete.

    Attributes:
        inputs: one row per changed input: `key`, `input_hash` and `positions` (list of upstream row
            numbers).
        removed_keys: the stored input keys that upstream no longer has.
        removed_empty_keys: the recorded inputs without rows that upstream no longer has.
    """

    inputs: pl.DataFrame
    removed_keys: list[str]
    removed_empty_keys: list[str]


def hash_inputs(rows: pl.DataFrame) -> pl.DataFrame:
    """Return one row per input: `key`, `input_hash`, `positions`.

    The hash of an input is its row's hash, or the sum of its rows' hashes.

    Args:
        rows: one row per upstream row, in upstream order: `key`, `hash`.
    """
    if rows["key"].n_unique() == rows.height:  # the usual case: nothing to sum
        return rows.select(
            "key",
            pl.col("hash").alias("input_hash"),
            pl.int_range(pl.len(), dtype=pl.UInt32)
            .reshape((-1, 1))
            .arr.to_list()
            .alias("positions"),
        )
    inputs = (
        rows.with_row_index("position")
        .group_by("key", maintain_order=True)
        .agg("hash", pl.col("position").alias("positions"))
    )
    hashes = [
        parts[0] if len(parts) == 1 else sum_hashes(parts).to_bytes(HASH_BYTES, "big")
        for parts in inputs["hash"].to_list()
    ]
    return inputs.select("key", pl.Series("input_hash", hashes, dtype=pl.Binary), "positions")


def find_changes(
    inputs: pl.DataFrame, *, stored_rows: pl.DataFrame, empty_inputs: pl.DataFrame, version: str
) -> TableChanges:
    """Find the changed and the removed inputs.

    Args:
        inputs: the result of `hash_inputs`.
        stored_rows: bookkeeping columns of all rows: `_input_key`, `_input_hash`, `_version`.
        empty_inputs: the recorded inputs without rows, with the same columns; stored rows take
            precedence.
        version: the function's current version.
    """
    stored_inputs = stored_rows.select("_input_key", "_input_hash", "_version").unique()
    # A key with two hashes or versions comes from an interrupted sync and is recomputed.
    inconsistent_keys = stored_inputs.filter(pl.col("_input_key").is_duplicated()).select(
        "_input_key"
    )
    current_inputs = pl.concat(
        [
            stored_inputs.join(inconsistent_keys, on="_input_key", how="anti"),
            empty_inputs.select("_input_key", "_input_hash", "_version").join(
                stored_inputs, on="_input_key", how="anti"
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
    removed_inputs = (
        stored_inputs.select("_input_key")
        .unique()
        .join(keys, left_on="_input_key", right_on="key", how="anti")
    )
    removed_empty_inputs = empty_inputs.join(keys, left_on="_input_key", right_on="key", how="anti")
    return TableChanges(
        changed_inputs,
        sorted(removed_inputs["_input_key"].to_list()),
        sorted(removed_empty_inputs["_input_key"].to_list()),
    )


def split_batches(inputs: pl.DataFrame, *, max_rows: int) -> Iterator[pl.DataFrame]:
    """Split the inputs into batches of at most `max_rows` upstream rows.

    An input with more rows forms a batch of its own.
    """
    batch_numbers: list[int] = []
    batch, batch_size = 0, 0
    for size in inputs["positions"].list.len().to_list():
        if batch_size and batch_size + size > max_rows:
            batch, batch_size = batch + 1, 0
        batch_numbers.append(batch)
        batch_size += size
    if batch_numbers:
        numbered_inputs = inputs.with_columns(pl.Series("batch", batch_numbers))
        yield from numbered_inputs.partition_by("batch", include_key=False)
