"""Decode files into their texts, because a search of compressed bytes proves nothing.

Scope: one reader per format, selected by the file's first bytes or its suffix.
Out of scope: the texts to search for (`erasure_target.py`), selecting the files (the stores).

A file that cannot be decoded in its own format is an error, not a file without texts. SQLite is
read twice: first its rows, then its raw pages and write-ahead log, which may contain deleted rows.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twin_resources.erasure.erasure_target import ErasureTarget, iter_texts
from twin_resources.errors import TwinError
from twin_resources.wait_limits import MAX_IDLE_S

_SQLITE, _GZIP = b"SQLite format 3\x00", b"\x1f\x8b"
_PARQUET, _ARROW, _GGUF = b"PAR1", b"ARROW1", b"GGUF"
_CHUNK_BYTES = 1 << 20
_OVERLAP_BYTES = 4096  # a run of words at the border of two pieces is complete in one of them
_BATCH_ROWS = 2000
_MAX_UNPACKED_BYTES = 1 << 30


class UndecodableFileError(TwinError):
    """The file's format is recognized, but the file cannot be read in that format."""


@dataclass(frozen=True)
class DecodedText:
    """One text in a file.

    Attributes:
        location: the table and column, or the part of the file, as readable text.
        value: the text.
    """

    location: str
    value: str


def find_in_file(path: Path, target: ErasureTarget) -> list[str]:
    """Return a list with the first location of the target in a file; empty without a match.

    The list is also empty if the file no longer exists, because a running stack replaces files.

    Raises:
        UndecodableFileError: the file is damaged.
    """
    try:
        for text in decode_file(path):
            if target.matches_identifier(text.value) or target.matches_text(text.value):
                return [text.location]
    except FileNotFoundError:
        pass
    return []


def decode_file(path: Path) -> Iterator[DecodedText]:
    """Yield every text of a file.

    Raises:
        UndecodableFileError: the file is damaged.
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        head = stream.read(16)
    try:
        if head == _SQLITE:
            yield from _decode_sqlite(path)
        elif path.suffix == ".lance":
            yield from _decode_lance(path)
        elif head.startswith(_PARQUET):
            yield from _decode_parquet(path)
        elif head.startswith(_ARROW):
            yield from _decode_arrow(path)
        elif head.startswith(_GZIP):
            yield from decode_bytes(path.read_bytes())
        elif path.suffix == ".safetensors":
            yield from _decode_safetensors(path)
        elif head.startswith(_GGUF):
            yield from _decode_raw(path, max_bytes=_CHUNK_BYTES)  # the header; tensors are numbers
        elif path.suffix == ".json":
            yield from decode_bytes(path.read_bytes())
        else:
            yield from _decode_raw(path)
    except (ValueError, sqlite3.DatabaseError, zlib.error) as error:
        raise UndecodableFileError(
            f"decode {path}",
            found=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            next_step="repair or remove the file, then run `twin forget` again to continue",
        ) from error


def decode_bytes(body: bytes) -> Iterator[DecodedText]:
    """Yield the texts of bytes that may be gzip, JSON or any data containing UTF-8."""
    if body.startswith(_GZIP):
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
        content = unpacker.decompress(body, _MAX_UNPACKED_BYTES)
        if not unpacker.eof and not unpacker.unconsumed_tail:
            raise ValueError("a truncated gzip stream")
        if unpacker.unconsumed_tail:
            raise ValueError(f"unpacks to more than {_MAX_UNPACKED_BYTES:,} bytes")
        yield from decode_bytes(content)
        return
    text = body.decode("utf-8", errors="replace")
    if text[:1] in ("{", "["):
        try:
            document = json.loads(text)
        except ValueError:
            yield DecodedText("bytes", text)  # JSON lines, or an incomplete file
            return
        yield from (DecodedText("json", leaf) for leaf in iter_texts(document))
        return
    yield DecodedText("bytes", text)


def _decode_sqlite(path: Path) -> Iterator[DecodedText]:
    with closing(
        sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=MAX_IDLE_S)
    ) as connection:
        connection.text_factory = lambda body: body.decode("utf-8", errors="replace")
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in names:
            cursor = connection.execute(f'SELECT * FROM "{table}"')
            columns = [field[0] for field in cursor.description]
            for row in cursor:
                for column, value in zip(columns, row, strict=True):
                    texts = (
                        [text.value for text in decode_bytes(value)]
                        if isinstance(value, bytes)
                        else iter_texts(value)
                    )
                    yield from (DecodedText(f"{table}.{column}", text) for text in texts)
    yield from _decode_raw(path)
    for suffix in ("-wal", "-journal"):
        log_path = path.with_name(path.name + suffix)
        if log_path.is_file():
            yield from _decode_raw(log_path)


def _decode_lance(path: Path) -> Iterator[DecodedText]:
    from lance.file import LanceFileReader

    try:
        reader: Any = LanceFileReader(str(path))
    except OSError as error:
        if not path.exists():
            raise FileNotFoundError(path) from error
        raise ValueError(f"not a Lance file: {error}") from error
    for batch in reader.read_all(batch_size=_BATCH_ROWS).to_batches():
        yield from _decode_batch(batch)


def _decode_batch(batch: Any) -> Iterator[DecodedText]:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        yield from (DecodedText(f"column {name}", value) for value in _iter_column_texts(column))


def _iter_column_texts(column: Any) -> Iterator[str]:
    import pyarrow.types as arrow_types

    if arrow_types.is_primitive(column.type) or arrow_types.is_null(column.type):
        return
    if arrow_types.is_fixed_size_list(column.type) and arrow_types.is_primitive(
        column.type.value_type
    ):
        return  # vectors contain no text
    for value in column.to_pylist():
        if value is not None:
            yield from iter_texts(value)


def _decode_parquet(path: Path) -> Iterator[DecodedText]:
    import pyarrow.parquet as pq

    file: Any = pq.ParquetFile(path)
    yield from _decode_metadata(file.schema_arrow.metadata)
    for batch in file.iter_batches(batch_size=_BATCH_ROWS):
        yield from _decode_batch(batch)


def _decode_arrow(path: Path) -> Iterator[DecodedText]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        reader: Any = pa.ipc.open_file(source)
        yield from _decode_metadata(reader.schema.metadata)
        for number in range(reader.num_record_batches):
            yield from _decode_batch(reader.get_batch(number))


def _decode_metadata(metadata: Any) -> Iterator[DecodedText]:
    for name, value in (metadata or {}).items():
        yield DecodedText(
            f"metadata {name.decode(errors='replace')}", value.decode(errors="replace")
        )


def _decode_safetensors(path: Path) -> Iterator[DecodedText]:
    with path.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        yield from decode_bytes(stream.read(size))


def _decode_raw(path: Path, *, max_bytes: int | None = None) -> Iterator[DecodedText]:
    """Yield a file's bytes as text, in overlapping pieces."""
    bytes_read, overlap = 0, b""
    with path.open("rb") as stream:
        while max_bytes is None or bytes_read < max_bytes:
            piece = stream.read(_CHUNK_BYTES)
            if not piece:
                return
            bytes_read += len(piece)
            yield DecodedText("bytes", (overlap + piece).decode("utf-8", errors="replace"))
            overlap = piece[-_OVERLAP_BYTES:]
