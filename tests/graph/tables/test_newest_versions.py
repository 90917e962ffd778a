"""Test that a gateway reads a table's newest version from S3 only during or after a write."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.graph.tables.words import sync_words
from twin_resources.storage.state.state import State
from twin_resources.storage.tables import newest_versions
from twin_resources.storage.tables.newest_versions import NewestVersions
from twin_resources.storage.tables.tables import Tables


@dataclass
class VersionReader:
    """Reads a table's version and counts its reads from the storage."""

    tables: Tables
    count: int = 0
    now: float = 0.0
    changes: NewestVersions = field(init=False)

    def __post_init__(self) -> None:
        self.changes = NewestVersions(lambda: self.tables.state, clock=lambda: self.now)

    def version(self) -> int:
        return self.changes.find_version(self.tables.uri("words", "ann"), self._read)

    def _read(self) -> int:
        self.count += 1
        return self.tables.lance_version("words", "ann") or 0


@pytest.fixture
def reads(tables: Tables) -> VersionReader:
    sync_words(tables, {"a": "one"}, author="ann")
    return VersionReader(tables)


def test_a_version_is_read_again_after_each_write(reads: VersionReader) -> None:
    first = reads.version()
    assert [reads.version() for _ in range(5)] == [first] * 5
    assert reads.count == 1
    sync_words(reads.tables, {"a": "one", "b": "two"}, author="ann")
    assert reads.version() > first
    assert reads.count == 2


def test_a_version_is_read_each_time_during_a_write(reads: VersionReader) -> None:
    reads.version()
    with reads.tables.lease("words", "ann"):
        reads.version()
        reads.version()
        assert reads.count == 3
    reads.version()
    assert reads.count == 4, "the version was not read after the write"
    reads.version()
    assert reads.count == 4


def test_a_version_is_read_again_after_a_minute(reads: VersionReader) -> None:
    reads.version()
    reads.now = newest_versions.MAX_UNCHECKED_S + 1
    reads.version()
    assert reads.count == 2


def test_a_version_is_read_each_time_without_a_state_store(reads: VersionReader) -> None:
    reads.version()
    reads.changes = NewestVersions(lambda: State.open("postgresql://twin@127.0.0.1:1/none"))
    reads.version()
    reads.version()
    assert reads.count == 3
