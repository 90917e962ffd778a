"""Test retrieval from real tables: results, exclusions and changes of a table."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from lancedb.background_loop import BackgroundEventLoop

from tests.stored_passages import build_passages, store_passages
from tests.stored_rows import store_rows
from twin_resources.errors import TwinError
from twin_resources.models.embedder.embedder import Embedder
from twin_resources.models.retrieval import retrieval
from twin_resources.models.retrieval.index import update_indexes
from twin_resources.models.retrieval.retrieval import RetrievalQuery, RetrievalResult, Retriever
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables

POSTS = {
    "heap": "A binary heap keeps its smallest element at the root and repairs itself in log time.",
    "bread": "A sourdough starter wants flour, water and patience; mine is called Bertha.",
    "river": "In March the river floods the lower fields and the herons move in.",
    "regex": "Backtracking regular expressions can take exponential time on hostile input.",
    "comet": "The comet returns every seventy-six years and people point telescopes at it.",
    "sort": "Quicksort partitions around a pivot; a bad pivot makes it quadratic.",
}


def build_rows(posts: dict[str, str], embedder: Embedder) -> pl.DataFrame:
    rows: list[dict[str, Any]] = [
        {
            "chunk_id": f"{name}-0",
            "document_id": name,
            "title": name.title(),
            "url": f"https://example.org/{name}",
            "published_at": None if name == "undated" else datetime(2010 + index, 6, 1, tzinfo=UTC),
            "text": text,
        }
        for index, (name, text) in enumerate(posts.items())
    ]
    return build_passages(rows, embedder)


def store_posts(tables: Tables, author: str, posts: dict[str, str], embedder: Embedder) -> None:
    store_passages(tables, author, build_rows(posts, embedder))


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Retriever:
    """Return a retriever over ada's posts for tests that only read."""
    folder = tmp_path_factory.mktemp("posts-that-stay")
    tables = Tables(str(folder / "tables"), state=State.open(f"sqlite:///{folder}/state.sqlite"))
    store_posts(tables, "ada", POSTS, embedder)
    return Retriever(tables.base_uri, embedder)


@pytest.fixture
def own_retriever(tables: Tables, embedder: Embedder) -> Retriever:
    """Return a retriever over ada's posts in `tables`, which the test changes."""
    store_posts(tables, "ada", POSTS, embedder)
    return Retriever(tables.base_uri, embedder)


def find_documents(retriever: Retriever, question: str, **options: Any) -> list[str]:
    result = retriever.retrieve("ada", question, **options)
    return [passage.document_id for passage in result.passages]


def test_a_question_on_an_unchanged_table_is_answered_from_memory(
    retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = find_documents(retriever, "How is a clock oiled?")
    monkeypatch.setattr(BackgroundEventLoop, "run", None)
    assert find_documents(retriever, "How is a clock oiled?") == expected


def test_a_post_is_found_by_its_title(
    own_retriever: Retriever, tables: Tables, embedder: Embedder
) -> None:
    # No text contains the title, and other posts contain its words more often.
    posts = POSTS | {
        "the-long-wait": "Nothing happened until four, and then the kettle boiled.",
        "waiting": "The wait was long. A long wait is long because one waits, and waits, so long.",
        "queues": "The wait in a queue is long; the longer the wait, the longer the queue.",
    }
    titles = {"the-long-wait": "The long wait"}
    rows = build_rows(posts, embedder).with_columns(
        pl.col("document_id").replace_strict(titles, default=pl.col("title")).alias("title")
    )
    store_passages(tables, "ada", rows)
    for question in ("Can you tell me more about “The Long Wait”?", "the long wait"):
        assert find_documents(own_retriever, question)[0] == "the-long-wait"
    assert find_documents(own_retriever, "How long is the wait in a queue?", limit=1) == ["queues"]


def test_a_passage_has_the_fields_of_a_citation(retriever: Retriever) -> None:
    result = retriever.retrieve("ada", "Who is Bertha?", limit=2)
    best = result.passages[0]
    assert best.chunk_id == "bread-0"
    assert best.title == "Bread"
    assert best.url == "https://example.org/bread"
    assert best.published_at == datetime(2011, 6, 1, tzinfo=UTC)
    assert best.text == POSTS["bread"]
    assert best.score > result.passages[1].score > 0
    assert result.reason == ""
    assert result.vector.shape == (384,)


def test_a_passage_has_its_similarity_to_the_question(
    retriever: Retriever, embedder: Embedder
) -> None:
    question = "Who is Bertha?"
    question_vector = embedder.embed([question])[0]
    single = retriever.retrieve("ada", question)
    [batched] = retrieve_repeated(retriever, [RetrievalQuery(question)])
    for result in (single, batched):
        passages = {passage.document_id: passage for passage in result.passages}
        heading = f"{passages['bread'].title}\n\n{passages['bread'].text}"
        texts = [passages["bread"].text, heading]
        cosines = [float(np.dot(question_vector, vector)) for vector in embedder.embed(texts)]
        assert any(
            passages["bread"].cosine == pytest.approx(cosine, abs=0.03) for cosine in cosines
        )
        assert passages["bread"].cosine == max(passage.cosine for passage in result.passages)


def test_newer_and_excluded_passages_are_omitted(retriever: Retriever) -> None:
    question = "Is quicksort ever quadratic?"
    assert find_documents(retriever, question)[0] == "sort"
    older = find_documents(
        retriever, question, published_before=datetime(2013, 6, 1, tzinfo=UTC), limit=10
    )
    assert set(older) == {"heap", "bread", "river", "regex"}
    assert "sort" not in find_documents(retriever, question, exclude=["sort-0", "it's-0"], limit=10)
    assert (
        find_documents(retriever, question, published_before=datetime(1999, 1, 1, tzinfo=UTC)) == []
    )


def test_a_post_without_a_date_may_be_newer(
    own_retriever: Retriever, tables: Tables, embedder: Embedder
) -> None:
    store_posts(tables, "ada", POSTS | {"undated": "Merge sort is never quadratic."}, embedder)
    question, end = "Is merge sort quadratic?", datetime(2030, 1, 1, tzinfo=UTC)
    assert find_documents(own_retriever, question)[0] == "undated"
    assert "undated" not in find_documents(own_retriever, question, published_before=end)
    [batched] = retrieve_repeated(own_retriever, [RetrievalQuery(question, published_before=end)])
    assert "undated" not in {passage.document_id for passage in batched.passages}


def test_the_passages_fit_the_budget(retriever: Retriever, embedder: Embedder) -> None:
    everything = retriever.retrieve("ada", "sort the heap", limit=10, token_budget=1000).passages
    assert len(everything) == len(POSTS)
    budget = everything[0].token_count + everything[1].token_count
    passages = retriever.retrieve("ada", "sort the heap", token_budget=budget).passages
    assert sum(passage.token_count for passage in passages) <= budget
    assert passages[0] == everything[0]
    assert retriever.retrieve("ada", "sort the heap", token_budget=3).passages == ()


def test_other_authors_texts_are_not_found(
    own_retriever: Retriever, tables: Tables, embedder: Embedder
) -> None:
    store_posts(tables, "bob", {"secret": "The launch code is written under the bench."}, embedder)
    question = "Where is the launch code?"
    assert "secret" not in find_documents(own_retriever, question, limit=10)
    assert own_retriever.retrieve("bob", question).passages[0].document_id == "secret"
    for author in ("../bob", "ada/../bob", "", "Bob"):
        with pytest.raises(TwinError, match="slug"):
            own_retriever.retrieve(author, question)


def test_a_new_version_of_the_table_is_used_immediately(
    own_retriever: Retriever, tables: Tables, embedder: Embedder
) -> None:
    question = "When do the tulips open?"
    assert "tulips" not in find_documents(own_retriever, question, limit=10)
    posts = {name: text for name, text in POSTS.items() if name != "comet"}
    store_posts(
        tables, "ada", posts | {"tulips": "The tulips open in the last week of April."}, embedder
    )
    assert find_documents(own_retriever, question, limit=1) == ["tulips"]
    assert "comet" not in find_documents(own_retriever, "When does the comet return?", limit=10)


def test_unindexed_rows_are_found(
    own_retriever: Retriever, tables: Tables, embedder: Embedder
) -> None:
    rows = build_rows(POSTS | {"zymurgy": "Zymurgy is the study of fermentation."}, embedder)
    store_rows(tables, "embeddings", "ada", rows, key="chunk_id")
    assert find_documents(own_retriever, "zymurgy", limit=1) == ["zymurgy"]


def test_a_missing_table_gives_a_reason_and_creates_no_folder(
    tables: Tables, embedder: Embedder
) -> None:
    result = Retriever(tables.base_uri, embedder).retrieve("nobody", "Why?")
    assert result.passages == ()
    assert "nobody has no embeddings yet" in result.reason
    assert result.vector is None, "the question was embedded"
    assert not (Path(tables.base_uri) / "nobody").exists()


def test_a_recreated_table_is_opened_again(
    own_retriever: Retriever, tables: Tables, embedder: Embedder, tmp_path: Path
) -> None:
    import shutil

    assert find_documents(own_retriever, "Who is Bertha?", limit=1) == ["bread"]
    shutil.rmtree(Path(tables.base_uri) / "ada")
    assert own_retriever.retrieve("ada", "Who is Bertha?").reason != ""
    store_posts(tables, "ada", {"bread": "My starter is called Bertha now too."}, embedder)
    assert find_documents(own_retriever, "Who is Bertha?", limit=1) == ["bread"]


def test_vectors_of_another_embedder_are_not_searched(
    own_retriever: Retriever, tables: Tables, embedder: Embedder
) -> None:
    assert find_documents(own_retriever, "Who is Bertha?", limit=1) == ["bread"]
    rows = build_rows(POSTS, embedder).with_columns(embedder=pl.lit("old"))
    store_rows(tables, "embeddings", "ada", rows, key="chunk_id")
    result = own_retriever.retrieve("ada", "Who is Bertha?")
    assert result.passages == ()
    assert "are from embedder old" in result.reason


@pytest.mark.parametrize("question", ["", "???", "the", "a AND (b OR", 'say "Bertha', "naïve 李"])
def test_any_text_is_a_valid_question(retriever: Retriever, question: str) -> None:
    assert len(find_documents(retriever, question, limit=10)) == len(POSTS)


def test_batched_questions_find_the_same_passages(retriever: Retriever) -> None:
    queries = [
        RetrievalQuery("Who is Bertha?"),
        RetrievalQuery(
            "Is quicksort ever quadratic?", published_before=datetime(2013, 6, 1, tzinfo=UTC)
        ),
        RetrievalQuery("Which birds come after the flood?", exclude=("river-0",)),
    ]
    # From 32 questions on, the vectors are read into memory once.
    for results in (retriever.retrieve_many("ada", queries), retrieve_repeated(retriever, queries)):
        for query, result in zip(queries, results, strict=True):
            single = retriever.retrieve(
                "ada",
                query.question,
                published_before=query.published_before,
                exclude=query.exclude,
            )
            assert single.passages == result.passages
            assert np.array_equal(single.vector, result.vector)


def retrieve_repeated(retriever: Retriever, queries: list[RetrievalQuery]) -> list[RetrievalResult]:
    return retriever.retrieve_many("ada", queries * 20)[: len(queries)]


def test_documents_can_be_left_out(retriever: Retriever) -> None:
    query = RetrievalQuery("Who is Bertha?", exclude_documents={"bread"})
    for result in [
        *retriever.retrieve_many("ada", [query], limit=10),
        *retrieve_repeated(retriever, [query]),
    ]:
        assert result.passages
        assert "bread" not in {passage.document_id for passage in result.passages}


def test_threads_find_posts_by_meaning_and_by_words(retriever: Retriever) -> None:
    questions = [
        "Who is Bertha?",
        "Is quicksort ever quadratic?",
        "hostile regular expressions",
        "Which birds come after the flood?",
    ] * 8
    with ThreadPoolExecutor(8) as pool:
        best = list(
            pool.map(lambda question: find_documents(retriever, question, limit=1), questions)
        )
    assert best == [["bread"], ["sort"], ["regex"], ["river"]] * 8


def test_words_of_a_language_without_spaces_are_indexed(tables: Tables, embedder: Embedder) -> None:
    posts = {"tea": "我喜欢在早上喝绿茶。", "train": "火车站离我家很远。"}
    store_posts(tables, "li", posts, embedder)
    index_names = update_indexes(tables, "li", language="zh")
    assert index_names == ("chunk_id", "document_id", "indexed_text_words")
    result = Retriever(tables.base_uri, embedder).retrieve("li", "火车站", limit=1)
    assert result.passages[0].document_id == "train"


DIARY = (
    "On Monday the boat left the harbour with nine people and a goat.",
    "The goat ate the captain's almanac before noon.",
    "So nobody knew about the tide, and the boat stood in the mud until Tuesday.",
    "On Wednesday everybody was home.",
)


@pytest.mark.parametrize("in_memory", [True, False])
def test_the_passages_that_follow_are_read(
    own_retriever: Retriever,
    tables: Tables,
    embedder: Embedder,
    monkeypatch: pytest.MonkeyPatch,
    in_memory: bool,
) -> None:
    if not in_memory:
        monkeypatch.setattr(retrieval, "MIN_INDEXED_ROWS", 0)
    days = build_rows({f"day{index}": text for index, text in enumerate(DIARY)}, embedder)
    days = days.with_columns(
        pl.lit("diary").alias("document_id"),
        pl.int_range(pl.len()).cast(pl.Int64).alias("position"),
    )
    store_passages(tables, "ada", pl.concat([build_rows(POSTS, embedder), days]))
    result = own_retriever.retrieve("ada", "What did the goat eat?", limit=1)
    assert [passage.chunk_id for passage in result.passages] == ["day1-0"]
    following = own_retriever.read_following("ada", result.passages[0])
    assert [passage.text for passage in following] == list(DIARY[2:])
    assert own_retriever.read_following("ada", following[-1]) == []


def test_a_word_of_one_post_is_evidence(retriever: Retriever) -> None:
    """No passage is near the question, but one has its rare word."""
    evidence = [
        max(passage.evidence for passage in retriever.retrieve("ada", question).ranked)
        for question in ("What does Bertha eat?", "What does Harold eat?")
    ]
    assert evidence[0] > evidence[1] + 0.1


def test_the_words_of_another_are_not_found(
    own_retriever: Retriever, tables: Tables, embedder: Embedder
) -> None:
    """A turn of an interview is a block quotation; beside an answer, a short one is kept."""
    words = "Harold the heron eats nothing but pickled gherkins on Fridays."
    posts = {
        **POSTS,
        "interview": f"> **Bob Roe:** {words}",
        "answer": f"> **Bob Roe:** And Harold?\n\n{words} I have seen it twice, and wrote it down.",
    }
    store_passages(tables, "ada", build_rows(posts, embedder))
    ranked = own_retriever.retrieve("ada", "What does Harold the heron eat on Fridays?").ranked
    assert ranked[0].document_id == "answer"
    assert "interview" not in {passage.document_id for passage in ranked}
