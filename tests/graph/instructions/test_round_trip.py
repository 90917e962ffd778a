"""Test that a question is measured once, and replaced if it does not find its post."""

from __future__ import annotations

import polars as pl
import pytest

from tests.graph.instructions.conftest import ADA, TWELVE_POSTS, FinishedRun
from twin_assets.instructions import round_trip
from twin_assets.instructions.dataset_building import update_dataset
from twin_resources.errors import TwinError
from twin_resources.models.retrieval.retrieval import RetrievalQuery, Retriever
from twin_resources.storage.tables.tables import Tables

DOCUMENT_IDS = [f"doc-{number:03d}" for number in TWELVE_POSTS]


def build_samples(question: str) -> pl.DataFrame:
    """Build one sample for each post, all with the same question."""
    return pl.DataFrame(
        {"sample_id": [f"of-{name}" for name in DOCUMENT_IDS], "document_id": DOCUMENT_IDS}
    ).with_columns(question=pl.lit(question))


def test_ranks_are_measured_once(retriever: Retriever, tables: Tables) -> None:
    rows = tables.read("instruction_dataset", "ada", where="document_id = 'doc-004'")
    question = " ".join(rows["answer"][0].split()[:40])
    initial = round_trip.update_ranks(tables, "ada", build_samples(question), retriever=retriever)
    ranks = dict(
        tables.read(round_trip.RANKS_TABLE, "ada", columns=["document_id", "rank"]).iter_rows()
    )
    assert ranks["doc-004"] == 1
    assert sorted(ranks.values()) == list(range(1, 13))
    assert initial.failed_sample_ids == {f"of-{name}" for name, rank in ranks.items() if rank > 5}
    assert list(initial.vectors) == [question]

    result = round_trip.update_ranks(tables, "ada", build_samples(question), retriever=retriever)
    assert result.failed_sample_ids == initial.failed_sample_ids
    assert not result.vectors


def test_a_stored_vector_finds_the_same_passages(
    retriever: Retriever, twelve_posts: FinishedRun
) -> None:
    question = "What can you tell me about the harbour?"
    vector = retriever.embed_questions([question])[0]
    queries = [RetrievalQuery(question, vector=vector), RetrievalQuery(question)]
    by_vector, by_question = retriever.retrieve_many("ada", queries)
    assert by_vector.vector is vector
    assert by_question.vector is not vector
    assert [passage.chunk_id for passage in by_vector.nearest] == [
        passage.chunk_id for passage in by_question.nearest
    ]
    opposite = RetrievalQuery(question, vector=-vector)  # The vector matters, not only the words.
    (by_opposite,) = retriever.retrieve_many("ada", [opposite])
    assert [passage.chunk_id for passage in by_opposite.nearest] != [
        passage.chunk_id for passage in by_vector.nearest
    ]


def test_a_question_that_does_not_find_its_post_is_replaced(
    retriever: Retriever, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    original_rows = tables.read("instruction_dataset", "ada").sort("sample_id")
    questions = original_rows.filter(pl.col("instruction_source") != "template:continuation")
    assert questions.height == questions["document_id"].n_unique() > 10  # one title per post
    monkeypatch.setattr(round_trip, "MAX_POST_RANK", 0)
    update_dataset(tables, ADA, retriever=retriever)
    new_rows = tables.read("instruction_dataset", "ada").sort("sample_id")
    assert set(new_rows["instruction_source"]) == {"template:continuation"}
    assert new_rows["answer"].equals(original_rows["answer"])
    for question, answer in new_rows.select("question", "answer").iter_rows():
        opening = question.removeprefix("Write on from this beginning: “").rstrip("”").rstrip(" …")
        assert answer.startswith(opening)


def test_a_post_without_passages_is_reported(retriever: Retriever, tables: Tables) -> None:
    unknown = build_samples("Why?").with_columns(document_id=pl.lit("doc-999"))
    with pytest.raises(TwinError, match="no passages from 1 posts"):
        round_trip.update_ranks(tables, "ada", unknown, retriever=retriever)
