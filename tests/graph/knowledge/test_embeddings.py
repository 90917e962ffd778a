"""Test the knowledge assets with real tables and the real embedder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.materialization import create_instance, materialize_assets, metadata_of
from tests.stored_rows import store_rows
from twin_assets.knowledge import embeddings
from twin_resources.authors import Author, write_author
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables

SCHEMA: dict[str, pl.DataType] = {
    "document_id": pl.String(),
    "title": pl.String(),
    "url": pl.String(),
    "published_at": pl.Datetime("us", "UTC"),
    "text": pl.String(),
    "kept": pl.Boolean(),
    "language": pl.String(),
}
CLOCK = "The clock in the hall went to the workshop in spring. " * 9
BOAT = "The boat at the pier is older than the pier itself. " * 9
FOOTER = "Letters to the editor reach me by the harbour office, never by telephone. " * 7

Materialize = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def materialize(home_with_embedder: Settings, tables: Tables) -> Iterator[Materialize]:
    """Return a function that writes documents, embeds their passages and returns metadata."""
    write_author(home_with_embedder, Author("ada", "Ada", language="en"))
    with create_instance("ada") as instance:

        def run(documents: dict[str, tuple[str, str]]) -> dict[str, dict[str, Any]]:
            write_documents(tables, documents)
            result = materialize_assets(
                [
                    embeddings.embeddings,
                    embeddings.every_passage_is_searchable,
                    embeddings.passages_are_verbatim,
                ],
                "ada",
                instance,
            )
            assert all(check.passed for check in result.get_asset_check_evaluations())
            return {"embeddings": metadata_of(result, "embeddings")}

        yield run


def write_documents(tables: Tables, documents: dict[str, tuple[str, str]]) -> None:
    frame = pl.DataFrame(
        [
            {
                "document_id": document_id,
                "title": title,
                "url": f"https://example.org/{document_id}",
                "published_at": datetime(2020, 1, 1, tzinfo=UTC),
                "text": text,
                "kept": True,
                "language": "en",
            }
            for document_id, (title, text) in documents.items()
        ],
        schema=SCHEMA,
    )
    store_rows(tables, "cleaned_documents", "ada", frame, key="document_id")


def test_only_new_text_is_embedded(materialize: Materialize, tables: Tables) -> None:
    posts = {"a": ("Clock", f"{CLOCK}\n\n{FOOTER}"), "b": ("Boat", BOAT)}
    first = materialize(posts)["embeddings"]
    assert (first["computed"], first["dagster/row_count"]) == (2, 3)
    assert first["indexes"] == ["chunk_id", "document_id", "indexed_text_en"]
    vectors = read_vectors_by_text(tables)

    # Another title changes the embedded text, but not the ids of the passages.
    chunk_ids = tables.read("embeddings", "ada", columns=["chunk_id"])["chunk_id"].to_list()
    retitled_metadata = materialize(posts | {"a": ("The clock", posts["a"][1])})["embeddings"]
    rows_of_a = tables.read("embeddings", "ada", where="document_id = 'a'")
    assert (retitled_metadata["computed"], rows_of_a.height) == (1, 2)
    assert tables.read("embeddings", "ada", columns=["chunk_id"])["chunk_id"].to_list() == chunk_ids
    assert rows_of_a["indexed_text"].str.starts_with("The clock\n\n").all()
    for text, vector in rows_of_a.select("text", "vector").iter_rows():
        assert not np.allclose(vector, vectors[text])
    metadata = materialize(posts)["embeddings"]
    assert metadata["computed"] == 1
    assert read_vectors_by_text(tables) == vectors

    # The same text in another post has its own vector with its title.
    copy_metadata = materialize(posts | {"c": ("Another boat", BOAT)})["embeddings"]
    assert copy_metadata["computed"] == 1
    assert tables.read("embeddings", "ada")["chunk_id"].is_unique().all()
    materialize(posts)

    # An unchanged post is not embedded again.
    grown = posts | {"b": ("Boat", f"{BOAT}\n\nIt has a mast now, and a cat.")}
    assert materialize(grown)["embeddings"]["computed"] == 1
    assert materialize(grown)["embeddings"]["bytes_written"] == 0


def read_vectors_by_text(tables: Tables) -> dict[str, list[float]]:
    rows = tables.read("embeddings", "ada", columns=["text", "vector"])
    return dict(zip(rows["text"], rows["vector"].to_list(), strict=True))
