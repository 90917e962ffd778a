"""Posts that nobody wrote: any number of them, each of words that no other has in that order.

Scope: the posts and their rows as `raw_posts` and `cleaned_documents` hold them.
Out of scope: what is made of them.
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


def paragraph(chance: random.Random, subject: str) -> str:
    sentences = [
        f"The {chance.choice(NOUNS)} {chance.choice(VERBS)} the {subject} before the "
        f"{chance.choice(NOUNS)} {chance.choice(VERBS)} a {chance.choice(NOUNS)} "
        f"near {chance.choice(NOUNS)} number {chance.randrange(1000)}."
        for _ in range(5)
    ]
    return " ".join(sentences)


def post(number: int) -> str:
    """A post of eight paragraphs, unlike any other number's."""
    chance = random.Random(number)
    subject = f"{NOUNS[number % len(NOUNS)]} {NOUNS[(number * 7 + 3) % len(NOUNS)]}"
    parts = [f"## About the {subject}"]
    parts += [paragraph(chance, subject) for _ in range(8)]
    parts.insert(4, "```python\nturn(wheel)\n```")
    return "\n\n".join(parts)


def documents(numbers: range, **changed: str) -> pl.DataFrame:
    rows = [
        {
            "document_id": f"doc-{number:03d}",
            "source_id": f"{number:03d}.md",
            "title": f"{NOUNS[number % len(NOUNS)].title()} and {number} others",
            "url": "",
            "published_at": datetime(2012, 1, 1, tzinfo=UTC) + timedelta(days=30 * number),
            "text": changed.get(f"doc_{number}", post(number)),
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


def clean(tables: Tables, frame: pl.DataFrame) -> None:
    """Store documents, and the posts behind them, which say the same."""
    imported(tables, frame.select("source_id", "text"))
    store_rows(tables, "cleaned_documents", "ada", frame, key="document_id")


def imported(tables: Tables, posts: pl.DataFrame) -> None:
    """Store posts in Markdown as they came: `source_id`, `text`."""
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
