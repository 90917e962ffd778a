"""Test sync on real Lance tables: the rows that are computed, written, deleted or unchanged."""

from __future__ import annotations

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.graph.tables.words import SCHEMA, build_posts, find_words, sync_words
from twin_resources.errors import TwinError
from twin_resources.storage.tables.sync import InvalidRowsError
from twin_resources.storage.tables.tables import Tables

TEXTS = {"a": "one two", "b": "three", "c": "", "d": "four five six"}


def rebuild(tables: Tables, texts: dict[str, str], version: str = "1") -> str:
    """Build a new table from these posts; return its data version."""
    return sync_words(tables, texts, author="rebuilt", version=version).data_version


def test_the_first_sync_computes_everything(tables: Tables) -> None:
    report = sync_words(tables, TEXTS)
    assert (report.row_count, report.computed_count) == (6, 4)
    assert (report.written_count, report.deleted_count) == (6, 0)
    assert_frame_equal(tables.read("words", "mara"), find_words(build_posts(TEXTS)).sort("word_id"))
    assert report.bytes_written > 0


def test_changed_inputs_are_announced_and_computed_in_bounded_batches(tables: Tables) -> None:
    batches: list[list[str] | tuple[range, int]] = []

    def on_batch(batch: range, total: int) -> None:
        batches.append((batch, total))

    def record_batch(rows: pl.DataFrame) -> pl.DataFrame:
        batches.append(rows["post"].to_list())
        return find_words(rows)

    sync_words(tables, TEXTS, function=record_batch, on_batch=on_batch)
    assert batches == [(range(2), 4), ["a", "b"], (range(2, 4), 4), ["c", "d"]]
    batches.clear()
    edited = TEXTS | {"b": "edited", "e": "new"}
    sync_words(tables, edited, function=record_batch, on_batch=on_batch)
    assert batches == [(range(2), 2), ["b", "e"]]


def test_an_edited_post_loses_its_former_rows(tables: Tables) -> None:
    sync_words(tables, TEXTS)
    report = sync_words(tables, TEXTS | {"d": "four"})
    assert (report.computed_count, report.written_count) == (1, 1)
    assert (report.deleted_count, report.row_count) == (2, 4)
    assert tables.read("words", "mara", columns=["word"])["word"].to_list() == [
        "one", "two", "three", "four",
    ]  # fmt: skip


def test_a_sync_without_posts_leaves_an_empty_table(tables: Tables) -> None:
    sync_words(tables, TEXTS)
    report = sync_words(tables, {})
    assert (report.row_count, report.computed_count) == (0, 0)
    assert (report.written_count, report.deleted_count) == (0, 6)
    assert report.data_version == rebuild(tables, {})
    assert tables.read("words", "mara").schema == pl.Schema(SCHEMA)


def test_an_input_without_rows_is_computed_once(tables: Tables) -> None:
    sync_words(tables, {"c": ""})
    assert sync_words(tables, {"c": ""}).computed_count == 0
    assert sync_words(tables, {"c": "now it speaks"}).computed_count == 1
    assert sync_words(tables, {"c": ""}).computed_count == 1
    assert sync_words(tables, {"c": ""}).computed_count == 0
    assert sync_words(tables, {}).computed_count == 0
    assert sync_words(tables, {"c": ""}).computed_count == 1, "a deleted input was remembered"


def test_a_sync_of_some_keys_keeps_the_rows_of_others(tables: Tables) -> None:
    sync_words(tables, {"x/a": "one two", "x/b": ""}, key_prefix="x/")
    sync_words(tables, {"y/a": "three"}, key_prefix="y/")
    report = sync_words(tables, {"x/a": "one", "x/b": ""}, key_prefix="x/")
    assert (report.computed_count, report.deleted_count, report.row_count) == (1, 1, 2)
    assert tables.read("words", "mara")["word"].to_list() == ["one", "three"]
    assert sync_words(tables, {"y/a": "three"}, key_prefix="y/").computed_count == 0


def test_only_inputs_with_a_changed_column_are_computed(tables: Tables) -> None:
    sync_words(tables, TEXTS)
    input_frames: list[pl.DataFrame] = []

    def uppercase_words(rows: pl.DataFrame) -> pl.DataFrame:
        input_frames.append(rows)
        return rows.with_columns(pl.col("word").str.to_uppercase())

    def sync_shouts() -> int:
        upstream = tables.read("words", "mara", columns=["word_id", "word"])
        schema: dict[str, pl.DataType] = {"word_id": pl.String(), "word": pl.String()}
        return tables.sync(
            upstream, "shouts", author="mara", key="word_id", function=uppercase_words, version="1",
            schema=schema, row_key="word_id", batch_rows=4,
        ).computed_count  # fmt: skip

    assert sync_shouts() == 6
    assert {tuple(frame.columns) for frame in input_frames} == {("word_id", "word")}
    input_frames.clear()
    assert sync_shouts() == 0
    sync_words(tables, TEXTS | {"b": "drei"})
    assert sync_shouts() == 1
    assert [frame["word"].to_list() for frame in input_frames] == [["drei"]]
    assert "DREI" in tables.read("shouts", "mara")["word"].to_list()


def test_upstream_rows_that_share_a_key_are_one_input(tables: Tables) -> None:
    sync_words(tables, TEXTS)

    def count_words(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.group_by("post").agg(pl.len().cast(pl.Int64).alias("words"))

    schema: dict[str, pl.DataType] = {"post": pl.String(), "words": pl.Int64()}

    def sync_counts() -> int:
        return tables.sync(
            tables.read("words", "mara"), "counts", author="mara", key="post", function=count_words,
            version="1", schema=schema, row_key="post", batch_rows=2,
        ).computed_count  # fmt: skip

    assert sync_counts() == 3
    assert dict(tables.read("counts", "mara").rows()) == {"a": 2, "b": 1, "d": 3}
    sync_words(tables, TEXTS | {"d": "four five"})
    assert sync_counts() == 1
    assert dict(tables.read("counts", "mara").rows()) == {"a": 2, "b": 1, "d": 2}


def test_a_changed_schema_rebuilds_the_table_in_one_commit(tables: Tables) -> None:
    first = sync_words(tables, TEXTS)
    tables.tag("words", "mara", "trained")
    schema = {name: dtype for name, dtype in SCHEMA.items() if name != "length"}
    report = tables.sync(
        build_posts(TEXTS), "words", author="mara", key="post", version="1", schema=schema,
        function=lambda rows: find_words(rows).drop("length"), row_key="word_id", batch_rows=1,
    )  # fmt: skip
    assert (report.computed_count, report.row_count) == (4, 6)
    assert report.lance_version == first.lance_version + 1
    assert report.data_version != first.data_version
    assert tables.read("words", "mara").columns == ["word_id", "post", "word"]
    assert tables.read("words", "mara", version="trained").columns == list(SCHEMA)
    restored = sync_words(tables, TEXTS)
    assert restored.data_version == first.data_version


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda rows: find_words(rows).drop("word"), r"columns \['length', 'post', 'word_id'\]"),
        (lambda rows: find_words(rows).with_columns(extra=1), "extra"),
        (
            lambda rows: find_words(rows).with_columns(post=pl.lit("zz")),
            "inputs that were not in the batch",
        ),
        (lambda rows: find_words(rows).with_columns(word_id=pl.lit("same")), "several rows with"),
        (
            lambda rows: find_words(rows).with_columns(word_id=pl.lit(None, dtype=pl.String)),
            "rows without 'word_id'",
        ),
        (lambda rows: find_words(rows).with_columns(length=pl.lit("long")), "declared types"),
    ],
)
def test_invalid_rows_are_refused_with_the_reason(
    tables: Tables, function: object, expected: str
) -> None:
    sync_words(tables, {"b": "three"})
    before = tables.data_version("words", "mara")
    with pytest.raises(InvalidRowsError, match=expected):
        sync_words(tables, TEXTS, function=function, batch_rows=100)  # type: ignore[arg-type]
    assert tables.data_version("words", "mara") == before


def test_two_inputs_with_the_same_row_key_are_refused(tables: Tables) -> None:
    def select_first_word(rows: pl.DataFrame) -> pl.DataFrame:
        return find_words(rows).group_by("post").first().with_columns(word_id="word")

    sync_words(tables, {"a": "one"}, function=select_first_word)
    with pytest.raises(InvalidRowsError, match="word_id 'one' from input 'b' and from input 'a'"):
        sync_words(tables, {"a": "one", "b": "one"}, function=select_first_word)


def test_a_null_or_numeric_key_is_refused(tables: Tables) -> None:
    for keys in ([None, "a"], [1, 2]):
        frame = pl.DataFrame({"post": keys, "text": ["x", "y"]})
        with pytest.raises(TwinError, match="give every upstream row a String key"):
            tables.sync(
                frame, "words", author="mara", key="post", function=find_words,
                version="1", schema=SCHEMA, row_key="word_id",
            )  # fmt: skip


def test_a_categorical_column_is_refused_before_anything_is_written(tables: Tables) -> None:
    schema = SCHEMA | {"word": pl.Categorical()}
    with pytest.raises(TwinError, match=r"word: Categorical.*String for Categorical"):
        tables.sync(
            build_posts(TEXTS), "words", author="mara", key="post", function=find_words,
            version="1", schema=schema, row_key="word_id",
        )  # fmt: skip
    assert not tables.exists("words", "mara")


def test_keys_may_contain_quotes_and_any_script(tables: Tables) -> None:
    texts = {"it's": "a b", "José/李.md": "c d", '"; --': "e", "back\\slash": "f g"}
    sync_words(tables, texts)
    edited = {name: text.split(" ")[0] for name, text in texts.items()}
    report = sync_words(tables, edited)
    assert report.row_count == 4
    assert report.data_version == rebuild(tables, edited)
    assert sync_words(tables, {}).row_count == 0


def test_nested_columns_and_vectors_are_read_unchanged(tables: Tables) -> None:
    schema: dict[str, pl.DataType] = {
        "id": pl.String(),
        "vector": pl.Array(pl.Float32, 3),
        "messages": pl.List(pl.Struct({"role": pl.String, "content": pl.String})),
        "at": pl.Datetime("us", "UTC"),
        "tags": pl.List(pl.String),
        "kept": pl.Boolean(),
    }
    frame = pl.DataFrame(
        {
            "id": ["a", "b"],
            "vector": [[1.0, 2.0, 3.0], [0.5, 0.25, 0.0]],
            "messages": [[{"role": "user", "content": "hi"}], []],
            "at": [None, 1_600_000_000_000_000],
            "tags": [["x", None], None],
            "kept": [True, None],
        },
        schema=schema,
    )
    tables.sync(
        frame, "nested", author="mara", key="id", function=lambda rows: rows, version="1",
        schema=schema, row_key="id",
    )  # fmt: skip
    assert_frame_equal(tables.read("nested", "mara"), frame)


def test_a_sync_after_a_failed_function_computes_the_remaining_batches(tables: Tables) -> None:
    def fail_on_d(rows: pl.DataFrame) -> pl.DataFrame:
        if "d" in rows["post"].to_list():
            raise OSError("the disk is full")
        return find_words(rows)

    with pytest.raises(OSError, match="the disk is full"):
        sync_words(tables, TEXTS, function=fail_on_d)
    assert tables.read("words", "mara").height == 3
    report = sync_words(tables, TEXTS)
    assert report.computed_count == 2, "expected to compute only the failed batch"
    assert report.data_version == rebuild(tables, TEXTS)


def test_a_failed_rebuild_for_another_schema_keeps_the_old_table(tables: Tables) -> None:
    first = sync_words(tables, TEXTS)

    def fail_on_d(rows: pl.DataFrame) -> pl.DataFrame:
        if "d" in rows["post"].to_list():
            raise OSError("the disk is full")
        return find_words(rows).drop("length")

    schema = {name: dtype for name, dtype in SCHEMA.items() if name != "length"}
    with pytest.raises(OSError, match="the disk is full"):
        tables.sync(
            build_posts(TEXTS), "words", author="mara", key="post", function=fail_on_d, version="2",
            schema=schema, row_key="word_id", batch_rows=1,
        )  # fmt: skip
    assert tables.data_version("words", "mara") == first.data_version
    assert tables.read("words", "mara").height == 6
    report = sync_words(tables, TEXTS)
    assert report.data_version == first.data_version
    assert report.computed_count <= 1, "more than `c`, which has no row, was recomputed"
