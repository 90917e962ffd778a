"""Rows of `embeddings` for tests that need passages with chosen ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from tests.stored_rows import store_rows
from twin_assets.knowledge.passages import passage_columns, split_into_passages
from twin_resources.authors import SAMPLES_DIR
from twin_resources.models.embedder.embedder import Embedder
from twin_resources.models.retrieval.index import update_indexes
from twin_resources.storage.tables.tables import Tables

# Mara's sample posts by file name, each with its title and its text.
SAMPLE_POSTS = {
    path.stem: (front_matter.split('"')[1], text.strip())
    for path in sorted((SAMPLES_DIR / "mara-lindqvist" / "_posts").glob("*.md"))
    for _, front_matter, text in [path.read_text(encoding="utf-8").split("---\n", 2)]
}


def build_passages(rows: Sequence[Mapping[str, Any]], embedder: Embedder) -> pl.DataFrame:
    """Return rows of `embeddings`, each of which is a whole document unless it says otherwise.

    Args:
        rows: `chunk_id`, `document_id`, `title` and `text`, and any other column.
    """
    texts = [f"{row['title']}\n{row['text']}" for row in rows]
    counts = embedder.count_tokens([str(row["text"]) for row in rows])
    vectors = embedder.embed(texts)
    return pl.DataFrame(
        [
            {
                "url": "", "published_at": None, "language": "en", "position": 0, "start": 0,
                "end": len(row["text"]), "fence": "", "indexed_text": text, "token_count": count,
                "embedder": embedder.revision, "vector": vector.tolist(),
            } | dict(row)
            for row, text, count, vector in zip(rows, texts, counts, vectors, strict=True)
        ],
        schema=dict(passage_columns(embedder.dimension)),
    )  # fmt: skip


def split_posts(posts: Mapping[str, tuple[str, str]]) -> list[dict[str, Any]]:
    """Return the rows for `build_passages` of posts with titles and texts, by document id."""
    return [
        {
            "chunk_id": f"{name}-{number}", "document_id": name, "title": title,
            "url": f"https://mara.example/{name}/", "text": text[span.start : span.end],
            "position": number, "start": span.start, "end": span.end,
        }
        for name, (title, text) in posts.items()
        for number, span in enumerate(split_into_passages(text))
    ]  # fmt: skip


def store_passages(
    tables: Tables, author: str, rows: pl.DataFrame, *, language: str = "en"
) -> None:
    """Replace the author's passages, and update their indexes."""
    store_rows(tables, "embeddings", author, rows, key="chunk_id")
    update_indexes(tables, author, language=language)
