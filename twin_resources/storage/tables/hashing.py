"""Row hashes and the data version made from them: the same bytes for the same values, anywhere.

Scope: the canonical encoding of a row, its hash, sums of hashes modulo 2^256.
Out of scope: reading or writing tables (`store.py`), deciding what changed
(`changes.py`).
Method: an incremental multiset hash by addition, Bellare and Micciancio, "A New Paradigm for
Collision-Free Hashing", 1997 (https://cseweb.ucsd.edu/~daniele/papers/IncHash.html), over BLAKE2b
(https://www.rfc-editor.org/rfc/rfc7693). It detects change; it is no defence against a forger.
"""
# pyright: strict
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# pyright: reportAttributeAccessIssue=false
# The three lines above are for pyarrow, which has no types.

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
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
    if not names:
        return pl.Series("_row_hash", [start.digest()] * frame.height, dtype=pl.Binary)
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    rows = _joined(*(_encoded(_one_chunk(table.column(name), pa)) for name in names))
    digests: list[bytes] = []
    for encoded in rows.to_pylist():
        row = start.copy()
        row.update(encoded)
        digests.append(row.digest())
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


def _encoded(array: Any) -> Any:
    """One self-delimiting byte string a value: presence, then the size unless the type fixes it.

    A LargeBinary array without nulls: bytes are joined by Arrow, a column at a time.
    """
    import pyarrow as pa
    import pyarrow.types as of

    kind = array.type
    if of.is_null(kind):
        return pa.array([_ABSENT] * len(array), pa.large_binary())
    if of.is_large_string(kind) or of.is_string(kind):
        array = array.cast(pa.large_binary())
        kind = array.type
    if of.is_large_binary(kind) or of.is_binary(kind):
        return _encoded_sized(array.cast(pa.large_binary()))
    if of.is_large_list(kind) or of.is_list(kind):
        return _encoded_lists(array)
    if of.is_struct(kind):
        return _or_absent(array, _joined(*(_encoded(field) for field in array.flatten())))
    raw, width = _fixed_bytes(array)
    return _or_absent(array, _fixed(raw, width, rows=len(array)))


def _encoded_sized(array: Any) -> Any:
    import pyarrow.compute as pc

    there = pc.fill_null(array, b"")
    return _or_absent(array, _joined(_numbers(pc.binary_length(there)), there))


def _or_absent(array: Any, encoded: Any) -> Any:
    """Presence before each encoded value; where `array` has null, nothing but its absence."""
    import pyarrow as pa
    import pyarrow.compute as pc

    present = _joined(pa.scalar(_PRESENT, pa.large_binary()), encoded)
    if array.null_count == 0:
        return present
    return pc.if_else(array.is_valid(), present, pa.scalar(_ABSENT, pa.large_binary()))


def _joined(*parts: Any) -> Any:
    """Bytes of several columns one after the other, row by row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.large_binary()))


def _fixed(raw: bytes, width: int, *, rows: int) -> Any:
    """Bytes of values of one width as a LargeBinary array."""
    import numpy as np

    return _cut(raw, np.arange(rows + 1, dtype=np.int64) * width)


def _numbers(values: Any) -> Any:
    """Numbers as eight bytes each, little-endian."""
    import numpy as np

    whole = np.asarray(values).astype("<i8")
    return _fixed(whole.tobytes(), 8, rows=len(whole))


def _cut(raw: bytes, offsets: Any) -> Any:
    """The pieces between offsets as a LargeBinary array, nothing copied."""
    import numpy as np
    import pyarrow as pa

    buffers = [None, pa.py_buffer(offsets.astype(np.int64, copy=False)), pa.py_buffer(raw)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


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


def _encoded_lists(array: Any) -> Any:
    import numpy as np
    import pyarrow.types as of

    offsets = np.asarray(array.offsets).astype(np.int64)
    values = array.values
    if of.is_primitive(values.type):
        raw, width = _fixed_bytes(values)
        items = _joined(_cut(raw, offsets * width), _holes(values, offsets))
    else:
        inner = _encoded(values)
        ends = np.frombuffer(inner.buffers()[1], np.int64)[inner.offset :][: len(inner) + 1]
        raw = inner.buffers()[2]
        items = _cut(b"" if raw is None else raw, ends[offsets])
    return _or_absent(array, _joined(_numbers(np.diff(offsets)), items))


def _holes(values: Any, offsets: Any) -> Any:
    """Which items of each list are null; one byte when none is, whatever other rows hold."""
    import numpy as np
    import pyarrow as pa

    if not values.null_count:
        return pa.scalar(_PRESENT, pa.large_binary())
    inside: Any = values.is_valid().to_numpy(zero_copy_only=False)
    marks = [
        _PRESENT if inside[begin:end].all() else _ABSENT + inside[begin:end].tobytes()
        for begin, end in pairwise(np.asarray(offsets).tolist())
    ]
    return pa.array(marks, pa.large_binary())
