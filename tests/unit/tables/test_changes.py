"""Test that changed inputs are detected, and that a batch never splits an input."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from twin_resources.storage.tables.changes import find_changes, hash_inputs, split_batches

BOOKKEEPING = {"_input_key": pl.String, "_input_hash": pl.Binary, "_version": pl.String}


def make_hash(text: str) -> bytes:
    return text.encode().ljust(32, b"\0")


def make_upstream(*rows: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(
        [(key, make_hash(content)) for key, content in rows],
        schema={"key": pl.String, "hash": pl.Binary},
        orient="row",
    )


def make_rows(*rows: tuple[str, bytes, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=BOOKKEEPING, orient="row")


def make_stored_rows(inputs: pl.DataFrame, version: str = "1") -> pl.DataFrame:
    return make_rows(
        *((key, digest, version) for key, digest in inputs.select("key", "input_hash").rows())
    )


NO_ROWS = make_rows()


def find_changed(
    inputs: pl.DataFrame, stored_rows: pl.DataFrame, empty: pl.DataFrame = NO_ROWS
) -> list[str]:
    return (
        find_changes(inputs, stored_rows=stored_rows, empty_inputs=empty, version="1")
        .inputs["key"]
        .to_list()
    )


def test_an_input_of_one_row_has_the_hash_of_the_row() -> None:
    inputs = hash_inputs(make_upstream(("a", "x"), ("b", "y")))
    assert inputs["input_hash"].to_list() == [make_hash("x"), make_hash("y")]
    assert inputs["positions"].to_list() == [[0], [1]]


def test_an_input_of_several_rows_does_not_depend_on_their_order() -> None:
    first = hash_inputs(make_upstream(("a", "x"), ("b", "y"), ("a", "z")))
    second = hash_inputs(make_upstream(("a", "z"), ("a", "x"), ("b", "y")))
    assert first["input_hash"].to_list() == second["input_hash"].to_list()
    assert first["positions"].to_list() == [[0, 2], [1]]
    assert first["input_hash"][0] not in {make_hash("x"), make_hash("z")}


def test_every_input_is_changed_if_nothing_is_stored() -> None:
    assert find_changed(hash_inputs(make_upstream(("b", "x"), ("a", "y"))), NO_ROWS) == ["b", "a"]


def test_edited_new_and_missing_inputs_are_distinguished() -> None:
    before = hash_inputs(make_upstream(("a", "1"), ("b", "1"), ("c", "1")))
    after = hash_inputs(make_upstream(("a", "1"), ("b", "2"), ("d", "1")))
    changes = find_changes(
        after, stored_rows=make_stored_rows(before), empty_inputs=NO_ROWS, version="1"
    )
    assert changes.inputs["key"].to_list() == ["b", "d"]
    assert changes.removed_keys == ["c"]


def test_another_function_version_changes_everything() -> None:
    inputs = hash_inputs(make_upstream(("a", "1"), ("b", "1")))
    assert find_changed(inputs, make_stored_rows(inputs, version="0")) == ["a", "b"]


def test_a_recorded_empty_input_is_unchanged_until_it_is_removed() -> None:
    inputs = hash_inputs(make_upstream(("a", "1")))
    empty = make_rows(("a", make_hash("1"), "1"), ("gone", make_hash("1"), "1"))
    changes = find_changes(inputs, stored_rows=NO_ROWS, empty_inputs=empty, version="1")
    assert changes.inputs.is_empty()
    assert changes.removed_empty_keys == ["gone"]


def test_a_stored_row_takes_precedence_over_an_empty_input() -> None:
    inputs = hash_inputs(make_upstream(("a", "1")))
    stored_rows = make_rows(("a", make_hash("2"), "1"))
    assert find_changed(inputs, stored_rows, make_rows(("a", make_hash("1"), "1"))) == ["a"]


def test_an_input_with_two_hashes_is_computed_again() -> None:
    inputs = hash_inputs(make_upstream(("a", "1")))
    stored_rows = make_rows(("a", make_hash("1"), "1"), ("a", make_hash("2"), "1"))
    assert find_changed(inputs, stored_rows) == ["a"]


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 7))
def test_batches_contain_every_input_once_and_complete(numbers: list[int], max_rows: int) -> None:
    inputs = hash_inputs(make_upstream(*((f"k{number}", "x") for number in numbers)))
    batches = list(split_batches(inputs, max_rows=max_rows))
    assert [key for batch in batches for key in batch["key"]] == inputs["key"].to_list()
    for batch in batches:
        row_count = sum(len(positions) for positions in batch["positions"].to_list())
        assert row_count <= max_rows or batch.height == 1
