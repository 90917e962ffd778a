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

import pytest

from tests.bench.questions.questions import SAMPLES
from tests.materialization import create_instance, materialize_assets
from tests.prepared_embedder import link_weights
from twin_assets.corpus import cleaned_documents, raw_posts
from twin_assets.knowledge import embeddings, passages
from twin_resources.authors import CONTEXT_TOKENS, Author, write_author
from twin_resources.gateway.passage_finder import RetrievedPassages, create_passage_finder
from twin_resources.models.embedder.embedder import Embedder, find_prepared_embedder, load_embedder
from twin_resources.models.quotes.answer_text import render_quotes
from twin_resources.models.quotes.quoter import MAX_QUOTES, MIN_EVIDENCE
from twin_resources.models.retrieval.index import update_indexes
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
                embeddings.embeddings,
                embeddings.every_passage_is_searchable,
                embeddings.passages_are_verbatim,
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


def ask(
    home: Settings, question: str, *, earlier_answers: tuple[str, ...] = ()
) -> RetrievedPassages:
    finder = create_passage_finder(home)
    return asyncio.run(
        finder.find(
            MARA,
            [question],
            token_budget=CONTEXT_TOKENS,
            with_quotes=True,
            earlier_answers=earlier_answers,
        )
    )


def test_a_question_is_answered_by_the_authors_own_passages(
    imported: ImportedHome, imported_home: Settings, tables: Tables
) -> None:
    assert imported.metadata["embeddings"]["computed"] == POST_COUNT
    result = ask(imported_home, "How do I carry a clock?").quote_result
    assert result is not None
    assert result.best_score >= result.threshold == MIN_EVIDENCE
    assert 2 <= len(result.quotes) <= MAX_QUOTES
    assert result.quotes[0].title == "How to carry a clock"
    assert result.languages == ("en",)
    texts = dict(tables.read("cleaned_documents", MARA).select("document_id", "text").iter_rows())
    for quote in result.quotes:
        assert texts[quote.document_id][quote.start : quote.end] == quote.text

    opening = render_quotes(result.quotes).text
    further = ask(imported_home, "How do I carry a clock?", earlier_answers=(opening,)).quote_result
    assert further is not None
    assert further.quotes
    assert further.quotes[0].text not in {quote.text for quote in result.quotes}

    declined = ask(imported_home, "What is the capital of France?").quote_result
    assert declined is not None
    assert declined.quotes == ()
    assert declined.reason == ""
    assert declined.best_score < declined.threshold
    assert run_assets()["embeddings"]["computed"] == 0


def test_a_rare_word_in_three_passages_is_evidence(
    imported: ImportedHome, imported_home: Settings
) -> None:
    """Nothing near the question is in the posts, but the word is."""
    for number, post in enumerate(sorted(imported.posts.iterdir())[:3]):
        with post.open("a", encoding="utf-8") as file:
            file.write(f"\n\nThe zanzibar lemma says {number} of what it hides.\n")
    run_assets()
    result = ask(imported_home, "What does the zanzibar lemma say?").quote_result
    assert result is not None
    assert "zanzibar lemma says" in result.quotes[0].text


def test_only_an_edited_post_is_embedded_again(imported: ImportedHome, tables: Tables) -> None:
    post = max(imported.posts.iterdir())
    with post.open("a", encoding="utf-8") as file:
        file.write("\nA last line was added to it in the evening, after the shop had closed.\n")
    assert run_assets()["embeddings"]["computed"] == 1
    rows = tables.read("embeddings", MARA, where="text LIKE '%after the shop had closed.'")
    assert rows.height > 0


def test_old_vectors_answer_until_the_new_embedder_is_complete(
    imported_home: Settings, tables: Tables, embedder: Embedder
) -> None:
    new_embedder = prepare_renamed_embedder(imported_home)
    settings = imported_home.model_copy(update={"embedder": "another"})
    before = ask(settings, "How do I carry a clock?")
    progress = SyncProgressLogger(lambda _: None, "again")
    passages.update_embeddings(tables, MARA, new_embedder, progress=progress)
    update_indexes(tables, MARA, language="en")
    after = ask(settings, "How do I carry a clock?")
    assert (before.embedder, after.embedder) == (embedder.revision, new_embedder.revision)
    assert before.quote_result is not None
    assert before.quote_result.quotes
    assert after.quote_result is not None
    assert [quote.text for quote in before.quote_result.quotes] == [
        quote.text for quote in after.quote_result.quotes
    ]


def prepare_renamed_embedder(home: Settings) -> Embedder:
    """Prepare the same model under another name and revision, with equal vectors."""
    source, manifest = find_prepared_embedder(home)
    revision = "0" * len(manifest.revision)
    target = home.weights_dir / "another"
    shutil.copytree(source, target / revision)
    renamed = {**asdict(manifest), "embedder": "another", "revision": revision}
    (target / revision / "embedder.json").write_text(json.dumps(renamed))
    (target / "current.json").write_text(json.dumps({"revision": revision}))
    return load_embedder(home.model_copy(update={"embedder": "another"}), allow_gpu=False)
