"""Test that any sequence of edits, version changes and failures equals a full rebuild."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.graph.tables.killed_sync import SCHEMA, split_words
from tests.graph.tables.words import build_posts
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.hashing import data_version, hash_rows, sum_hashes, type_name
from twin_resources.storage.tables.tables import SyncResult, Tables

TYPES = {name: type_name(dtype) for name, dtype in SCHEMA.items()}
POSTS = "abcdef"
WORDS = ["one", "two", "three", "four", "five", "six", "seven"]


def assign_words(places: list[str]) -> dict[str, list[str]]:
    """Return the words of each post; a word with an empty place is in no post."""
    pairs = list(zip(WORDS, places, strict=True))
    return {post: [word for word, place in pairs if place == post] for post in POSTS}


places = st.lists(st.sampled_from(["", *POSTS]), min_size=len(WORDS), max_size=len(WORDS))
steps = st.tuples(
    places.map(assign_words),
    st.sets(st.sampled_from(POSTS)),  # posts that exist; one without words gives no row
    st.sampled_from(["1", "2"]),
    st.integers(1, 4),  # batch rows
    st.none() | st.integers(0, 3),  # the batch at which the function fails, once
)


@dataclass
class FailingFunction:
    """A function that records its inputs and fails at one call."""

    fails_at: int | None
    inputs: list[str] = field(default_factory=list)
    call_count: int = 0

    def __call__(self, rows: pl.DataFrame) -> pl.DataFrame:
        if self.call_count == self.fails_at:
            self.fails_at = None
            raise OSError("cut off")
        self.call_count += 1
        self.inputs += rows["post"].to_list()
        return split_words(rows)


def sync(
    tables: Tables,
    texts: Mapping[str, str],
    version: str,
    batch_rows: int,
    function: Callable[[pl.DataFrame], pl.DataFrame],
) -> SyncResult:
    return tables.sync(
        build_posts(texts), "words", author="mara", key="post", function=function, version=version,
        schema=SCHEMA, row_key="word_id", batch_rows=batch_rows,
    )  # fmt: skip


def assert_equals_rebuild(
    tables: Tables, report: SyncResult, texts: dict[str, str], version: str
) -> None:
    expected = split_words(build_posts(texts)).sort("word_id")
    assert_frame_equal(tables.read("words", "mara"), expected)
    row_sum = sum_hashes(hash_rows(expected))
    assert report.data_version == data_version(
        row_sum, types=TYPES, version=version if expected.height else ""
    )
    assert report.data_version == tables.data_version("words", "mara")
    assert report.row_count == expected.height


@pytest.mark.long
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, min_size=1, max_size=6))
def test_any_sequence_of_edits_equals_a_rebuild(
    sequence: list[tuple[dict[str, list[str]], set[str], str, int, int | None]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        state = State.open(f"sqlite:///{folder}/state.sqlite")
        tables = Tables(str(Path(folder) / "tables"), state=state)
        previous_texts: dict[str, str] = {}
        previous_version = ""
        is_undisturbed = True
        for words, existing, version, batch_rows, fails_at in sequence:
            texts = {post: " ".join(words[post]) for post in sorted(existing)}
            function_calls = FailingFunction(fails_at)
            try:
                report = sync(tables, texts, version, batch_rows, function_calls)
            except OSError:
                is_undisturbed = False
                report = sync(tables, texts, version, batch_rows, function_calls)
            assert_equals_rebuild(tables, report, texts, version)
            if is_undisturbed:
                unchanged = previous_texts if version == previous_version else {}
                changed = [post for post, text in texts.items() if unchanged.get(post) != text]
                assert function_calls.inputs == changed, (
                    "expected to compute only the changed posts"
                )
            repeated = sync(tables, texts, version, batch_rows, function_calls)
            assert (repeated.computed_count, repeated.bytes_written) == (0, 0)
            assert repeated.lance_version == report.lance_version
            previous_texts, previous_version, is_undisturbed = texts, version, True
        state.close()


@pytest.mark.long
def test_many_small_syncs_keep_few_fragments_and_tagged_versions(tables: Tables) -> None:
    texts = {"p0": "word0"}
    sync(tables, texts, "1", 10, split_words)
    tables.tag("words", "mara", "trained")
    for number in range(1, 80):
        texts[f"p{number}"] = f"word{number}"
        report = sync(tables, texts, "1", 10, split_words)
    assert_equals_rebuild(tables, report, texts, "1")
    import lance

    assert len(lance.dataset(tables.uri("words", "mara")).get_fragments()) < 40
    assert tables.read("words", "mara", version="trained").height == 1
    assert sync(tables, texts, "1", 10, split_words).computed_count == 0


@pytest.mark.long
@pytest.mark.parametrize("batch_rows", [3, 90])
def test_batches_of_any_size_produce_the_same_table(tables: Tables, batch_rows: int) -> None:
    texts = {f"post {number}": f"w{number}" for number in range(200)}
    report = sync(tables, texts, "1", batch_rows, split_words)
    assert (report.computed_count, report.written_count, report.deleted_count) == (200, 200, 0)
    assert_equals_rebuild(tables, report, texts, "1")
