"""Test importing posts and exports under an S3 prefix, and a feed at its address."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.graph.corpus.test_exports import build_feed
from tests.graph.sources.conftest import Bucket
from tests.http_server import Request, Response, http_server
from tests.unit.corpus.export_files import write_zip
from tests.unit.corpus.sample_exports import LINKEDIN, RECORD_COUNTS, SENTENCE
from twin_assets.corpus.inventory import take_inventory
from twin_assets.corpus.raw_posts_import import (
    STORED_COLUMNS,
    build_inventory_frame,
    count_changes,
    read_rows,
)
from twin_resources.errors import TwinError


def import_source(
    source: str, stored: pl.DataFrame | None = None
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the rows for the table and the numbers of changes."""
    stored_columns = None if stored is None else stored.select(STORED_COLUMNS)
    inventory = take_inventory([source])
    frame = build_inventory_frame(inventory, stored_columns)
    return read_rows(frame, inventory), count_changes(frame, stored_columns)


def test_posts_under_a_prefix_are_added_changed_and_deleted(bucket: Bucket) -> None:
    source = f"s3://{bucket.name}/blog"
    bucket.put("blog/_config.yml", "timezone: America/New_York\nurl: https://example.org\n")
    bucket.put("blog/_posts/2020-07-01-a.md", f"# A\n\n{SENTENCE}")
    bucket.put("blog/_posts/2020-07-02-b.md", f"# B\n\n{SENTENCE}")
    bucket.put("blog/README.md", "# About")
    bucket.put("blogs/_posts/2020-07-03-c.md", "another prefix")
    first, counts = import_source(source)
    assert counts == {"added": 2, "edited": 0, "deleted": 0}
    first_row = first.filter(source_id="_posts/2020-07-01-a.md").to_dicts()[0]
    assert first_row["path"] == f"s3://{bucket.name}/blog/_posts/2020-07-01-a.md"
    assert (first_row["source"], first_row["title"], first_row["problem"]) == (source, "A", "")
    assert first_row["created_at"].isoformat() == "2020-07-01T04:00:00+00:00"
    bucket.put("blog/_posts/2020-07-02-b.md", f"# Bee\n\n{SENTENCE}")
    bucket.put("blog/_posts/2020-07-04-d.md", f"# D\n\n{SENTENCE}")
    bucket.delete("blog/_posts/2020-07-01-a.md")
    second, counts = import_source(source, first)
    assert counts == {"added": 1, "edited": 1, "deleted": 1}
    assert second.filter("deleted")["source_id"].to_list() == ["_posts/2020-07-01-a.md"]
    assert import_source(source, second)[1] == {"added": 0, "edited": 0, "deleted": 0}


def test_the_fields_of_a_post_in_a_bucket_are_read_with_it(bucket: Bucket) -> None:
    source = f"s3://{bucket.name}"
    bucket.put("a.md", SENTENCE)
    bucket.put("a.meta", ".. title: On walking\n.. author: Ann Lee\n")
    rows, _ = import_source(source)
    assert rows.select("source_id", "title", "author").rows() == [("a.md", "On walking", "Ann Lee")]
    assert import_source(source, rows)[1] == {"added": 0, "edited": 0, "deleted": 0}
    bucket.put("a.meta", ".. title: On walking\n.. status: draft\n")
    edited, counts = import_source(source, rows)
    assert (edited["kind"].to_list(), counts["edited"]) == (["draft"], 1)


def test_an_object_changed_between_list_and_read_is_retried(bucket: Bucket) -> None:
    source = f"s3://{bucket.name}"
    bucket.put("a.md", f"# A\n\n{SENTENCE}")
    inventory = take_inventory([source])
    bucket.put("a.md", f"# Another\n\n{SENTENCE}")
    [row] = read_rows(build_inventory_frame(inventory), inventory).to_dicts()
    assert (row["problem"], row["text"]) == ("unreadable", "")
    rows, _ = import_source(source, pl.DataFrame([row]))
    assert rows["title"].to_list() == ["Another"]


def test_an_export_in_a_bucket_is_read(bucket: Bucket, tmp_path: Path) -> None:
    zipped = write_zip(LINKEDIN, tmp_path / "export.zip").read_bytes()
    bucket.put("exports/export.zip", zipped)
    rows, _ = import_source(f"s3://{bucket.name}/exports")
    assert rows.height == RECORD_COUNTS["linkedin"]
    by_name, _ = import_source(f"s3://{bucket.name}/exports/export.zip")
    assert by_name.equals(rows)


def test_an_empty_prefix_and_a_missing_bucket_are_errors(bucket: Bucket) -> None:
    with pytest.raises(TwinError, match="no post in a supported format"):
        import_source(f"s3://{bucket.name}/nothing")
    with pytest.raises(TwinError, match="NoSuchBucket"):
        import_source("s3://a-bucket-that-is-not-there")


@pytest.fixture
def feed_address() -> Iterator[tuple[str, list[int]]]:
    """Yield the address of a feed, and the numbers of its posts, which a test may change."""
    numbers = [1, 2]

    def answer(_: Request) -> Response:
        return Response(build_feed(*numbers))

    with http_server(answer) as url:
        yield f"{url}/feed.xml", numbers


def test_a_feed_at_its_address_adds_and_never_deletes(
    feed_address: tuple[str, list[int]],
) -> None:
    address, numbers = feed_address
    first, counts = import_source(address)
    assert counts["added"] == 2
    assert set(first["source"]) == {"feed"}
    numbers[:] = [2, 3]
    _, counts = import_source(address, first)
    assert counts == {"added": 1, "edited": 0, "deleted": 0}
