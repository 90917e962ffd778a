"""Test that two processes sync a table one after the other and compute no row twice."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import lance
import polars as pl
import pyarrow as pa
import pytest

from tests.graph.tables.words import SCHEMA, build_posts, find_words, sync_words
from twin_resources.storage.state.lease import LeaseBusyError, LeaseLostError
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables

# Lance is not fork-safe. The fork server has done the imports and started no thread.
PROCESS_CONTEXT = multiprocessing.get_context("forkserver")
PROCESS_CONTEXT.set_forkserver_preload(["tests.graph.tables.killed_sync"])


def open_tables(folder: Path, *, lease_wait_s: float = 60.0) -> Tables:
    state = State.open(f"sqlite:///{folder}/state.sqlite")
    return Tables(str(folder / "tables"), state=state, lease_wait_s=lease_wait_s)


def sync_slowly(folder: Path, texts: dict[str, str], name: str, barrier: Any) -> None:
    """Sync with a slow function that records its start and end."""

    def compute_slowly(rows: pl.DataFrame) -> pl.DataFrame:
        start_time = time.monotonic()
        time.sleep(0.1)
        with (folder / f"{name}.log").open("a") as log:
            log.write(f"{start_time} {time.monotonic()}\n")
        return find_words(rows)

    tables = open_tables(folder)
    barrier.wait()
    report = sync_words(tables, texts, function=compute_slowly)
    (folder / f"{name}.done").write_text(f"{report.data_version} {report.computed_count}")


def sync_in_processes(folder: Path, texts_by_name: dict[str, dict[str, str]]) -> None:
    """Sync each name's texts in a separate process, all at the same time."""
    barrier = PROCESS_CONTEXT.Barrier(len(texts_by_name))
    processes = [
        PROCESS_CONTEXT.Process(target=sync_slowly, args=(folder, texts, name, barrier))
        for name, texts in texts_by_name.items()
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0


def test_two_processes_sync_one_after_the_other(tmp_path: Path) -> None:
    texts = {f"p{number}": f"w{number} v{number}" for number in range(8)}
    sync_in_processes(tmp_path, {"one": texts, "two": texts})
    results = [(tmp_path / f"{name}.done").read_text().split() for name in ("one", "two")]
    assert results[0][0] == results[1][0], "the data versions differ"
    assert sorted(computed for _, computed in results) == ["0", "8"], (
        "the second process repeated the work"
    )
    frame = open_tables(tmp_path).read("words", "mara")
    assert frame.height == 16
    assert frame["word_id"].is_unique().all()


def test_two_processes_with_different_posts_do_not_overlap(tmp_path: Path) -> None:
    texts_by_name = {name: {f"{name}{n}": f"w{n}" for n in range(6)} for name in ("one", "two")}
    sync_in_processes(tmp_path, texts_by_name)
    spans: dict[str, tuple[float, float]] = {}
    for name in texts_by_name:
        lines = [line.split() for line in (tmp_path / f"{name}.log").read_text().splitlines()]
        spans[name] = (float(lines[0][0]), float(lines[-1][1]))
    (_, first_end), (second_start, _) = sorted(spans.values())
    assert first_end <= second_start
    last = max(texts_by_name, key=lambda name: spans[name])
    assert set(open_tables(tmp_path).read("words", "mara")["post"]) == set(texts_by_name[last])


def test_the_error_for_a_busy_table_names_its_holder(tmp_path: Path) -> None:
    tables = open_tables(tmp_path, lease_wait_s=0.2)
    with tables.state.lease(f"table {tables.uri('words', 'mara')}"):
        for write in (lambda: sync_words(tables, {}), lambda: tables.compact("words", "mara")):
            with pytest.raises(LeaseBusyError, match=r"words\.lance.*process \d+ on .* holds it"):
                write()


def test_a_writer_without_its_lease_writes_nothing(tmp_path: Path) -> None:
    tables = open_tables(tmp_path)
    sync_words(tables, {"a": "x"})
    before = tables.lance_version("words", "mara")

    def lose_lease(rows: pl.DataFrame) -> pl.DataFrame:
        for lock in (tmp_path / "locks").iterdir():
            lock.unlink()
        return find_words(rows)

    with pytest.raises(LeaseLostError, match="its lock is gone"):
        sync_words(tables, {"a": "y"}, function=lose_lease)
    assert tables.lance_version("words", "mara") == before


def test_the_data_version_is_that_of_the_rows_after_a_foreign_commit(tmp_path: Path) -> None:
    tables = open_tables(tmp_path)
    texts = {"a": "one two", "b": "three"}
    report = sync_words(tables, texts)
    lance.dataset(tables.uri("words", "mara")).delete("word = 'two'")
    changed_version = tables.data_version("words", "mara")
    assert changed_version != report.data_version
    separate_report = tables.sync(
        build_posts({"a": "one", "b": "three"}), "words", author="alone", key="post",
        function=find_words, version="1", schema=SCHEMA, row_key="word_id",
    )  # fmt: skip
    assert changed_version == separate_report.data_version
    second = sync_words(tables, texts)
    assert second.computed_count == 0, "a stored input was computed again"
    assert second.data_version == changed_version


def test_a_foreign_row_counts_in_the_data_version(tmp_path: Path) -> None:
    tables = open_tables(tmp_path)
    sync_words(tables, {"a": "one"})
    uri = tables.uri("words", "mara")

    def write_foreign_row(rows: pl.DataFrame) -> pl.DataFrame:
        dataset = lance.dataset(uri)
        row = dataset.to_table().set_column(0, "word_id", pa.array(["foreign#0"]))
        lance.write_dataset(row, uri, mode="append")
        return find_words(rows)

    report = sync_words(tables, {"a": "one", "b": "two"}, function=write_foreign_row)
    assert tables.read("words", "mara").height == 3
    assert report.data_version == tables.data_version("words", "mara")
    assert report.row_count == 3
    repaired = sync_words(tables, {"a": "one", "b": "two"})
    assert repaired.data_version == report.data_version
