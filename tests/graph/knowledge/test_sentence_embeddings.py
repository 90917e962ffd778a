"""The assets of quotations over real tables and the real embedder, and quoting from them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from tests.bench.questions.questions import SAMPLES
from twin_assets.corpus import cleaned_documents, raw_posts
from twin_assets.knowledge import (
    chunks,
    embeddings,
    quote_calibrating,
    quote_calibration,
    sentence_embeddings,
    sentence_windows,
)
from twin_assets.partitions import authors
from twin_assets.tables_io_manager import TablesIOManager
from twin_resources.authors import Author, write_author
from twin_resources.dagster_resources import EmbedderResource, SettingsResource, TablesResource
from twin_resources.models.embedder.embedder import Embedder
from twin_resources.models.quotes.calibration import DEFAULT_THRESHOLD
from twin_resources.models.quotes.quoter import DOCUMENTS, Quoter
from twin_resources.models.retrieval.retrieval import Retriever
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables

MARA = "mara-lindqvist"
POSTS = 14  # the last is "How to carry a clock"

Materialize = Callable[[], dict[str, dict[str, Any]]]


@pytest.fixture
def materialize(home_with_embedder: Settings, tmp_path: Path) -> Iterator[Materialize]:
    """Fourteen of Mara's posts up to what may be quoted; gives metadata by asset."""
    posts = tmp_path / "posts"
    posts.mkdir()
    for post in sorted((SAMPLES / MARA).rglob("*-*.md"))[:POSTS]:
        shutil.copy(post, posts)
    author = Author(MARA, "Mara Lindqvist", language="en", sources=(str(posts),))
    write_author(home_with_embedder, author)
    resources = {
        "embedder": EmbedderResource(),
        "settings": SettingsResource(),
        "tables": TablesResource(),
        "tables_io": TablesIOManager(),
    }
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(authors.name), [MARA])

        def run() -> dict[str, dict[str, Any]]:
            done = dg.materialize(
                [
                    raw_posts.raw_posts,
                    cleaned_documents.cleaned_documents,
                    chunks.document_chunks,
                    embeddings.embeddings,
                    sentence_embeddings.sentence_embeddings,
                    sentence_embeddings.quotations_are_verbatim,
                    quote_calibration.quote_calibration,
                ],
                partition_key=MARA,
                resources=resources,
                instance=instance,
            )
            assert all(check.passed for check in done.get_asset_check_evaluations())
            return {
                event.asset_key.to_user_string(): {
                    name: value.value for name, value in event.materialization.metadata.items()
                }
                for event in done.get_asset_materialization_events()
                if event.asset_key is not None
            }

        yield run


def test_a_question_is_answered_by_the_authors_own_sentences(
    materialize: Materialize, home: Settings, tables: Tables, embedder: Embedder
) -> None:
    made = materialize()
    calibrated = made["quote_calibration"]
    assert calibrated["own"] > 200
    assert calibrated["own_declined"] <= 0.05
    assert calibrated["foreign_declined"] > calibrated["own_declined"]

    retriever = Retriever(home.tables_base, embedder)
    quoter = Quoter(home.tables_base, embedder.revision)

    def ask(question: str) -> Any:
        found = retriever.retrieve(MARA, question)
        return quoter.quote(MARA, found.vector, [post.document_id for post in found.nearest])

    quoted = ask("How do I carry a clock?")
    assert quoted.best >= quoted.threshold == calibrated["threshold"]
    assert len(quoted.quotes) == 2
    assert quoted.quotes[0].title == "How to carry a clock"
    texts = dict(tables.read("cleaned_documents", MARA).select("document_id", "text").iter_rows())
    for quote in quoted.quotes:
        assert texts[quote.document_id][quote.start : quote.end] == quote.text
    first, second = quoted.quotes
    assert first.document_id != second.document_id or (
        first.end <= second.start or second.end <= first.start
    )

    declined = ask("What is the capital of France?")
    assert declined.quotes == ()
    assert declined.reason == ""
    assert declined.best < declined.threshold

    again = materialize()
    assert again["sentence_embeddings"]["computed"] == 0
    assert again["quote_calibration"]["computed"] == 0


def test_an_edited_post_is_embedded_again_and_calibrates_anew(
    materialize: Materialize, tmp_path: Path, tables: Tables
) -> None:
    materialize()
    post = max((tmp_path / "posts").iterdir())
    with post.open("a", encoding="utf-8") as file:
        file.write("\nA last line was added to it in the evening, after the shop had closed.\n")
    edited = materialize()
    assert edited["sentence_embeddings"]["computed"] == 1
    assert edited["quote_calibration"]["computed"] == 1
    said = tables.read("sentence_embeddings", MARA, where="text LIKE '%after the shop had closed.'")
    assert said.height > 0


def test_nothing_to_quote_says_why(home_with_embedder: Settings, embedder: Embedder) -> None:
    quoter = Quoter(home_with_embedder.tables_base, embedder.revision)
    vector = embedder.embed(["Anything?"])[0]
    missing = quoter.quote("nobody", vector, ["d1"])
    assert "has no sentence_embeddings yet" in missing.reason
    assert missing.quotes == ()
    assert not (home_with_embedder.home / "tables" / "nobody").exists()


def test_another_embedders_windows_are_not_compared(
    materialize: Materialize, home: Settings, embedder: Embedder
) -> None:
    materialize()
    quoter = Quoter(home.tables_base, "another revision")
    found = quoter.quote(MARA, embedder.embed(["How do I carry a clock?"])[0], ["d"] * DOCUMENTS)
    assert "another embedder" in found.reason


ONE_POST = pl.DataFrame(
    {
        "document_id": ["d1"],
        "title": ["On oil"],
        "url": [""],
        "published_at": [None],
        "language": ["en"],
        "text": ["The oil dries in eight years. Then the pivots wear. After that it stops."],
        "kept": [True],
    },
    schema_overrides={"published_at": pl.Datetime("us", "UTC")},
)


def test_a_small_corpus_keeps_the_default_threshold(embedder: Embedder) -> None:
    windows = sentence_windows.embed_windows(ONE_POST, embedder)
    row = quote_calibrating.calibration_row("ann", windows, ["Nothing like it."], embedder)
    assert row["threshold"].to_list() == [DEFAULT_THRESHOLD]
    assert row["own"].to_list() == [0]


def test_what_does_not_stand_in_the_post_is_counted(embedder: Embedder) -> None:
    windows = sentence_windows.embed_windows(ONE_POST, embedder)
    assert sentence_windows.misquoted(windows, ONE_POST) == 0
    other = ONE_POST.with_columns(pl.col("text").str.replace("eight", "nine"))
    assert sentence_windows.misquoted(windows, other) == windows.height == 1
    assert sentence_windows.misquoted(windows, ONE_POST.clear()) == 1
