"""Test that every format is decoded, and that a damaged file is an error."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import lance
import lance.file
import polars as pl
import pytest
import torch
from safetensors.torch import save_file

from tests.erasure_targets import post_target
from twin_resources.erasure import decoding
from twin_resources.erasure.decoding import UndecodableFileError, find_in_file

TEXT = "In March the old clock of my uncle stopped for good."
ERASED_POST = post_target("ada", "2019/the-walk.md", TEXT)
OTHER_TEXT = "A sentence of another post that nobody has asked anyone to forget so far."


def write_sqlite(path: Path, text: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (body BLOB)")
        connection.execute("INSERT INTO t VALUES (?)", (gzip.compress(text.encode()),))
    connection.close()


def write_lance(path: Path, text: str) -> None:
    lance.write_dataset(pl.DataFrame({"a": [text], "n": [1]}).to_arrow(), path.parent / "d.lance")
    [data] = (path.parent / "d.lance" / "data").iterdir()
    data.rename(path)


WRITERS: dict[str, Callable[[Path, str], object]] = {
    "a.txt": lambda path, text: path.write_text(text),
    "b.json": lambda path, text: path.write_text(json.dumps({"x": [json.dumps({"y": text})]})),
    "c.jsonl": lambda path, text: path.write_text(json.dumps({"x": text}) + "\n{}\n"),
    "d.gz": lambda path, text: path.write_bytes(gzip.compress(json.dumps([text]).encode())),
    "e.parquet": lambda path, text: pl.DataFrame({"l": [[text]]}).write_parquet(path),
    "f.arrow": lambda path, text: pl.DataFrame({"s": [{"a": text}]}).write_ipc(
        path, compression="zstd"
    ),
    "g.sqlite": write_sqlite,
    "h.lance": write_lance,
    "i.safetensors": lambda path, text: save_file({"w": torch.ones(1)}, path, metadata={"t": text}),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(("text", "is_found"), [(TEXT, True), (OTHER_TEXT, False)])
def test_a_text_is_found_in_every_format(
    tmp_path: Path, name: str, text: str, is_found: bool
) -> None:
    path = tmp_path / name
    WRITERS[name](path, text)
    assert bool(find_in_file(path, ERASED_POST)) is is_found


def test_the_column_of_a_database_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "g.sqlite"
    write_sqlite(path, TEXT)
    assert find_in_file(path, ERASED_POST) == ["t.body"]
    assert [text.value for text in decoding.decode_bytes(b'["caf\\u00e9"]')] == ["café"]


def test_a_deleted_row_is_found_in_the_raw_file(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("CREATE TABLE t (body TEXT)")
        connection.execute("INSERT INTO t VALUES (?)", (TEXT,))
        connection.commit()
        connection.execute("DELETE FROM t")
    connection.close()
    assert find_in_file(path, ERASED_POST) == ["bytes"]


def test_a_deleted_row_is_found_in_the_log_beside_its_database(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (body TEXT)")
        connection.execute("INSERT INTO t VALUES (?)", (TEXT,))
        connection.execute("DELETE FROM t")
        assert TEXT.encode() not in path.read_bytes()
        assert find_in_file(path, ERASED_POST) == ["bytes"]
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert not find_in_file(path, ERASED_POST)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("x.lance", b"nothing of Lance"),
        ("x.parquet", b"PAR1 and no more"),
        ("x.gz", b"\x1f\x8b\x08\x00broken"),
        ("x.sqlite", b"SQLite format 3\x00" + bytes(200)),
    ],
)
def test_a_damaged_file_is_an_error(tmp_path: Path, name: str, body: bytes) -> None:
    (tmp_path / name).write_bytes(body)
    with pytest.raises(UndecodableFileError, match=name):
        find_in_file(tmp_path / name, ERASED_POST)


def test_a_file_deleted_during_the_search_has_no_match(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "h.lance"
    write_lance(path, TEXT)

    def delete_and_fail(name: str) -> None:
        Path(name).unlink()
        raise OSError("no such file")

    monkeypatch.setattr(lance.file, "LanceFileReader", delete_and_fail)
    assert not find_in_file(path, ERASED_POST)
    assert not find_in_file(path, ERASED_POST), "a missing file matched"


def test_a_text_beyond_the_first_chunk_of_a_file_is_found(tmp_path: Path) -> None:
    """The text may cross the border of two chunks, or be in an uncompressed gzip file."""
    path = tmp_path / "x.bin"
    for before in (decoding._CHUNK_BYTES - len(TEXT) // 2, 2 * decoding._CHUNK_BYTES + 7):
        path.write_bytes(b" " * before + TEXT.encode() + b" " * 100)
        assert find_in_file(path, ERASED_POST) == ["bytes"]
    path.write_bytes(gzip.compress(b" " * decoding._CHUNK_BYTES + TEXT.encode(), compresslevel=0))
    assert find_in_file(path, ERASED_POST)


def test_a_file_over_the_unpacking_limit_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert decoding._MAX_UNPACKED_BYTES == 1 << 30
    assert next(decoding.decode_bytes(b"x")).value == "x"
    monkeypatch.setattr(decoding, "_MAX_UNPACKED_BYTES", 1000)
    packed = gzip.compress(TEXT.encode().ljust(1000))
    assert any(TEXT in text.value for text in decoding.decode_bytes(packed))
    with pytest.raises(ValueError, match="more than 1,000 bytes"):
        list(decoding.decode_bytes(gzip.compress(b" " * 1001)))
    with pytest.raises(ValueError, match="a truncated gzip stream"):
        list(decoding.decode_bytes(packed[:-9]))
