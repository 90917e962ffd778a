"""Search every file of a home for a planted word, with a decoder for each format.

Scope: decoders that share no code with the project's, so that they can detect its errors.
Out of scope: planting (`conftest.py`).
"""

from __future__ import annotations

import gc
import gzip
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from lance.file import LanceFileReader

POST_WORD, QUESTION_WORD = "quibblestone", "wobblefinch"


def list_files(home: Path) -> list[Path]:
    """Return every file except prepared weights, which are links into another folder.

    Unreferenced connections are closed first, because SQLite then removes its shared files.
    """
    gc.collect()
    files = (path for path in sorted(home.rglob("*")) if path.is_file())
    return [path for path in files if "weights" not in path.relative_to(home).parts]


def find_files_with(home: Path, word: str) -> list[str]:
    """Return the files that contain the word, as plain bytes or after decoding."""
    return [
        str(path.relative_to(home))
        for path in list_files(home)
        if any(word.lower() in text.lower() for text in decode_texts(path))
    ]


def decode_texts(path: Path) -> Iterator[str]:
    """Yield the bytes of a file as text, and its decoded content."""
    if not path.exists():
        return  # a database's log that was just merged, or the file of a run that has ended
    body = path.read_bytes()
    yield body.decode("latin-1")
    if body.startswith(b"SQLite format 3"):
        yield from _decode_rows(path)
    elif path.suffix == ".lance":
        yield str(LanceFileReader(str(path)).read_all().to_table().to_pydict())
    elif body.startswith(b"PAR1"):
        yield str(pl.read_parquet(path).to_dicts())
    elif body.startswith(b"\x1f\x8b"):
        yield gzip.decompress(body).decode("latin-1")
    elif path.suffix == ".json":
        yield json.dumps(json.loads(body), ensure_ascii=False)


def _decode_rows(path: Path) -> Iterator[str]:
    connection = sqlite3.connect(path)
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (table,) in tables:
        for row in connection.execute(f'SELECT * FROM "{table}"'):
            for value in row:
                if isinstance(value, bytes) and value.startswith(b"\x1f\x8b"):
                    yield gzip.decompress(value).decode("latin-1")
                else:
                    yield str(value)
    connection.close()
