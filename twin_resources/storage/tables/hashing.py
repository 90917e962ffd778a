"""Compute row hashes and the data version; equal values give equal bytes on every machine.

Scope: the canonical encoding of a row, its hash, sums of hashes modulo 2^256.
Out of scope: reading or writing tables (`store.py`), detecting changes (`changes.py`).
Method: an incremental multiset hash by addition, Bellare and Micciancio, "A New Paradigm for
Collision-Free Hashing", 1997 (https://cseweb.ucsd.edu/~daniele/papers/IncHash.html), over BLAKE2b
(https://www.rfc-editor.org/rfc/rfc7693). It detects changes, but does not prevent forgery.
"""
# pyright: strict
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# pyright: reportAttributeAccessIssue=false
# These settings are needed because pyarrow has no type hints.

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import polars as pl

from twin_resources.errors import TwinError

HASH_BYTES = 32
MODULUS = 1 << 256

_ROWS_AT_A_TIME = 1_000  # their encodings are in memory three times

_ABSENT = b"\x00"
_PRESENT = b"\x01"


class UnhashableColumnError(TwinError):
    """A column's type has no canonical encoding."""


def hash_rows(frame: pl.DataFrame) -> pl.Series:
    """Return the BLAKE2b-256 hash of every row over all columns, as a Binary series.

    Column names and types affect the hash; column order does not. Equal integers have the same hash
    in any width, `-0.0` has the hash of `0.0`, and all NaNs have the same hash. Times are hashed in
    microseconds, in UTC if the column has a time zone.

    Raises:
        UnhashableColumnError: a column has a type that a table cannot store (Object).
    """
    names = sorted(frame.columns)
    schema_hasher = hashlib.blake2b(digest_size=HASH_BYTES, person=b"twin row 1")
    frame = _normalize(frame.select(names))
    for name, dtype in frame.schema.items():
        schema_hasher.update(_add_length(name.encode()) + _add_length(type_name(dtype).encode()))
    if not names:
        return pl.Series("_row_hash", [schema_hasher.digest()] * frame.height, dtype=pl.Binary)
    if frame.is_empty():
        return pl.Series("_row_hash", [], dtype=pl.Binary)
    digests: list[bytes] = []
    for start in range(0, frame.height, _ROWS_AT_A_TIME):
        # The copy of these rows has one chunk a column and begins at offset 0: Arrow cannot combine
        # the chunks of a list column that a join returned.
        part = frame[list(range(start, min(start + _ROWS_AT_A_TIME, frame.height)))].rechunk()
        table = part.to_arrow(compat_level=pl.CompatLevel.oldest())
        rows = _join_bytes(*(_encode(table.column(name).chunk(0)) for name in names))
        for encoded_row in rows.to_pylist():
            row_hasher = schema_hasher.copy()
            row_hasher.update(encoded_row)
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


def _normalize(frame: pl.DataFrame) -> pl.DataFrame:
    """Cast equivalent Polars types to one type, so that equal values have equal encodings."""
    return frame.select(
        pl.col(name).cast(_normalize_type(name, dtype)) for name, dtype in frame.schema.items()
    )


def _normalize_type(name: str, dtype: pl.DataType) -> pl.DataType:
    if isinstance(dtype, pl.List | pl.Array):
        return pl.List(_normalize_type(name, _inner_type(dtype)))
    if isinstance(dtype, pl.Struct):
        sorted_fields = sorted(dtype.fields, key=lambda part: part.name)
        return pl.Struct(
            {
                field.name: _normalize_type(name, _as_instance(field.dtype))
                for field in sorted_fields
            }
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
    raise UnhashableColumnError(
        f"hash the column {name!r}", found=f"type {dtype}", next_step="cast it to an Arrow type"
    )


def _inner_type(dtype: pl.List | pl.Array) -> pl.DataType:
    return _as_instance(dtype.inner)


def _as_instance(dtype: Any) -> pl.DataType:
    return dtype() if isinstance(dtype, type) else dtype


def _encode(array: Any) -> Any:
    """Encode each value as a presence byte, its size unless the type fixes it, and its bytes.

    The result is a LargeBinary array without nulls. Arrow joins the bytes one column at a time.
    """
    import pyarrow as pa
    from pyarrow import types

    arrow_type = array.type
    if types.is_null(arrow_type):
        return pa.array([_ABSENT] * len(array), pa.large_binary())
    if types.is_large_string(arrow_type) or types.is_string(arrow_type):
        array = array.cast(pa.large_binary())
        arrow_type = array.type
    if types.is_large_binary(arrow_type) or types.is_binary(arrow_type):
        return _encode_variable_size(array.cast(pa.large_binary()))
    if types.is_large_list(arrow_type) or types.is_list(arrow_type):
        return _encode_lists(array)
    if types.is_struct(arrow_type):
        return _add_presence_byte(
            array, _join_bytes(*(_encode(field) for field in array.flatten()))
        )
    value_bytes, width = _encode_fixed_width(array)
    return _add_presence_byte(array, _split_fixed_width(value_bytes, width, row_count=len(array)))


def _encode_variable_size(array: Any) -> Any:
    import pyarrow.compute as pc

    filled_array = pc.fill_null(array, b"")
    return _add_presence_byte(
        array, _join_bytes(_encode_integers(pc.binary_length(filled_array)), filled_array)
    )


def _add_presence_byte(array: Any, encoded: Any) -> Any:
    """Put a presence byte before each encoded value. A null of `array` becomes one absence byte."""
    import pyarrow as pa
    import pyarrow.compute as pc

    present_values = _join_bytes(pa.scalar(_PRESENT, pa.large_binary()), encoded)
    if array.null_count == 0:
        return present_values
    return pc.if_else(array.is_valid(), present_values, pa.scalar(_ABSENT, pa.large_binary()))


def _join_bytes(*parts: Any) -> Any:
    """Concatenate the bytes of several columns, row by row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.large_binary()))


def _split_fixed_width(raw: bytes, width: int, *, row_count: int) -> Any:
    """Split the bytes of fixed-width values into a LargeBinary array."""
    import numpy as np

    return _split_at_offsets(raw, np.arange(row_count + 1, dtype=np.int64) * width)


def _encode_integers(values: Any) -> Any:
    """Encode numbers as eight little-endian bytes each."""
    import numpy as np

    integers = np.asarray(values).astype("<i8")
    return _split_fixed_width(integers.tobytes(), 8, row_count=len(integers))


def _split_at_offsets(raw: bytes, offsets: Any) -> Any:
    """Split bytes at the offsets into a LargeBinary array, without a copy."""
    import numpy as np
    import pyarrow as pa

    buffers = [None, pa.py_buffer(offsets.astype(np.int64, copy=False)), pa.py_buffer(raw)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


def _encode_fixed_width(array: Any) -> tuple[bytes, int]:
    """Return the values' little-endian bytes (nulls as zero) and the width of one value."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    arrow_type = array.type
    if types.is_boolean(arrow_type):
        array = array.cast(pa.uint8())
    elif types.is_date32(arrow_type):
        array = array.cast(pa.int32())
    elif types.is_temporal(arrow_type):
        array = array.cast(pa.int64())
    values = pc.fill_null(array, 0).to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f":
        values = values + 0.0  # -0.0 + 0.0 is 0.0
        values[np.isnan(values)] = np.nan
    values = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return values.tobytes(), values.dtype.itemsize


def _encode_lists(array: Any) -> Any:
    import numpy as np
    from pyarrow import types

    offsets = np.asarray(array.offsets).astype(np.int64)
    values = array.values
    if types.is_primitive(values.type):
        value_bytes, width = _encode_fixed_width(values)
        items = _join_bytes(
            _split_at_offsets(value_bytes, offsets * width), _encode_null_masks(values, offsets)
        )
    else:
        encoded_values = _encode(values)
        end_offsets = np.frombuffer(encoded_values.buffers()[1], np.int64)[encoded_values.offset :][
            : len(encoded_values) + 1
        ]
        value_bytes = encoded_values.buffers()[2]
        items = _split_at_offsets(b"" if value_bytes is None else value_bytes, end_offsets[offsets])
    return _add_presence_byte(array, _join_bytes(_encode_integers(np.diff(offsets)), items))


def _encode_null_masks(values: Any, offsets: Any) -> Any:
    """Encode which items of each list are null. A list without nulls takes one byte."""
    import numpy as np
    import pyarrow as pa

    if not values.null_count:
        return pa.scalar(_PRESENT, pa.large_binary())
    is_valid: Any = values.is_valid().to_numpy(zero_copy_only=False)
    masks = [
        _PRESENT if is_valid[start:end].all() else _ABSENT + is_valid[start:end].tobytes()
        for start, end in pairwise(np.asarray(offsets).tolist())
    ]
    return pa.array(masks, pa.large_binary())
