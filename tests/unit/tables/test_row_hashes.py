"""Test that equal values have equal hashes on every machine, and different values do not."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_resources.storage.tables.hashing import (
    MODULUS,
    UnhashableColumnError,
    data_version,
    hash_parts,
    hash_rows,
    sum_hashes,
    type_name,
)


def make_frame() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "text": ["Zürich, it's 李", "", None],
            "count": [0, -7, None],
            "share": [0.1, float("nan"), -0.0],
            "vector": [[1.5, -2.0], [0.0, 0.25], [3.0, 4.0]],
            "tags": [["a", "b"], [], None],
            "messages": [
                [{"role": "user", "content": "hi"}],
                [{"role": "user", "content": None}],
                [],
            ],
            "kept": [True, False, None],
            "at": [datetime(2020, 2, 29, 12, tzinfo=UTC), None, datetime(1960, 1, 1, tzinfo=UTC)],
            "day": [date(2020, 2, 29), date(1960, 1, 1), None],
            "raw": [b"\x00\xff", b"", None],
        },
        schema_overrides={"vector": pl.Array(pl.Float32, 2)},
    )


# Computed once with polars 1.44 and Python 3.11. A change here makes every stored table recompute.
EXPECTED_HASHES = [
    "6c0d661e98e0331fd6e953ef271152550356ea8dbce821370108daa358f97a06",
    "8db67f8ed29f3fee284801bad2450140274eef8839c18802c78fbe166c743ac2",
    "83766463a0d902ec160b22c95383dda58f8aba7a0698403dec1b8ae380decbaa",
]


def test_hashes_are_pinned() -> None:
    assert [digest.hex() for digest in hash_rows(make_frame())] == EXPECTED_HASHES


def test_hashes_are_equal_in_a_process_with_another_hash_seed() -> None:
    script = (
        "import json\n"
        "from tests.unit.tables.test_row_hashes import make_frame\n"
        "from twin_resources.storage.tables.hashing import hash_rows\n"
        "print(json.dumps([digest.hex() for digest in hash_rows(make_frame())]))"
    )
    completed = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONHASHSEED": "77", "POLARS_MAX_THREADS": "1", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(completed.stdout) == EXPECTED_HASHES


def test_the_hash_of_a_row_does_not_depend_on_other_rows() -> None:
    hashes = hash_rows(make_frame()).to_list()
    separate_hashes = [hash_rows(make_frame()[row]).item() for row in range(3)]
    reversed_hashes = hash_rows(make_frame().reverse()).to_list()[::-1]
    rechunked_hashes = hash_rows(
        pl.concat([make_frame()[:1], make_frame()[1:]], rechunk=False)
    ).to_list()
    assert separate_hashes == hashes
    assert reversed_hashes == hashes
    assert rechunked_hashes == hashes


def test_the_hash_of_a_list_does_not_depend_on_nulls_in_others() -> None:
    without_nulls = pl.Series([[1, 2]], dtype=pl.List(pl.Int64))
    with_nulls = pl.Series([[1, 2], [1, None], [None, 1]], dtype=pl.List(pl.Int64))
    hashes = hash_rows(with_nulls.to_frame("a")).to_list()
    assert hash_rows(without_nulls.to_frame("a")).item() == hashes[0]
    assert len(set(hashes)) == 3


def test_the_hash_of_a_vector_does_not_depend_on_missing_ones() -> None:
    dtype = pl.Array(pl.Float32, 2)
    vectors = pl.Series("a", [[1.0, 2.0], None, [0.0, 0.0]], dtype=dtype).to_frame()
    hashes = hash_rows(vectors).to_list()
    assert hash_rows(vectors[:1]).item() == hashes[0]
    assert len(set(hashes)) == 3


def test_column_names_count_but_their_order_does_not() -> None:
    row = pl.DataFrame({"a": ["x"], "b": ["y"]})
    assert hash_rows(row).item() == hash_rows(row.select("b", "a")).item()
    assert hash_rows(row).item() != hash_rows(row.rename({"a": "b", "b": "a"})).item()


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (pl.Series([7], dtype=pl.Int16), pl.Series([7], dtype=pl.Int64)),
        (pl.Series(["a"]), pl.Series(["a"], dtype=pl.Categorical)),
        (
            pl.Series([datetime(2020, 1, 1, 12, tzinfo=UTC)]),
            pl.Series([datetime(2020, 1, 1, 14, tzinfo=timezone(timedelta(hours=2)))]),
        ),
        (pl.Series([{"a": 1, "b": 2}]), pl.Series([{"b": 2, "a": 1}])),
    ],
)
def test_equal_values_have_equal_hashes(left: pl.Series, right: pl.Series) -> None:
    assert hash_rows(left.to_frame("a")).item() == hash_rows(right.to_frame("a")).item()


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (pl.Series([""]), pl.Series([None], dtype=pl.String)),
        (pl.Series([""]), pl.Series([0])),
        (pl.Series([0]), pl.Series([None], dtype=pl.Int64)),
        (pl.Series([b"a"]), pl.Series(["a"])),
        (pl.Series([[]], dtype=pl.List(pl.String)), pl.Series([None], dtype=pl.List(pl.String))),
        (pl.Series([["ab", "c"]]), pl.Series([["a", "bc"]])),
        (pl.Series([[["a"], []]]), pl.Series([[[], ["a"]]])),
        (pl.Series([1]), pl.Series([True])),
    ],
)
def test_different_values_hash_differently(left: pl.Series, right: pl.Series) -> None:
    assert hash_rows(left.to_frame("a")).item() != hash_rows(right.to_frame("a")).item()


values = st.tuples(
    st.none() | st.text(max_size=4),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.lists(st.none() | st.text(max_size=2), max_size=3),
)


@given(st.lists(values, max_size=8))
def test_hashes_are_equal_exactly_when_rows_are(rows: list[tuple[object, ...]]) -> None:
    schema = {"a": pl.String, "b": pl.Int64, "c": pl.List(pl.String)}
    hashes = hash_rows(pl.DataFrame(rows, schema=schema, orient="row")).to_list()
    for row, first in zip(rows, hashes, strict=True):
        for other_row, second in zip(rows, hashes, strict=True):
            assert (row == other_row) == (first == second)


def test_a_frame_without_rows_or_columns_has_no_hashes() -> None:
    assert hash_rows(pl.DataFrame()).to_list() == []
    assert hash_rows(pl.DataFrame(schema={"a": pl.String})).to_list() == []


def test_an_object_column_is_refused_by_name() -> None:
    with pytest.raises(UnhashableColumnError, match=r"column 'thing'.*Object.*Next: cast"):
        hash_rows(pl.DataFrame({"thing": pl.Series([object()], dtype=pl.Object)}))


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=20))
def test_the_sum_is_the_sum_of_the_numbers(digests: list[bytes]) -> None:
    expected = sum(int.from_bytes(digest, "big") for digest in digests) % MODULUS
    assert sum_hashes(digests) == expected
    assert sum_hashes(list(reversed(digests))) == expected


def test_the_sum_wraps_at_two_to_the_256() -> None:
    assert sum_hashes([b"\xff" * 32, bytes(31) + b"\x02"]) == 1


def test_empty_lists_that_a_join_returned_are_hashed() -> None:
    rows = pl.DataFrame({"name": list("abcd"), "lines": [[1], [2, 3], [], []]})
    joined = rows.join(rows.filter(pl.col("name") < "c"), on="name", how="anti")
    assert hash_rows(joined).to_list() == hash_rows(rows)[2:].to_list()


def test_parts_are_separated() -> None:
    assert hash_parts("ab", "c") != hash_parts("a", "bc")
    assert hash_parts("a") != hash_parts("a", "")


def test_the_data_version_depends_on_rows_types_and_version() -> None:
    types = {"a": "string", "b": "int64"}
    first = data_version(5, types=types, version="1")
    assert len(first) == 64
    assert data_version(5, types=dict(reversed(types.items())), version="1") == first
    assert data_version(6, types=types, version="1") != first
    assert data_version(5, types=types | {"b": "int32"}, version="1") != first
    assert data_version(5, types=types, version="2") != first


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (pl.String(), "string"),
        (pl.List(pl.Struct({"b": pl.Int8, "a": pl.String})), "list<struct<a: string, b: int8>>"),
        (pl.Array(pl.Float32, 384), "array<float32, 384>"),
        (pl.Datetime("us", "UTC"), "datetime<us, UTC>"),
        (pl.Datetime("ms"), "datetime<ms, local>"),
        (pl.Duration("ns"), "duration<ns>"),
    ],
)
def test_type_names_are_stable(dtype: pl.DataType, name: str) -> None:
    assert type_name(dtype) == name
