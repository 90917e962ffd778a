"""Test listing and reading an S3 prefix, against moto's server."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from tests.graph.sources.conftest import Bucket
from twin_resources.errors import TwinError
from twin_resources.storage import object_store
from twin_resources.storage.object_store import (
    ObjectChangedError,
    list_objects,
    normalize_address,
    read_object,
    split_address,
)
from twin_resources.storage.sources.listing import SourceNotFoundError, fingerprint, list_source


def test_addresses_are_split_and_normalized() -> None:
    assert split_address("s3://bucket/a/b/") == ("bucket", "a/b")
    assert split_address("s3:/bucket") == ("bucket", "")
    assert normalize_address("s3:/bucket/a b") == "s3://bucket/a b"
    with pytest.raises(TwinError, match="s3://BUCKET"):
        split_address("s3://")


def test_only_objects_below_a_prefix_are_listed(bucket: Bucket) -> None:
    for key in ("posts/a.md", "posts/deep/b.md", "posts/", "posts-of-another/c.md", "posts.md"):
        bucket.put(key, "text" if not key.endswith("/") else "")
    entries = list_objects(f"s3://{bucket.name}/posts")
    assert [entry.name for entry in entries] == ["a.md", "deep/b.md"]
    assert entries[0].size == 4
    assert [entry.name for entry in list_objects(f"s3://{bucket.name}/posts/a.md")] == ["a.md"]
    assert len(list_objects(f"s3://{bucket.name}")) == 4


def test_all_pages_of_a_long_listing_are_read(bucket: Bucket) -> None:
    """A page has 1,000 objects; they are put into moto's memory, because requests take a minute."""
    store = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    for number in range(1005):
        store.put_object(bucket.name, f"n/{number:04}.md", b"text")
    assert len(list_objects(f"s3://{bucket.name}/n")) == 1005


def test_an_object_is_read_as_it_was_listed(bucket: Bucket) -> None:
    source = f"s3://{bucket.name}"
    bucket.put("a.md", "one")
    [entry] = list_objects(source)
    assert read_object(source, entry) == b"one"
    bucket.put("a.md", "two")
    with pytest.raises(ObjectChangedError):
        read_object(source, entry)
    bucket.delete("a.md")
    with pytest.raises(ObjectChangedError):
        read_object(source, entry)


@pytest.mark.long
def test_a_client_is_shared_within_an_environment(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients: list[Any] = []

    class CountingSession(boto3.session.Session):
        def client(self, *arguments: Any, **options: Any) -> Any:
            clients.append(super().client(*arguments, **options))
            return clients[-1]

    monkeypatch.setattr(boto3.session, "Session", CountingSession)
    monkeypatch.setattr(object_store, "CLIENT_LIFETIME_S", 1e9)
    source = f"s3://{bucket.name}"
    for name in ("a.md", "b.md", "c.md"):
        bucket.put(name, name)
    assert [read_object(source, entry) for entry in list_objects(source)] == [
        b"a.md",
        b"b.md",
        b"c.md",
    ]
    assert len(clients) == 1
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    list_objects(source)
    assert len(clients) == 2
    monkeypatch.setattr(object_store, "CLIENT_LIFETIME_S", 1e-9)
    list_objects(source)
    assert len(clients) == 3


def test_a_fingerprint_changes_with_the_posts_of_a_prefix(bucket: Bucket) -> None:
    source = f"s3://{bucket.name}/posts"
    bucket.put("posts/a.md", "one")
    bucket.put("posts/b.png", "one")
    first = fingerprint([list_source(source)])
    bucket.put("posts/b.png", "two")
    assert fingerprint([list_source(source)]) == first
    bucket.put("posts/a.md", "two")
    edited = fingerprint([list_source(source)])
    assert edited != first
    bucket.put("posts/c.md", "three")
    assert len({first, edited, fingerprint([list_source(source)])}) == 3


def test_empty_and_unreachable_prefixes_give_different_errors(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SourceNotFoundError):
        list_source(f"s3://{bucket.name}/empty")
    with pytest.raises(TwinError, match="NoSuchBucket") as missing:
        list_source("s3://nobody-has-this-bucket/posts")
    assert not isinstance(missing.value, SourceNotFoundError)
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(TwinError, match="AWS_ENDPOINT, the credentials and the network"):
        list_source(f"s3://{bucket.name}/empty")
