"""Test that a gateway reads a table's newest version from S3 only during or after a write."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.graph.tables.words import sync_words
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.newest_versions import MAX_UNCHECKED_S, NewestVersions
from twin_resources.storage.tables.tables import Tables


@dataclass
class VersionReader:
    """Reads a table's version and counts its reads from the storage."""

    tables: Tables
    read_count: int = 0
    now: float = 0.0
    newest_versions: NewestVersions = field(init=False)

    def __post_init__(self) -> None:
        self.newest_versions = NewestVersions(lambda: self.tables.state, clock=lambda: self.now)

    def find_version(self) -> int:
        return self.newest_versions.find_version(self.tables.uri("words", "ann"), self._read)

    def _read(self) -> int:
        self.read_count += 1
        return self.tables.lance_version("words", "ann") or 0


@pytest.fixture
def reader(tables: Tables) -> VersionReader:
    sync_words(tables, {"a": "one"}, author="ann")
    return VersionReader(tables)


def test_a_version_is_read_again_after_each_write(reader: VersionReader) -> None:
    first = reader.find_version()
    assert [reader.find_version() for _ in range(5)] == [first] * 5
    assert reader.read_count == 1
    sync_words(reader.tables, {"a": "one", "b": "two"}, author="ann")
    assert reader.find_version() > first
    assert reader.read_count == 2


def test_a_version_is_read_each_time_during_a_write(reader: VersionReader) -> None:
    reader.find_version()
    with reader.tables.lease("words", "ann"):
        reader.find_version()
        reader.find_version()
        assert reader.read_count == 3
    reader.find_version()
    assert reader.read_count == 4, "the version was not read after the write"
    reader.find_version()
    assert reader.read_count == 4


def test_a_version_is_read_again_after_a_minute(reader: VersionReader) -> None:
    reader.find_version()
    reader.now = MAX_UNCHECKED_S + 1
    reader.find_version()
    assert reader.read_count == 2


def test_a_version_is_read_each_time_without_a_state_store(reader: VersionReader) -> None:
    reader.find_version()
    reader.newest_versions = NewestVersions(
        lambda: State.open("postgresql://twin@127.0.0.1:1/none")
    )
    reader.find_version()
    reader.find_version()
    assert reader.read_count == 3
