"""Test the quotation assets, and quoting, with real tables and the real embedder."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import polars as pl
import pytest
from lancedb.background_loop import BackgroundEventLoop

from tests.bench.questions.questions import SAMPLES
from tests.materialization import create_instance, materialize_assets
from tests.prepared_embedder import link_weights
from tests.stored_rows import store_rows
from twin_assets.corpus import cleaned_documents, raw_posts
from twin_assets.knowledge import (
    chunks,
    embedding,
    embeddings,
    passage_embeddings,
    quotable_rows,
    quote_calibration,
    quote_calibration_rows,
)
from twin_assets.knowledge.quote_calibration_rows import read_foreign_questions
from twin_resources.authors import CONTEXT_TOKENS, Author, write_author
from twin_resources.gateway.passage_finder import create_passage_finder
from twin_resources.models.embedder.embedder import Embedder, find_prepared_embedder, load_embedder
from twin_resources.models.quotes import quoter as quoter_module
from twin_resources.models.quotes.answer_text import render_quotes
from twin_resources.models.quotes.calibration import FEW_SENTENCES_DECLINE_SHARE
from twin_resources.models.quotes.quoter import (
    CALIBRATION_TABLE,
    MAX_CANDIDATE_POSTS,
    PASSAGES_TABLE,
    Quoter,
)
from twin_resources.models.retrieval.retrieval import Retriever
from twin_resources.processes.progress_lines import SyncProgressLogger
from twin_resources.settings import Settings, load_settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables

MARA = "mara-lindqvist"
POST_COUNT = 14  # the last is "How to carry a clock"


@dataclass(frozen=True)
class ImportedHome:
    """A home with fourteen of Mara's posts and all tables that quoting needs.

    The home stays at its path, because the state refers to tables by path. A test's changes are
    undone by restoring the copy.

    Attributes:
        metadata: metadata of the run by asset.
    """

    home: Path
    saved_copy: Path
    posts: Path
    metadata: dict[str, dict[str, Any]]

    def restore(self) -> None:
        write_posts(self.posts)
        shutil.rmtree(self.home)
        shutil.copytree(self.saved_copy, self.home, symlinks=True)


def write_posts(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for post in sorted((SAMPLES / MARA).rglob("*-*.md"))[:POST_COUNT]:
        shutil.copy(post, folder)


def run_assets() -> dict[str, dict[str, Any]]:
    with create_instance(MARA) as instance:
        result = materialize_assets(
            [
                raw_posts.raw_posts,
                cleaned_documents.cleaned_documents,
                chunks.document_chunks,
                embeddings.embeddings,
                passage_embeddings.passage_embeddings,
                passage_embeddings.quotations_are_verbatim,
                quote_calibration.quote_calibration,
            ],
            MARA,
            instance,
        )
    assert all(check.passed for check in result.get_asset_check_evaluations())
    return {
        event.asset_key.to_user_string(): {
            name: value.value for name, value in event.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None
    }


@pytest.fixture(scope="module")
def imported(
    embedder_weights: Path, embedder: Embedder, tmp_path_factory: pytest.TempPathFactory
) -> ImportedHome:
    folder = tmp_path_factory.mktemp("imported")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TWIN_HOME", str(folder / "home"))
        home = link_weights(embedder_weights, load_settings())
        posts = folder / "posts"
        write_posts(posts)
        write_author(home, Author(MARA, "Mara Lindqvist", language="en", sources=(str(posts),)))
        metadata = run_assets()
    shutil.copytree(home.home, folder / "saved", symlinks=True)
    return ImportedHome(home.home, folder / "saved", posts, metadata)


@pytest.fixture
def imported_home(
    home: Settings, imported: ImportedHome, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    imported.restore()
    monkeypatch.setenv("TWIN_HOME", str(imported.home))
    return load_settings()


@pytest.fixture
def tables(imported_home: Settings) -> Iterator[Tables]:
    with closing(open_home_state(imported_home)) as state:
        yield Tables(imported_home.tables_base, state=state)


def test_a_question_is_answered_by_the_authors_own_sentences(
    imported: ImportedHome, imported_home: Settings, tables: Tables, embedder: Embedder
) -> None:
    assert imported.metadata["passage_embeddings"]["computed"] == POST_COUNT
    calibration = imported.metadata["quote_calibration"]
    assert calibration["own"] > 50
    assert calibration["foreign"] == len(read_foreign_questions())
    assert calibration["own_declined"] < 0.5
    assert calibration["foreign_declined"] > calibration["own_declined"]

    retriever = Retriever(imported_home.tables_base, embedder)
    quoter = Quoter(imported_home.tables_base, embedder.revision)

    def ask(question: str, shown_text: str = "") -> Any:
        result = retriever.retrieve(MARA, question, with_tokens=True)
        assert result.vector is not None
        posts = [post.document_id for post in result.nearest]
        return quoter.quote(MARA, result.vector, posts, tokens=result.tokens, shown_text=shown_text)

    result = ask("How do I carry a clock?")
    assert result.best_score >= result.threshold == calibration["threshold"]
    assert 2 <= len(result.quotes) <= 3
    assert result.quotes[0].title == "How to carry a clock"
    texts = dict(tables.read("cleaned_documents", MARA).select("document_id", "text").iter_rows())
    marked_sentences: list[str] = []
    for quote in result.quotes:
        assert texts[quote.document_id][quote.start : quote.end] == quote.text
        assert quote.marked is not None
        marked_sentences.append(quote.text[slice(*quote.marked)])
    assert len(marked_sentences[0].split()) > 5
    assert marked_sentences[0][0].isupper()
    assert marked_sentences[0].endswith(".")
    first, second = result.quotes[:2]
    assert first.document_id != second.document_id or (
        first.end <= second.start or second.end <= first.start
    )

    questions = ("How do I carry a clock?", "How is a clock oiled?", "Why does a clock stop?")
    three_passage_answers = [
        quotes for quotes in (ask(question).quotes for question in questions) if len(quotes) > 2
    ]
    assert three_passage_answers, "no question was answered with a third passage"
    for first, second, third in three_passage_answers:
        assert third.document_id not in {first.document_id, second.document_id}

    opening = render_quotes(result.quotes, before_prose=True).text
    further_quotes = ask("How do I carry a clock?", shown_text=opening).quotes
    assert len(further_quotes) >= 2
    assert not {quote.text for quote in further_quotes} & {quote.text for quote in result.quotes}

    vector, tokens = embedder.embed_question("How do I carry a clock?")
    posts = [quote.document_id for quote in result.quotes]
    expected = quoter.quote(MARA, vector, posts, tokens=tokens)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BackgroundEventLoop, "run", None)
        cached_result = quoter.quote(MARA, vector, posts, tokens=tokens)
        assert cached_result == expected, "the answer from memory differs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quoter_module, "MAX_ROWS_IN_MEMORY", 0)
        uncached_quoter = Quoter(imported_home.tables_base, embedder.revision)
        assert uncached_quoter.quote(MARA, vector, posts, tokens=tokens) == expected
    assert quoter.quote(MARA, vector, ["without stored rows"]).quotes == ()

    declined = ask("What is the capital of France?")
    assert declined.quotes == ()
    assert declined.reason == ""
    assert declined.best_score < declined.threshold

    second_run = run_assets()
    assert second_run["passage_embeddings"]["computed"] == 0
    assert second_run["quote_calibration"]["computed"] == 0


def test_an_edited_post_is_embedded_and_calibrated_again(
    imported: ImportedHome, tables: Tables
) -> None:
    post = max(imported.posts.iterdir())
    with post.open("a", encoding="utf-8") as file:
        file.write("\nA last line was added to it in the evening, after the shop had closed.\n")
    edited = run_assets()
    assert edited["quote_calibration"]["computed"] == 1
    assert edited["passage_embeddings"]["computed"] == 1
    rows = tables.read("passage_embeddings", MARA, where="text LIKE '%after the shop had closed.'")
    assert rows.height > 0


def test_passages_of_an_earlier_release_are_quoted_without_a_marked_sentence(
    imported_home: Settings, tables: Tables, embedder: Embedder
) -> None:
    rows = tables.read(PASSAGES_TABLE, MARA).drop("tokens", "sentences")
    shutil.rmtree(tables.uri(PASSAGES_TABLE, MARA))
    lancedb.connect(f"{imported_home.tables_base}/{MARA}").create_table(
        PASSAGES_TABLE, rows.to_arrow()
    )
    vector, tokens = embedder.embed_question("How do I carry a clock?")
    posts = list(dict.fromkeys(rows["document_id"]))[:MAX_CANDIDATE_POSTS]
    result = Quoter(imported_home.tables_base, embedder.revision).quote(
        MARA, vector, posts, tokens=tokens
    )
    assert result.quotes
    assert [quote.marked for quote in result.quotes] == [None] * len(result.quotes)


def test_a_missing_table_of_passages_is_reported_as_a_reason(
    home_with_embedder: Settings, embedder: Embedder
) -> None:
    quoter = Quoter(home_with_embedder.tables_base, embedder.revision)
    vector = embedder.embed(["Anything?"])[0]
    missing = quoter.quote("nobody", vector, ["d1"])
    assert "has no passage_embeddings yet" in missing.reason
    assert missing.quotes == ()
    assert not (home_with_embedder.home / "tables" / "nobody").exists()


def test_another_embedders_passages_are_not_compared(
    imported_home: Settings, embedder: Embedder
) -> None:
    quoter = Quoter(imported_home.tables_base, "another revision")
    result = quoter.quote(
        MARA, embedder.embed(["How do I carry a clock?"])[0], ["d"] * MAX_CANDIDATE_POSTS
    )
    assert "another embedder" in result.reason


def test_old_tables_answer_until_the_new_embedders_are_complete(
    imported_home: Settings, tables: Tables, embedder: Embedder, tmp_path: Path
) -> None:
    """The question is answered with quotations after the update of each table."""
    new_embedder = prepare_renamed_embedder(imported_home, tmp_path)
    assert new_embedder.revision != embedder.revision
    settings = imported_home.model_copy(update={"embedder": "another"})
    passage_finder, progress = (
        create_passage_finder(settings),
        SyncProgressLogger(lambda _: None, "again"),
    )

    def quote() -> tuple[str, str, list[str]]:
        result = asyncio.run(
            passage_finder.find(
                MARA,
                ["How do I carry a clock?"],
                token_budget=CONTEXT_TOKENS,
                with_quotes=True,
            )
        )
        assert result.missing_reason == ""
        assert result.quote_result is not None
        calibrated_by = Quoter(settings.tables_base, new_embedder.revision).get_calibrated_revision(
            MARA
        )
        return result.embedder, calibrated_by, [quote.text for quote in result.quote_result.quotes]

    old, new = embedder.revision, new_embedder.revision
    _, _, expected_texts = quote()
    assert expected_texts
    updates = {
        "passages": lambda: quotable_rows.update_passages(
            tables, MARA, new_embedder, progress=progress
        ),
        "calibration": lambda: quote_calibration_rows.update_calibration(
            tables, MARA, new_embedder
        ),
        "embeddings": lambda: embedding.update_embeddings(
            tables, MARA, new_embedder, progress=progress
        ),
    }
    states = [quote()] + [quote() for update in updates.values() if update()]
    assert [(searched, calibrated) for searched, calibrated, _ in states] == [
        (old, old), (old, old), (old, new), (new, new)
    ]  # fmt: skip
    quotations = [texts for *_, texts in states]
    assert all(quotations)
    assert [quotations[0], quotations[1], quotations[-1]] == [expected_texts] * 3


def prepare_renamed_embedder(home: Settings, folder: Path) -> Embedder:
    """Prepare the same model under another name and revision, with equal vectors."""
    source, manifest = find_prepared_embedder(home)
    revision = "0" * len(manifest.revision)
    target = home.weights_dir / "another"
    shutil.copytree(source, target / revision)
    renamed = {**asdict(manifest), "embedder": "another", "revision": revision}
    (target / revision / "embedder.json").write_text(json.dumps(renamed))
    (target / "current.json").write_text(json.dumps({"revision": revision}))
    return load_embedder(home.model_copy(update={"embedder": "another"}), allow_gpu=False)


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


def test_a_small_corpus_is_calibrated_by_questions_to_others(embedder: Embedder) -> None:
    passages = quotable_rows.embed_passages(ONE_POST, embedder)
    row = quote_calibration_rows.compute_calibration_row("ann", passages, embedder)
    [nearest] = passages["vector"].to_numpy() @ embedder.embed(read_foreign_questions()).T
    assert row["threshold"].to_list() == [
        pytest.approx(np.quantile(nearest, FEW_SENTENCES_DECLINE_SHARE))
    ]
    assert row["threshold_elsewhere"].to_list() == [None]  # MiniLM supports only English.
    assert row["own"].to_list() == [0]
    assert row["languages"].to_list() == [["en"]]


def test_a_small_corpus_quotes_its_one_passage_on_a_subject(
    home_with_embedder: Settings, embedder: Embedder
) -> None:
    second_post = {
        "document_id": "d2",
        "title": "On cats",
        "text": "My cat sleeps all day on the stairs.",
    }
    posts = pl.concat(
        [
            ONE_POST,
            ONE_POST.with_columns(**{name: pl.lit(value) for name, value in second_post.items()}),
        ]
    )
    with closing(open_home_state(home_with_embedder)) as state:
        tables = Tables(home_with_embedder.tables_base, state=state)
        passages = quotable_rows.embed_passages(posts, embedder)
        row = quote_calibration_rows.compute_calibration_row("ann", passages, embedder)
        store_rows(tables, PASSAGES_TABLE, "ann", passages, key="passage_id")
        store_rows(tables, CALIBRATION_TABLE, "ann", row, key="author")
    vector = embedder.embed(["How long does oil last in a clock?"])[0]
    result = Quoter(home_with_embedder.tables_base, embedder.revision).quote(
        "ann", vector, ["d1", "d2"]
    )
    assert [quote.document_id for quote in result.quotes] == ["d1"], "quoted another post"
    assert result.best_score == pytest.approx(result.quotes[0].score), "not the nearest"
    assert result.best_score > result.threshold == row["threshold"][0]


def test_passages_that_differ_from_the_post_are_counted(embedder: Embedder) -> None:
    passages = quotable_rows.embed_passages(ONE_POST, embedder)
    assert quotable_rows.count_misquoted(passages, ONE_POST) == 0
    edited_post = ONE_POST.with_columns(pl.col("text").str.replace("eight", "nine"))
    assert quotable_rows.count_misquoted(passages, edited_post) == passages.height == 1
    assert quotable_rows.count_misquoted(passages, ONE_POST.clear()) == 1
