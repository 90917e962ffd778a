"""Test that tables on `s3://` (moto's server) behave like those in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.graph.s3 import make_s3_client, set_s3_environment
from tests.graph.tables.words import build_posts, find_words, sync_words
from twin_resources.storage.state.state import State
from twin_resources.storage.storage_faults import DamagedError, UnreachableError
from twin_resources.storage.tables.tables import TableNotFoundError, Tables

TEXTS = {"a": "one two", "b": "three", "c": "", "d": "four five six"}


def get_bucket_name(request: pytest.FixtureRequest) -> str:
    return request.node.name.replace("_", "-")[:60]


@pytest.fixture
def s3_words(
    s3_endpoint: str, state: State, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Tables:
    """Return tables in an empty bucket named after the test."""
    make_s3_client(s3_endpoint).create_bucket(Bucket=get_bucket_name(request))
    set_s3_environment(monkeypatch, s3_endpoint)
    return Tables(f"s3://{get_bucket_name(request)}/twin/tables", state=state)


def test_sync_read_and_tag_work_as_in_a_folder(s3_words: Tables, tables: Tables) -> None:
    first = sync_words(s3_words, TEXTS)
    assert first.data_version == sync_words(tables, TEXTS).data_version
    assert (first.row_count, first.computed_count) == (6, 4)
    assert first.bytes_written > 0
    assert s3_words.tag("words", "mara", "trained") == first.lance_version
    report = sync_words(s3_words, TEXTS)
    assert (report.computed_count, report.bytes_written) == (0, 0)
    assert report.lance_version == first.lance_version
    edited = sync_words(s3_words, TEXTS | {"b": "", "d": "four"})
    assert edited.data_version == sync_words(tables, TEXTS | {"b": "", "d": "four"}).data_version
    short = s3_words.read("words", "mara", where="length = 3", columns=["word"])
    assert short["word"].to_list() == ["one", "two"]
    assert s3_words.read("words", "mara", version="trained").height == 6
    assert s3_words.data_version("words", "mara") == edited.data_version


def test_a_stored_upstream_on_s3_is_read(s3_words: Tables) -> None:
    sync_words(s3_words, TEXTS)

    def sync_copy() -> int:
        from tests.graph.tables.words import SCHEMA

        return s3_words.sync(
            s3_words.read("words", "mara"), "copy", author="mara", key="word_id", version="1",
            function=lambda rows: rows, schema=SCHEMA, row_key="word_id",
        ).computed_count  # fmt: skip

    assert sync_copy() == 6
    assert sync_copy() == 0
    assert (
        s3_words.read("copy", "mara")
        .sort("word_id")
        .equals(find_words(build_posts(TEXTS)).sort("word_id"))
    )


def test_forgetting_on_s3_leaves_no_object_with_the_word(
    s3_words: Tables, s3_endpoint: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    from tests.graph.tables.test_forget import decode_file

    sync_words(s3_words, TEXTS | {"secret": "canarybird"})
    s3_words.tag("words", "mara", "trained")
    sync_words(s3_words, TEXTS)
    assert s3_words.forget("words", "mara", ["secret#0"]).removed_tags == ("trained",)
    client = make_s3_client(s3_endpoint)
    objects = client.list_objects_v2(Bucket=get_bucket_name(request))["Contents"]
    decoded_count = 0
    for item in objects:
        file = tmp_path / Path(item["Key"]).name
        client.download_file(get_bucket_name(request), item["Key"], str(file))
        words = decode_file(file)
        decoded_count += words is not None
        assert "canarybird" not in (words or "")
        assert b"canarybird" not in file.read_bytes()
    assert decoded_count > 0
    assert s3_words.read("words", "mara").height == 6


def test_a_missing_table_is_distinguished_from_an_unreachable_one(
    s3_words: Tables, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not s3_words.exists("words", "mara")
    assert s3_words.data_version("words", "mara") is None
    with pytest.raises(TableNotFoundError, match="materialize the asset 'words'"):
        s3_words.read("words", "mara")
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OBJECT_STORE_CLIENT_MAX_RETRIES", "0")
    unreachable = Tables("s3://nobody/tables", state=state)
    with pytest.raises(
        UnreachableError, match=r"TWIN_TABLES_URI.*the credentials and the network"
    ) as error:
        unreachable.exists("words", "mara")
    assert not isinstance(error.value, TableNotFoundError)


def test_a_damaged_table_in_a_bucket_is_reported_as_damaged(
    s3_words: Tables, s3_endpoint: str, request: pytest.FixtureRequest
) -> None:
    sync_words(s3_words, TEXTS)
    client, name = make_s3_client(s3_endpoint), get_bucket_name(request)
    objects = [item["Key"] for item in client.list_objects_v2(Bucket=name)["Contents"]]
    data = next(key for key in objects if "/data/" in key)
    content = client.get_object(Bucket=name, Key=data)["Body"].read()
    for broken in (b"", content[:-20]):
        client.put_object(Bucket=name, Key=data, Body=broken)
        with pytest.raises(DamagedError):
            s3_words.read("words", "mara")
    client.delete_object(Bucket=name, Key=data)
    with pytest.raises(DamagedError):
        s3_words.read("words", "mara", where="post = 'a'")
    client.put_object(Bucket=name, Key=data, Body=content)
    assert s3_words.read("words", "mara").height == 6
    newest = min(key for key in objects if key.endswith(".manifest"))
    client.put_object(Bucket=name, Key=newest, Body=b"")
    with pytest.raises(DamagedError):
        s3_words.read("words", "mara")
