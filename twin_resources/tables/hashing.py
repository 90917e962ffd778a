"""Row hashes and the data version made from them: the same bytes for the same values, anywhere.

Belongs here: the canonical encoding of a row, its hash, sums of hashes modulo 2^256.
Does not belong here: reading or writing tables (`store.py`), deciding what changed
(`changes.py`).
Method: an incremental multiset hash by addition, Bellare and Micciancio, "A New Paradigm for
Collision-Free Hashing", 1997 (https://cseweb.ucsd.edu/~daniele/papers/IncHash.html), over BLAKE2b
(https://www.rfc-editor.org/rfc/rfc7693). It detects change; it is no defence against a forger.
"""
# pyright: strict
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# The two lines above are for pyarrow, which has no types.

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import polars as pl

from twin_resources.errors import TwinError

HASH_BYTES = 32
MODULUS = 1 << 256

_ABSENT = b"\x00"
_PRESENT = b"\x01"


class UnhashableColumn(TwinError):
    """A column's type has no canonical encoding."""


def row_hashes(frame: pl.DataFrame) -> pl.Series:
    """BLAKE2b-256 of every row over all columns, as a Binary series of `frame.height` values.

    The order of the columns does not count, their names and types do. Integers of any width hash
    alike when their values are equal; `-0.0` is `0.0`, every NaN is one NaN. Time is microseconds
    (UTC where the column has a zone).

    Raises:
        UnhashableColumn: a column of a type that a table cannot hold (Object).
    """
    import pyarrow as pa

    names = sorted(frame.columns)
    start = hashlib.blake2b(digest_size=HASH_BYTES, person=b"twin row 1")
    frame = _normalized(frame.select(names))
    for name, dtype in frame.schema.items():
        start.update(_sized(name.encode()) + _sized(type_name(dtype).encode()))
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    columns = [_encoded(_one_chunk(table.column(name), pa)) for name in names]
    digests: list[bytes] = []
    for parts in zip(*columns, strict=True):
        row = start.copy()
        row.update(b"".join(parts))
        digests.append(row.digest())
    if not names:
        digests = [start.digest()] * frame.height
    return pl.Series("_row_hash", digests, dtype=pl.Binary)


def sum_hashes(hashes: pl.Series | Iterable[bytes]) -> int:
    """Sum of 32-byte hashes modulo 2^256, independent of their order."""
    import numpy as np

    joined = b"".join(hashes)
    if not joined:
        return 0
    # Eight 32-bit limbs in 64-bit sums: no overflow below 2^32 rows.
    limbs = np.frombuffer(joined, dtype=">u4").reshape(-1, 8).sum(axis=0, dtype=np.uint64)
    total = 0
    for limb in limbs.tolist():
        total = (total << 32) + limb
    return total % MODULUS


def hash_of(*parts: bytes | str) -> bytes:
    """BLAKE2b-256 of the parts, each with its length, so that ("ab", "c") is not ("a", "bc")."""
    encoded = (part.encode() if isinstance(part, str) else part for part in parts)
    joined = b"".join(_sized(part) for part in encoded)
    return hashlib.blake2b(joined, digest_size=HASH_BYTES, person=b"twin parts 1").digest()


def data_version(row_sum: int, *, types: Mapping[str, str], version: str) -> str:
    """64 hex digits: row hashes plus schema plus function version, modulo 2^256.

    Args:
        row_sum: sum of the row hashes.
        types: column name to type in our words (`type_name`); the order does not count.
        version: version of the function that made the rows.
    """
    columns = [f"{name}: {types[name]}" for name in sorted(types)]
    total = row_sum + int.from_bytes(hash_of("schema", *columns), "big")
    total += int.from_bytes(hash_of("version", version), "big")
    return f"{total % MODULUS:064x}"


def type_name(dtype: pl.DataType) -> str:
    """The type in words of our own: those of Polars may change from version to version."""
    dtype = _as_instance(dtype)
    if isinstance(dtype, pl.List):
        return f"list<{type_name(_inner(dtype))}>"
    if isinstance(dtype, pl.Array):
        return f"array<{type_name(_inner(dtype))}, {dtype.size}>"
    if isinstance(dtype, pl.Struct):
        parts = sorted(
            f"{part.name}: {type_name(_as_instance(part.dtype))}" for part in dtype.fields
        )
        return f"struct<{', '.join(parts)}>"
    if isinstance(dtype, pl.Datetime):
        return f"datetime<{dtype.time_unit}, {dtype.time_zone or 'local'}>"
    if isinstance(dtype, pl.Duration):
        return f"duration<{dtype.time_unit}>"
    return type(dtype).__name__.lower()


def _sized(part: bytes) -> bytes:
    return len(part).to_bytes(8, "little") + part


def _normalized(frame: pl.DataFrame) -> pl.DataFrame:
    """Polars types of equal meaning become one, so that a value hashes alike in any of them."""
    return frame.select(
        pl.col(name).cast(_normal_type(name, dtype)) for name, dtype in frame.schema.items()
    )


def _normal_type(name: str, dtype: pl.DataType) -> pl.DataType:
    if isinstance(dtype, pl.List):
        return pl.List(_normal_type(name, _inner(dtype)))
    if isinstance(dtype, pl.Array):
        return pl.List(_normal_type(name, _inner(dtype)))
    if isinstance(dtype, pl.Struct):
        ordered = sorted(dtype.fields, key=lambda part: part.name)
        return pl.Struct(
            {part.name: _normal_type(name, _as_instance(part.dtype)) for part in ordered}
        )
    if isinstance(dtype, pl.Datetime):
        return pl.Datetime("us", "UTC" if dtype.time_zone else None)
    if isinstance(dtype, pl.Duration):
        return pl.Duration("us")
    if dtype.is_float():
        return dtype
    if dtype.is_integer():
        return pl.Int64() if dtype != pl.UInt64 else pl.UInt64()
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return pl.String()
    if isinstance(dtype, pl.String | pl.Binary | pl.Boolean | pl.Date | pl.Time | pl.Null):
        return dtype
    raise UnhashableColumn(
        f"hash the column {name!r}", found=f"type {dtype}", next_step="cast it to a type of Arrow"
    )


def _inner(dtype: pl.List | pl.Array) -> pl.DataType:
    return _as_instance(dtype.inner)


def _as_instance(dtype: Any) -> pl.DataType:
    return dtype() if isinstance(dtype, type) else dtype


def _one_chunk(column: Any, pa: Any) -> Any:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _encoded(array: Any) -> Sequence[bytes]:
    """One self-delimiting byte string a value: presence, then the size unless the type fixes it."""
    import pyarrow as pa
    import pyarrow.types as of

    kind = array.type
    if of.is_null(kind):
        return [_ABSENT] * len(array)
    if of.is_large_string(kind) or of.is_string(kind):
        array = array.cast(pa.large_binary())
        kind = array.type
    if of.is_large_binary(kind) or of.is_binary(kind):
        return [
            _ABSENT if value is None else _PRESENT + len(value).to_bytes(8, "little") + value
            for value in array.to_pylist()
        ]
    if of.is_large_list(kind) or of.is_list(kind):
        return _encoded_lists(array)
    if of.is_struct(kind):
        fields = [_encoded(field) for field in array.flatten()]
        joined = map(b"".join, zip(*fields, strict=True)) if fields else [b""] * len(array)
        return [
            _PRESENT + value if valid else _ABSENT
            for value, valid in zip(joined, array.is_valid().to_pylist(), strict=True)
        ]
    return _encoded_fixed(array)


def _encoded_fixed(array: Any) -> Sequence[bytes]:
    raw, width = _fixed_bytes(array)
    values = [raw[at : at + width] for at in range(0, len(raw), width)]
    if array.null_count == 0:
        return [_PRESENT + value for value in values]
    valid = array.is_valid().to_pylist()
    return [
        _PRESENT + value if there else _ABSENT for value, there in zip(values, valid, strict=True)
    ]


def _fixed_bytes(array: Any) -> tuple[bytes, int]:
    """Little-endian bytes of fixed-width values, nulls as zero, and the width of one value."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as of

    kind = array.type
    if of.is_boolean(kind):
        array = array.cast(pa.uint8())
    elif of.is_date32(kind):
        array = array.cast(pa.int32())
    elif of.is_temporal(kind):
        array = array.cast(pa.int64())
    values = pc.fill_null(array, 0).to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f":
        values = values + 0.0  # -0.0 + 0.0 is 0.0
        values[np.isnan(values)] = np.nan
    values = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return values.tobytes(), values.dtype.itemsize


def _encoded_lists(array: Any) -> Sequence[bytes]:
    import pyarrow.types as of

    valid = array.is_valid().to_pylist()
    offsets = array.offsets.to_pylist()
    values = array.values
    if of.is_primitive(values.type):
        # Embedding vectors: one slice a row instead of one object a number.
        raw, width = _fixed_bytes(values)
        inside = values.is_valid().to_numpy(zero_copy_only=False) if values.null_count else None
        items = [
            raw[begin * width : end * width] + _holes(inside, begin, end)
            for begin, end in pairwise(offsets)
        ]
    else:
        inner = _encoded(values)
        items = [b"".join(inner[begin:end]) for begin, end in pairwise(offsets)]
    return [
        _PRESENT + (end - begin).to_bytes(8, "little") + item if there else _ABSENT
        for item, (begin, end), there in zip(items, pairwise(offsets), valid, strict=True)
    ]


def _holes(inside: Any, begin: int, end: int) -> bytes:
    """Which items of one list are null; one byte when none is, whatever other rows hold."""
    if inside is None or inside[begin:end].all():
        return _PRESENT
    return _ABSENT + inside[begin:end].tobytes()
