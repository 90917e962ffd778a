"""The assets of knowledge over real tables and the real embedder: what is embedded, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import polars as pl
import pytest

from twin_assets.knowledge import chunking, chunks, embeddings
from twin_assets.partitions import authors
from twin_assets.tables_io_manager import TablesIOManager
from twin_resources.authors import Author, write_author
from twin_resources.dagster_resources import EmbedderResource, SettingsResource, TablesResource
from twin_resources.retrieval.retrieval import Retriever
from twin_resources.settings import Settings
from twin_resources.tables.tables import Tables

SCHEMA: dict[str, pl.DataType] = {
    "document_id": pl.String(),
    "title": pl.String(),
    "url": pl.String(),
    "published_at": pl.Datetime("us", "UTC"),
    "text": pl.String(),
    "kept": pl.Boolean(),
    "language": pl.String(),
}
CLOCK = "The clock in the hall went to the workshop in spring. " * 12
BOAT = "The boat at the pier is older than the pier itself. " * 12
FOOTER = "Letters to the editor reach me by the harbour office, never by telephone. " * 12

Materialize = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def materialize(home_with_embedder: Settings, tables: Tables) -> Iterator[Materialize]:
    """Writes documents and brings chunks and vectors up to date; gives metadata by asset."""
    write_author(home_with_embedder, Author("ada", "Ada", language="en"))
    resources = {
        "embedder": EmbedderResource(),
        "settings": SettingsResource(),
        "tables": TablesResource(),
        "tables_io": TablesIOManager(),
    }
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(authors.name), ["ada"])

        def run(documents: dict[str, tuple[str, str]]) -> dict[str, dict[str, Any]]:
            write_documents(tables, documents)
            done = dg.materialize(
                [
                    chunks.document_chunks,
                    embeddings.embeddings,
                    chunks.no_chunk_is_truncated,
                    embeddings.every_chunk_is_searchable,
                ],
                partition_key="ada",
                resources=resources,
                instance=instance,
            )
            assert all(check.passed for check in done.get_asset_check_evaluations())
            found = {}
            for name in ("document_chunks", "embeddings"):
                (event,) = done.asset_materializations_for_node(name)
                found[name] = {key: value.value for key, value in event.metadata.items()}
            return found

        yield run


def write_documents(tables: Tables, documents: dict[str, tuple[str, str]]) -> None:
    frame = pl.DataFrame(
        [
            {
                "document_id": name,
                "title": title,
                "url": f"https://example.org/{name}",
                "published_at": datetime(2020, 1, 1, tzinfo=UTC),
                "text": text,
                "kept": True,
                "language": "en",
            }
            for name, (title, text) in documents.items()
        ],
        schema=SCHEMA,
    )
    tables.rework(
        frame,
        "cleaned_documents",
        author="ada",
        key="document_id",
        function=lambda rows: rows,
        version="1",
        schema=SCHEMA,
        row_key="document_id",
    )


def test_only_new_text_is_embedded(materialize: Materialize, tables: Tables) -> None:
    posts = {"a": ("Clock", f"{CLOCK}\n\n{FOOTER}"), "b": ("Boat", BOAT)}
    first = materialize(posts)["embeddings"]
    assert first["embedded"] == first["computed"] == first["dagster/row_count"] > 2
    assert first["indexes"] == ["chunk_id", "document_id", "text_en"]
    vectors = vectors_by_text(tables)

    # Another title: rows are written again, nothing is embedded.
    retitled = materialize(posts | {"a": ("The clock", posts["a"][1])})["embeddings"]
    assert retitled["computed"] > 0
    assert retitled["embedded"] == 0
    assert vectors_by_text(tables) == vectors

    # The same words in another post: a row of its own with the vector that stands.
    copied = materialize(posts | {"c": ("Footer", FOOTER.strip())})["embeddings"]
    alone = tables.read("embeddings", "ada", where="document_id = 'c'")
    known = [text in vectors for text in alone["text"]]
    assert copied["embedded"] == known.count(False)
    assert alone["chunk_id"].is_unique().all()

    # One paragraph more: what stood is not embedded again.
    grown = materialize(posts | {"b": ("Boat", f"{BOAT}\n\nIt has a mast now, and a cat.")})
    assert 0 < grown["embeddings"]["embedded"] <= 1
    assert (
        materialize(posts | {"b": ("Boat", f"{BOAT}\n\nIt has a mast now, and a cat.")})[
            "embeddings"
        ]["bytes_written"]
        == 0
    )


def vectors_by_text(tables: Tables) -> dict[str, list[float]]:
    rows = tables.read("embeddings", "ada", columns=["text", "vector"])
    return dict(zip(rows["text"], rows["vector"].to_list(), strict=True))


def test_another_chunker_or_embedder_names_chunks_anew() -> None:
    name = f"post-{chunking.content_hash('some text', 'revision-1')}"
    ids = pl.Series([name, f"{name}-2", "bread-0"])
    same = chunking.content_hash("some text", "revision-1")
    assert chunking.contents_of(ids).to_list() == [same, same, ""]
    assert same != chunking.content_hash("some text", "revision-2")


def test_what_is_written_is_found(
    materialize: Materialize, tables: Tables, home_with_embedder: Settings
) -> None:
    from twin_resources.embedder.embedder import load_embedder

    materialize({"a": ("Clock", CLOCK), "b": ("Boat", BOAT)})
    found = Retriever(tables.base_uri, load_embedder(home_with_embedder)).retrieve(
        "ada", "Which boat is older than its pier?"
    )
    assert found.passages[0].document_id == "b"
