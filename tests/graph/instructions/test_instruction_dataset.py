"""Test that the checks pass for a dataset built from posts, and fail if it is changed."""

from __future__ import annotations

import polars as pl
import pytest

from tests.graph.instructions.conftest import ADA, FinishedRun, Graph, open_tables
from tests.graph.instructions.generated_posts import build_documents, store_documents, store_posts
from tests.stored_rows import store_rows
from twin_assets.instructions.dataset_building import update_dataset
from twin_assets.instructions.instruction_tables import InstructionDataset
from twin_resources.authors import write_author
from twin_resources.errors import TwinError
from twin_resources.models.embedder.embedder import Embedder
from twin_resources.models.retrieval.retrieval import Retriever
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables


def test_posts_become_samples(home_with_embedder: Settings) -> None:
    write_author(home_with_embedder, ADA)
    tables = open_tables(home_with_embedder)
    store_documents(tables, build_documents(range(40)))
    metadata, checks = Graph().materialize()
    assert all(checks.values())
    assert {
        "every_answer_is_the_authors",
        "no_answer_holds_quoted_text",
        "no_leakage_across_splits",
        "every_sample_names_its_chunk",
        "no_context_gives_the_answer_away",
        "prompt_renders_fully",
        "coverage",
        "every_passage_is_searchable",
    } <= checks.keys()
    assert metadata["splits"]["train"] >= 150
    assert metadata["splits"]["held_out"] >= 40

    rows = tables.read("instruction_dataset", "ada")
    InstructionDataset.validate(rows, cast=True)
    assert set(rows["template"]) == {DEFAULT_TEMPLATE.hash}
    assert rows["question"].n_unique() == rows.height
    without_context_count = rows.filter(pl.col("context_chunk_ids").list.len() == 0).height
    assert 0.1 < without_context_count / rows.height < 0.35
    sample = rows.filter(pl.col("context_chunk_ids").list.len() > 1).to_dicts()[0]
    system, user, answer = sample["messages"]
    assert "Ada Wright" in system["content"]
    assert user["content"].endswith(f"Question: {sample['question']}")
    assert answer == {"role": "assistant", "content": sample["answer"]}
    chunks = tables.read(
        "embeddings", "ada", where=f"chunk_id = '{sample['context_chunk_ids'][0]}'"
    )
    assert f"[1] {chunks['title'][0]}" in user["content"]
    assert chunks["text"][0].strip() in user["content"]


@pytest.mark.long
def test_a_second_run_computes_nothing_and_uses_no_teacher_without_consent(
    graph: Graph, twelve_posts: FinishedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not ADA.consent
    monkeypatch.setenv("TWIN_TEACHER_MODEL", "openai/gpt-4o-mini")
    monkeypatch.delenv("OPENAI_API_BASE", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    first_metadata = twelve_posts.metadata
    metadata, checks = graph.materialize()
    assert metadata["teacher_not_asked"] == "no line `consent` in authors/ada.toml"
    assert metadata["data_version"] == first_metadata["data_version"]
    assert (metadata["computed"], metadata["written"], metadata["deleted"]) == (0, 0, 0)
    assert metadata["bytes_written"] == 0
    assert metadata["lance_version"] == first_metadata["lance_version"]
    assert all(checks.values())


@pytest.mark.long
def test_each_check_fails_on_a_dataset_that_violates_it(graph: Graph, tables: Tables) -> None:
    rows = tables.read("instruction_dataset", "ada")
    train = rows.filter(pl.col("split") == "train")
    held_out = rows.filter(pl.col("split") == "held_out")
    train_id, held_out_id = train["sample_id"][0], held_out["sample_id"][0]
    is_chosen = pl.col("sample_id") == train_id
    paraphrased = pl.when(is_chosen).then(pl.lit("Not the author's words.")).otherwise("answer")
    own_chunk = rows.filter(is_chosen)["chunk_id"][0]
    other_rows = rows.filter(pl.col("document_id") != rows.filter(is_chosen)["document_id"][0])
    unrendered_rows = rows.with_columns(
        messages=pl.Series(
            "messages",
            [
                [
                    {**part, "content": part["content"].replace(question, "{question}")}
                    for part in messages
                ]
                for question, messages in rows.select("question", "messages").iter_rows()
            ],
            dtype=rows.schema["messages"],
        )
    )
    violations = {
        "prompt_renders_fully": unrendered_rows,
        "coverage": rows.filter(pl.col("document_id") != train["document_id"][0]),
        "every_answer_is_the_authors": rows.with_columns(paraphrased.alias("answer")),
        "no_leakage_across_splits": rows.with_columns(
            pl.when(pl.col("sample_id") == held_out_id)
            .then(pl.lit("train"))
            .otherwise("split")
            .alias("split")
        ),
        "every_sample_names_its_chunk": rows.with_columns(
            pl.when(is_chosen)
            .then(pl.lit(other_rows["chunk_id"][0]))
            .otherwise("chunk_id")
            .alias("chunk_id")
        ),
        "no_context_gives_the_answer_away": rows.with_columns(
            pl.when(is_chosen)
            .then(pl.lit([own_chunk]))
            .otherwise("context_chunk_ids")
            .alias("context_chunk_ids")
        ),
    }
    for claim, violating_rows in violations.items():
        assert not graph.check_rows(tables, violating_rows)[claim], claim
    valid_checks = graph.check_rows(tables, rows)
    assert valid_checks == dict.fromkeys([*violations, "no_answer_holds_quoted_text"], True)


def test_an_answer_with_quoted_text_fails_the_check(graph: Graph, tables: Tables) -> None:
    """The imported post marks the answer as a quotation, but its document does not."""
    rows = tables.read("instruction_dataset", "ada")
    sample = rows.filter(pl.col("split") == "train").row(0, named=True)
    names = tables.read("cleaned_documents", "ada", columns=["document_id", "source_id", "text"])
    text_with_quotation = (
        pl.when(pl.col("document_id") == sample["document_id"])
        .then(pl.col("text").str.replace(sample["answer"], "> " + sample["answer"], literal=True))
        .otherwise("text")
    )
    store_posts(tables, names.select("source_id", text_with_quotation.alias("text")))
    checks = graph.check_rows(tables, rows)
    assert [name for name, passed in checks.items() if not passed] == [
        "no_answer_holds_quoted_text"
    ]
    store_posts(tables, names.select("source_id", "text").head(3))
    assert not graph.check_rows(tables, rows)["no_answer_holds_quoted_text"]


@pytest.mark.parametrize("question", ["What do you think?", ""], ids=["constant", "empty"])
def test_a_constant_question_fails_the_check(graph: Graph, tables: Tables, question: str) -> None:
    rows = tables.read("instruction_dataset", "ada")
    checks = graph.check_rows(tables, rows.with_columns(pl.lit(question).alias("question")))
    assert not checks["no_leakage_across_splits"]
    assert checks["every_answer_is_the_authors"]
    assert checks["coverage"]


@pytest.mark.long
def test_a_document_that_changed_its_split_fails_the_check(graph: Graph, tables: Tables) -> None:
    rows = tables.read("instruction_dataset", "ada")
    document_id = rows.filter(pl.col("split") == "held_out")["document_id"][0]
    training_split = (
        pl.when(pl.col("document_id") == document_id).then(pl.lit("train")).otherwise("split")
    )
    moved_rows = rows.with_columns(training_split.alias("split"))
    splits = tables.read("document_splits", "ada")
    moved_splits = splits.with_columns(training_split.alias("split"))
    for stored, is_valid in ((moved_splits, False), (splits, True)):
        store_rows(tables, "document_splits", "ada", stored, key="document_id")
        checks = graph.check_rows(tables, rows if is_valid else moved_rows)
        assert checks["no_leakage_across_splits"] is is_valid


@pytest.mark.long
def test_short_posts_yield_samples_and_posts_without_prose_are_reported(
    graph: Graph, tables: Tables
) -> None:
    toot = "The winch and the walrus are one and the same thing today"
    code = "```python\nturn(wheel)\n```"
    store_documents(tables, build_documents(range(12), doc_3=toot, doc_5=code))
    metadata, checks = graph.materialize()
    assert all(checks.values())
    rows = tables.read("instruction_dataset", "ada", where="document_id = 'doc-003'")
    assert rows["answer"].to_list() == [toot]
    (coverage,) = [
        evaluation.metadata
        for evaluation in metadata["evaluations"]
        if evaluation.check_name == "coverage"
    ]
    assert coverage["without"].value == {"no_prose": 1}
    assert coverage["with_samples"].value == 11


def test_outdated_embeddings_are_an_error(home_with_embedder: Settings, embedder: Embedder) -> None:
    tables = open_tables(home_with_embedder)
    store_documents(tables, build_documents(range(3)))
    with pytest.raises(TwinError, match="embeddings"):
        update_dataset(tables, ADA, retriever=Retriever(home_with_embedder.tables_base, embedder))
