"""Test that added, edited and deleted posts change only their part of the dataset."""

from __future__ import annotations

import random

import polars as pl
import pytest

from tests.graph.instructions.conftest import TWELVE_POSTS, FinishedRun, Graph
from tests.graph.instructions.generated_posts import (
    build_documents,
    build_paragraph,
    build_post,
    store_documents,
)
from twin_resources.storage.tables.tables import Tables


def test_only_samples_of_new_posts_are_computed(
    graph: Graph, tables: Tables, twelve_posts: FinishedRun
) -> None:
    old_metadata = twelve_posts.metadata
    old_rows = tables.read("instruction_dataset", "ada")
    store_documents(tables, build_documents(range(14)))
    metadata, checks = graph.materialize()
    new_rows = tables.read("instruction_dataset", "ada")
    assert all(checks.values())
    assert metadata["data_version"] != old_metadata["data_version"]
    new_sample_count = new_rows.filter(pl.col("document_id") >= "doc-012").height
    assert new_sample_count > 10
    assert metadata["computed"] == new_sample_count
    unaffected_rows = new_rows.filter(pl.col("document_id") < "doc-012")
    assert unaffected_rows.equals(old_rows)


@pytest.mark.long
def test_an_edited_post_keeps_its_split_and_its_other_samples(graph: Graph, tables: Tables) -> None:
    old_rows = tables.read("instruction_dataset", "ada")
    text = build_post(4)
    edited = text.replace(text.split("\n\n")[-1], build_paragraph(random.Random(99), "new wheel"))
    store_documents(tables, build_documents(TWELVE_POSTS, doc_4=edited))
    metadata, checks = graph.materialize()
    new_rows = tables.read("instruction_dataset", "ada")
    assert all(checks.values())
    is_edited_post = pl.col("document_id") == "doc-004"
    removed = set(old_rows["sample_id"]) - set(new_rows["sample_id"])
    added = set(new_rows["sample_id"]) - set(old_rows["sample_id"])
    assert len(removed) == len(added) == 1
    # The edit may change which samples are left out, but not the split of the document.
    splits = set(old_rows.filter(is_edited_post)["split"]) - {"left_out"}
    assert set(new_rows.filter(is_edited_post)["split"]) - {"left_out"} == splits
    assert len(splits) == 1
    assert 1 <= metadata["computed"] < new_rows.height / 2


def test_a_deleted_post_is_removed_from_all_prompts(graph: Graph, tables: Tables) -> None:
    context_before = (
        tables.read("instruction_dataset", "ada")["context_chunk_ids"].explode().drop_nulls()
    )
    deleted_id = str(context_before.value_counts(sort=True)["context_chunk_ids"][0])[
        : len("doc-000")
    ]
    store_documents(
        tables, build_documents(TWELVE_POSTS).filter(pl.col("document_id") != deleted_id)
    )
    _, checks = graph.materialize()
    assert all(checks.values())
    rows = tables.read("instruction_dataset", "ada")
    context_after = rows["context_chunk_ids"].explode().drop_nulls()
    assert deleted_id not in {chunk[: len(deleted_id)] for chunk in context_after.to_list()}
    assert deleted_id not in set(rows["document_id"])
    # Its split is stored in case the post returns.
    assert deleted_id in set(tables.read("document_splits", "ada")["document_id"])
    metadata, _ = graph.materialize()
    assert metadata["computed"] == 0


@pytest.mark.long
def test_a_training_context_that_became_held_out_is_searched_again(
    graph: Graph, tables: Tables
) -> None:
    rows = tables.read("instruction_dataset", "ada")
    chunks = tables.read("embeddings", "ada", columns=["chunk_id", "published_at"])
    held_out = (
        rows.filter(pl.col("split") == "held_out").select("chunk_id").join(chunks, on="chunk_id")
    )
    chunk, published_at = held_out.sort("published_at").row(0)
    later_rows = rows.filter((pl.col("split") == "train") & (pl.col("published_at") > published_at))
    sample_id = later_rows.filter(pl.col("context_chunk_ids").list.len() > 0)["sample_id"][0]
    is_chosen = pl.col("sample_id") == sample_id
    context = pl.when(is_chosen).then(pl.lit([chunk])).otherwise("context_chunk_ids")
    leaking_rows = rows.with_columns(context.alias("context_chunk_ids"))
    assert not graph.check_rows(tables, leaking_rows)["no_leakage_across_splits"]
    _, checks = graph.materialize()
    assert all(checks.values())
    assert tables.read("instruction_dataset", "ada").equals(rows)
