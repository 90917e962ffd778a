"""Generate any number of distinct posts, and store them.

Scope: the posts and their rows in `raw_posts` and `cleaned_documents`. Out of scope: the samples
built from them.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import polars as pl

from tests.stored_rows import store_rows
from twin_assets.corpus.corpus_tables import CleanedDocuments, RawPosts, column_types
from twin_resources.storage.tables.tables import Tables

NOUNS = (
    "harbour", "engine", "willow", "copper", "lantern", "orchard", "violin", "granite", "meadow",
    "signal", "anchor", "bellows", "candle", "dynamo", "easel", "furnace", "girder", "hammer",
    "inkwell", "journal", "kettle", "loom", "mirror", "needle", "oar", "pulley", "quarry",
    "rudder", "sail", "turbine", "urn", "valve", "winch", "yarn", "zinc", "barrel", "compass",
    "drill", "forge", "gauge",
)  # fmt: skip
VERBS = ("mends", "carries", "watches", "turns", "holds", "lifts", "cleans", "draws", "paints")


def build_paragraph(generator: random.Random, subject: str) -> str:
    sentences = [
        f"The {generator.choice(NOUNS)} {generator.choice(VERBS)} the {subject} before the "
        f"{generator.choice(NOUNS)} {generator.choice(VERBS)} a {generator.choice(NOUNS)} "
        f"near {generator.choice(NOUNS)} number {generator.randrange(1000)}."
        for _ in range(5)
    ]
    return " ".join(sentences)


def build_post(number: int) -> str:
    """Return a post of eight paragraphs that differs from the posts with other numbers."""
    generator = random.Random(number)
    subject = f"{NOUNS[number % len(NOUNS)]} {NOUNS[(number * 7 + 3) % len(NOUNS)]}"
    parts = [f"## About the {subject}"]
    parts += [build_paragraph(generator, subject) for _ in range(8)]
    parts.insert(4, "```python\nturn(wheel)\n```")
    return "\n\n".join(parts)


def build_documents(numbers: range, **texts: str) -> pl.DataFrame:
    rows = [
        {
            "document_id": f"doc-{number:03d}",
            "source_id": f"{number:03d}.md",
            "title": f"{NOUNS[number % len(NOUNS)].title()} and {number} others",
            "url": "",
            "published_at": datetime(2012, 1, 1, tzinfo=UTC) + timedelta(days=30 * number),
            "text": texts.get(f"doc_{number}", build_post(number)),
            "language": "en",
            "words": 600,
            "kept": True,
            "dropped_because": "",
            "duplicate_of": "",
            "content_hash": f"hash-{number}",
        }
        for number in numbers
    ]
    return pl.DataFrame(rows, schema=column_types(CleanedDocuments))


def store_documents(tables: Tables, frame: pl.DataFrame) -> None:
    """Store documents, and posts with the same text."""
    store_posts(tables, frame.select("source_id", "text"))
    store_rows(tables, "cleaned_documents", "ada", frame, key="document_id")


def store_posts(tables: Tables, posts: pl.DataFrame) -> None:
    """Store posts in Markdown; `posts` has `source_id` and `text`."""
    rows = [
        dict.fromkeys(column_types(RawPosts))
        | {"tags": [], "deleted": False, "kind": "post", "markup": "markdown"}
        | {"visibility": "public", "file_hash": "hash"}
        | post
        for post in posts.to_dicts()
    ]
    frame = pl.DataFrame(rows, schema=column_types(RawPosts))
    filled = frame.with_columns(pl.col(pl.String).fill_null(""))
    store_rows(tables, "raw_posts", "ada", filled, key="source_id")
