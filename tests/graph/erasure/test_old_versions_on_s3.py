"""Test that no object version in a versioned bucket (moto's server) contains an erased word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from tests.erasure_targets import author_target, post_target
from tests.graph.erasure.planted_words import POST_WORD, decode_texts
from tests.graph.s3 import make_s3_client, set_s3_environment
from tests.stored_rows import store_rows
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.lance_tables import LanceTables
from twin_resources.erasure.object_versions import LocalFolder, VersionedBucket, open_storage
from twin_resources.errors import TwinError
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables

BUCKET = "twin-tables"
TEXT = f"On the way to the {POST_WORD} she lost both of her gloves in March"
SCHEMA = {"source_id": pl.String(), "title": pl.String(), "text": pl.String()}


@pytest.fixture
def client(s3_endpoint: str) -> Any:
    client = make_s3_client(s3_endpoint)
    client.create_bucket(Bucket=BUCKET)
    versioning = {"Status": "Enabled"}
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration=versioning)
    return client


@pytest.fixture
def installation(
    home: Settings, s3_endpoint: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Installation]:
    set_s3_environment(monkeypatch, s3_endpoint)
    state = open_home_state(home)
    tables = Tables(f"s3://{BUCKET}/twin", state=state)
    yield Installation(home, state, tables, Registry(state, policy_path=home.policy_path))
    state.close()


def write_posts(installation: Installation, author: str, posts: dict[str, str]) -> None:
    rows = {"source_id": list(posts), "title": ["t"] * len(posts), "text": list(posts.values())}
    store_rows(installation.tables, "raw_posts", author, rows, key="source_id", schema=SCHEMA)


def find_versions_with(client: Any, word: str, scratch: Path, *, prefix: str = "") -> list[str]:
    """Return the keys of current and old object versions whose decoded content has the word."""
    keys: list[str] = []
    pages = client.get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix=prefix)
    for page in pages:
        for number, item in enumerate(page.get("Versions", ())):
            path = scratch / f"{number}-{Path(item['Key']).name}"
            extra = {"VersionId": item["VersionId"]}
            client.download_file(BUCKET, item["Key"], str(path), ExtraArgs=extra)
            if any(word in text for text in decode_texts(path)):
                keys.append(item["Key"])
            path.unlink()
    return keys


def test_no_object_version_contains_a_forgotten_post(
    installation: Installation, client: Any, tmp_path: Path
) -> None:
    write_posts(installation, "ada", {"a.md": "one", "secret.md": TEXT})
    installation.tables.tag("raw_posts", "ada", "training-1")
    write_posts(installation, "ada", {"a.md": "one", "b.md": "two"})
    write_posts(installation, "bea", {"c.md": TEXT})
    lance_tables, target = LanceTables(installation), post_target("ada", "secret.md", TEXT)
    assert find_versions_with(client, POST_WORD, tmp_path, prefix="twin/ada/")
    assert lance_tables.find_remaining(target)
    assert lance_tables.erase(target) == 1, "the tagged row was not erased"
    assert find_versions_with(client, POST_WORD, tmp_path, prefix="twin/ada/") == []
    assert lance_tables.find_remaining(target) == []
    assert installation.tables.read("raw_posts", "ada")["source_id"].to_list() == ["a.md", "b.md"]
    tagged = installation.tables.read("raw_posts", "ada", version="training-1")
    assert tagged["source_id"].to_list() == ["a.md", "b.md"], "the tag names an old version"
    assert find_versions_with(client, POST_WORD, tmp_path, prefix="twin/bea/"), (
        "bea's post was erased"
    )


def test_an_erased_authors_objects_have_no_version(
    installation: Installation, client: Any, tmp_path: Path
) -> None:
    write_posts(installation, "ada", {"secret.md": TEXT})
    write_posts(installation, "ada", {"a.md": "one"})
    write_posts(installation, "bea", {"c.md": "three"})
    lance_tables, target = LanceTables(installation), author_target("ada")
    assert lance_tables.erase(target) == 1
    listing = client.list_object_versions(Bucket=BUCKET, Prefix="twin/ada/")
    assert "Versions" not in listing
    assert "DeleteMarkers" not in listing
    assert lance_tables.find_remaining(target) == []
    assert installation.tables.read("raw_posts", "bea").height == 1


def test_each_version_of_an_object_is_read(
    installation: Installation, client: Any, tmp_path: Path
) -> None:
    bucket = open_storage(installation.tables.base_uri)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for body in (b"one", b"two", b"three"):
        client.put_object(Bucket=BUCKET, Key="twin/eve/a.txt", Body=body)
    client.put_object(Bucket=BUCKET, Key="twin/eve/b.txt", Body=b"gone")
    client.delete_object(Bucket=BUCKET, Key="twin/eve/b.txt")
    client.put_object(Bucket=BUCKET, Key="twin/fay/c.txt", Body=b"another's")

    def read(prefix: str) -> list[tuple[str, bytes]]:
        return sorted((name, path.read_bytes()) for name, path in bucket.download(prefix, scratch))

    suffix = " (an old version)"
    assert read("eve/") == [
        ("eve/a.txt", b"three"),
        (f"eve/a.txt{suffix}", b"one"),
        (f"eve/a.txt{suffix}", b"two"),
        (f"eve/b.txt{suffix}", b"gone"),
    ]
    assert {"eve", "fay"} <= set(bucket.list_folders()), "a folder is missing"
    assert bucket.list_folders("eve/") == []
    assert list(scratch.iterdir()) == []

    assert bucket.remove_old_versions("eve/") == 4, "a version or marker remains"
    assert read("eve/") == [("eve/a.txt", b"three")]
    assert bucket.remove("eve/") == 1
    assert (read("eve/"), len(read("fay/"))) == ([], 1)


def test_versions_are_deleted_in_batches_and_a_refusal_is_an_error() -> None:
    """The client is fake: moto is slow with thousands of versions and refuses no deletion."""
    batches: list[int] = []

    def delete_objects(*, Bucket: str, Delete: dict[str, Any]) -> dict[str, Any]:
        batches.append(len(Delete["Objects"]))
        return {"Errors": [{"Code": "AccessDenied"}]} if Bucket == "closed" else {}

    client: Any = SimpleNamespace(delete_objects=delete_objects)
    versions = [{"Key": f"k{number}", "VersionId": "v"} for number in range(2_001)]
    assert VersionedBucket(client, "open", "twin/")._delete(versions) == 2_001
    assert batches == [1_000, 1_000, 1]
    with pytest.raises(TwinError, match="AccessDenied for 1 of them"):
        VersionedBucket(client, "closed", "twin/")._delete(versions[:3])


def test_a_store_whose_versions_cannot_be_listed_is_refused() -> None:
    assert open_storage("/a/folder") == LocalFolder(Path("/a/folder"))
    with pytest.raises(TwinError, match="move the tables to a folder or to s3"):
        open_storage("gs://bucket/twin")
