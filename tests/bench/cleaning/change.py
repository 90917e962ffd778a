"""Ten new posts against cleaning all of them again, in tables.

Belongs here: posts generated from the shared ones, and the two runs. Does not belong here: what is
downstream of `cleaned_documents`.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

import polars as pl

from tests.bench.cleaning.quality import shared_posts
from tests.bench.cleaning.rows import Form, Row, at_most
from tests.stored_rows import store_rows
from twin_assets.corpus.cleaning_tables import CleaningRun, update_cleaned_documents
from twin_assets.corpus.corpus_tables import RawPosts, columns_of
from twin_assets.corpus.importing import inventory_frame, read_rows
from twin_assets.corpus.inventory import take_inventory
from twin_resources.authors import Author
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables

NEW = 10
ANN = Author("ann", "Ann Lee")


def ten_new_posts(form: Form) -> list[Row]:
    """CPU time and bytes of ten more posts over those of all, `cleaned_documents` only."""
    count = 1_000 if form.quick else 20_000
    posts = _generated(count + NEW)
    with tempfile.TemporaryDirectory() as folder:
        tables = Tables(f"{folder}/tables", state=State.open(f"sqlite:///{folder}/state.sqlite"))
        all_s, _ = _cleaned(tables, posts.head(count))
        whole = _size(Path(folder))
        ten_s, ten = _cleaned(tables, posts)
    if ten.prepared.computed != NEW or ten.similar.computed != NEW:
        raise AssertionError(f"{ten.prepared.computed} posts were cleaned again, not {NEW}")
    shape = f"{NEW} posts added to {count:,}"
    # The goals are of 100,000 posts: what ten cost hardly grows, what all cost grows with them.
    scale = 100_000 / count
    return [
        at_most(f"{shape}: CPU seconds", ten_s, "s", peers={"all of them": all_s}),
        at_most(f"{shape}: part of the time (goal scaled)", ten_s / all_s, "", at_most=scale / 500),
        at_most(
            f"{shape}: part of the bytes (goal scaled)",
            ten.bytes_written / whole,
            "",
            at_most=min(0.05, 0.01 * scale),
        ),
    ]


def _cleaned(tables: Tables, posts: pl.DataFrame) -> tuple[float, CleaningRun]:
    store_rows(tables, "raw_posts", ANN.slug, posts, key="source_id", schema=columns_of(RawPosts))
    started = time.process_time()
    run = update_cleaned_documents(tables, ANN)
    return time.process_time() - started, run


def _size(folder: Path) -> int:
    names = ("prepared_posts", "near_duplicates", "cleaned_documents")
    return sum(
        file.stat().st_size
        for name in names
        for file in folder.glob(f"tables/ann/{name}.lance/**/*")
        if file.is_file()
    )


def _generated(count: int) -> pl.DataFrame:
    """Posts of paragraphs of the shared ones, in an order of their own, with words exchanged."""
    inventory = take_inventory([shared_posts() / "skeeto"])
    raw = read_rows(inventory_frame(inventory), inventory)
    markdown = raw.filter(pl.col("markup") == "markdown")
    paragraphs = [
        part
        for text in markdown["text"].to_list()
        for part in text.split("\n\n")
        if len(part) > 120 and not part.startswith((" ", "`", "\t", "|", "<", "["))
    ]
    vocabulary = sorted({word for part in paragraphs for word in part.split() if word.isalpha()})
    drawn = random.Random(2)
    texts = [
        "\n\n".join(
            " ".join(
                drawn.choice(vocabulary) if drawn.random() < 0.3 else word
                for word in drawn.choice(paragraphs).split(" ")
            )
            for _ in range(drawn.randint(2, 5))
        )
        for _ in range(count)
    ]
    plain = markdown.head(1).select(pl.exclude("source_id", "text", "content_hash", "path"))
    return (
        plain.select(pl.all().repeat_by(count).explode())
        .with_columns(
            pl.Series("source_id", [f"{n:06}.md" for n in range(count)]),
            pl.Series("text", texts),
            pl.Series("content_hash", [f"hash {n}" for n in range(count)]),
            pl.lit("").alias("path"),
        )
        .select(columns_of(RawPosts).keys())
    )
