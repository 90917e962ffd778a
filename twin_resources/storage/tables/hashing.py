"""Compute row hashes and the data version; equal values give equal bytes on every machine.

Method: an incremental multiset hash by addition, Bellare and Micciancio, "A New Paradigm for
Collision-Free Hashing", 1997 (https://cseweb.ucsd.edu/~daniele/papers/IncHash.html), over BLAKE2b
(https://www.rfc-editor.org/rfc/rfc7693). It detects changes, but does not prevent forgery.
"""
# pyright: strict

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from twin_resources.errors import TwinError

HASH_BYTES = 32
MODULUS = 1 << 256

_ROWS_AT_A_TIME = 1_000  # as Python values in memory


class UnhashableColumnError(TwinError):
    """A column's type has no canonical encoding."""


def hash_rows(frame: pl.DataFrame) -> pl.Series:
    """Return the BLAKE2b-256 hash of every row over all columns, as a Binary series.

    Column names and types affect the hash; column order does not. Equal integers have the same hash
    in any width. Times are hashed in microseconds, in UTC if the column has a time zone.

    Raises:
        UnhashableColumnError: a column has a type that a table cannot store (Object).
    """
    names = sorted(frame.columns)
    frame = frame.select(
        pl.col(name).cast(_hashed_type(name, frame.schema[name])) for name in names
    )
    types = ascii([(name, type_name(dtype)) for name, dtype in frame.schema.items()])
    hasher = hashlib.blake2b(types.encode(), digest_size=HASH_BYTES, person=b"twin row 2")
    digests: list[bytes] = []
    for part in frame.iter_slices(_ROWS_AT_A_TIME):
        for row in zip(*(_plain_values(column) for column in part), strict=True):
            row_hasher = hasher.copy()
            row_hasher.update(ascii(row).encode())  # `repr` depends on Python's Unicode version
            digests.append(row_hasher.digest())
    return pl.Series("_row_hash", digests, dtype=pl.Binary)


def sum_hashes(hashes: pl.Series | Iterable[bytes]) -> int:
    """Return the sum of 32-byte hashes modulo 2^256, independent of their order."""
    import numpy as np

    all_bytes = b"".join(hashes)
    if not all_bytes:
        return 0
    # The eight 32-bit limbs are summed in 64 bits, which cannot overflow below 2^32 rows.
    limbs = np.frombuffer(all_bytes, dtype=">u4").reshape(-1, 8).sum(axis=0, dtype=np.uint64)
    total = 0
    for limb in limbs.tolist():
        total = (total << 32) + limb
    return total % MODULUS


def hash_parts(*parts: bytes | str) -> bytes:
    """Hash the parts with their lengths (BLAKE2b-256): ("ab", "c") differs from ("a", "bc")."""
    encoded_parts = (part.encode() if isinstance(part, str) else part for part in parts)
    encoding = b"".join(_add_length(part) for part in encoded_parts)
    return hashlib.blake2b(encoding, digest_size=HASH_BYTES, person=b"twin parts 1").digest()


def data_version(row_sum: int, *, types: Mapping[str, str], version: str) -> str:
    """Return the data version: row hashes, schema and function version, summed modulo 2^256.

    Args:
        row_sum: the sum of the row hashes.
        types: column name → type name (`type_name`), in any order.
        version: the version of the function that computed the rows.

    Returns:
        64 hexadecimal digits.
    """
    columns = [f"{name}: {types[name]}" for name in sorted(types)]
    total = row_sum + int.from_bytes(hash_parts("schema", *columns), "big")
    total += int.from_bytes(hash_parts("version", version), "big")
    return f"{total % MODULUS:064x}"


def type_name(dtype: pl.DataType) -> str:
    """Return this project's name for a type; Polars' own names may change between versions."""
    dtype = _as_instance(dtype)
    if isinstance(dtype, pl.List):
        return f"list<{type_name(_inner_type(dtype))}>"
    if isinstance(dtype, pl.Array):
        return f"array<{type_name(_inner_type(dtype))}, {dtype.size}>"
    if isinstance(dtype, pl.Struct):
        field_names = sorted(
            f"{field.name}: {type_name(_as_instance(field.dtype))}" for field in dtype.fields
        )
        return f"struct<{', '.join(field_names)}>"
    if isinstance(dtype, pl.Datetime):
        return f"datetime<{dtype.time_unit}, {dtype.time_zone or 'local'}>"
    if isinstance(dtype, pl.Duration):
        return f"duration<{dtype.time_unit}>"
    return type(dtype).__name__.lower()


def _add_length(part: bytes) -> bytes:
    return len(part).to_bytes(8, "little") + part


def _plain_values(column: pl.Series) -> list[object]:
    """Return the values as numbers, texts, bytes, lists and dicts; a vector as its bytes."""
    if isinstance(column.dtype, pl.Array):
        # 384 numbers a passage are most of what an import hashes.
        vectors = zip(column.to_numpy(), column.is_not_null(), strict=True)
        return [vector.tobytes() if is_present else None for vector, is_present in vectors]
    return column.to_physical().to_list()


def _hashed_type(name: str, dtype: pl.DataType) -> pl.DataType:
    """Return the one type to which equivalent types are cast before hashing."""
    if isinstance(dtype, pl.Array) and _inner_type(dtype).is_float():
        return dtype
    if isinstance(dtype, pl.List | pl.Array):
        return pl.List(_hashed_type(name, _inner_type(dtype)))
    if isinstance(dtype, pl.Struct):
        fields = sorted(dtype.fields, key=lambda part: part.name)
        return pl.Struct(
            {field.name: _hashed_type(name, _as_instance(field.dtype)) for field in fields}
        )
    if isinstance(dtype, pl.Datetime):
        return pl.Datetime("us", "UTC" if dtype.time_zone else None)
    if isinstance(dtype, pl.Duration):
        return pl.Duration("us")
    if dtype.is_integer():
        return pl.Int64() if dtype != pl.UInt64 else pl.UInt64()
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return pl.String()
    plain_types = pl.String | pl.Binary | pl.Boolean | pl.Date | pl.Time | pl.Null
    if dtype.is_float() or isinstance(dtype, plain_types):
        return dtype
    raise UnhashableColumnError(
        f"hash the column {name!r}", found=f"type {dtype}", next_step="cast it to an Arrow type"
    )


def _inner_type(dtype: pl.List | pl.Array) -> pl.DataType:
    return _as_instance(dtype.inner)


def _as_instance(dtype: Any) -> pl.DataType:
    return dtype() if isinstance(dtype, type) else dtype
