"""Bring the tables of the instruction stage up to date, in order.

Scope: reading and writing `document_splits`, `instruction_drafts` and `instruction_dataset`. Out of
scope: the decisions (`splits.py`, `drafts.py`, `contexts.py`, `leakage.py`, `round_trip.py`),
rendering (`sample_rows.py`), a teacher's questions (`teacher_questions.py`), Dagster.

Method: architecture.md. Samples are planned from narrow columns, and only samples whose plan
changed are rendered. A run with no new data reads ids, questions and dates, and writes nothing.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.corpus.corpus_tables import column_types, validate_rows
from twin_assets.instructions import (
    contexts,
    drafts,
    leakage,
    round_trip,
    splits,
    teacher_questions,
)
from twin_assets.instructions.back_translation import CONTINUATION, is_fluent_question
from twin_assets.instructions.instruction_tables import (
    DocumentSplits,
    InstructionDataset,
    InstructionDrafts,
)
from twin_assets.instructions.sample_rows import render_rows
from twin_resources.prompt.control_marks import COMMON_MARKS, ControlMarks
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.storage.tables.rows_by_id import read_by_id

if TYPE_CHECKING:
    from twin_assets.instructions.teacher import Teacher
    from twin_assets.instructions.teacher_questions import TeacherResult
    from twin_resources.authors import Author
    from twin_resources.models.retrieval.retrieval import Retriever
    from twin_resources.storage.tables.tables import SyncResult, Tables

DATASET_VERSION = "1"


def update_splits(tables: Tables, author: str) -> pl.DataFrame:
    """Draw a split for every kept document without one; return `document_id`, `split`.

    Rows of deleted documents are kept, so that a document that returns gets the same split.
    """
    stored_rows = pl.DataFrame(schema=column_types(DocumentSplits))
    if tables.exists("document_splits", author):
        stored_rows = tables.read("document_splits", author)
    kept_documents = tables.read(
        "cleaned_documents",
        author,
        columns=["document_id", "published_at", "source", "source_id"],
        where="kept",
    )
    subjects = {
        document_id: splits.name_subject(source, source_id)
        for document_id, source, source_id in kept_documents.select(
            "document_id", "source", "source_id"
        ).iter_rows()
    }
    new_documents = kept_documents.join(stored_rows, on="document_id", how="anti")
    texts = dict(
        read_by_id(
            tables,
            "cleaned_documents",
            author,
            "document_id",
            new_documents["document_id"],
            ["document_id", "text"],
        ).iter_rows()
    )
    existing_splits = [
        splits.SplitRow(row["document_id"], row["split"], row["because"], tuple(row["sketch"]))
        for row in stored_rows.to_dicts()
    ]
    documents = [
        splits.SplitDocument(
            row["document_id"],
            row["published_at"],
            texts[row["document_id"]],
            subjects[row["document_id"]],
        )
        for row in new_documents.to_dicts()
    ]
    new_rows = [
        {**vars(split_row), "sketch": list(split_row.sketch)}
        for split_row in splits.draw_splits(
            documents, existing_rows=existing_splits, subjects=subjects
        )
    ]
    rows = pl.concat([stored_rows, pl.DataFrame(new_rows, schema=column_types(DocumentSplits))])
    tables.sync(
        rows,
        "document_splits",
        author=author,
        key="document_id",
        function=lambda frame: validate_rows(frame, DocumentSplits),
        version="1",
        schema=column_types(DocumentSplits),
        row_key="document_id",
    )
    return rows.select("document_id", "split")


def update_drafts(tables: Tables, author: str) -> SyncResult:
    """Draft the passages of new and changed documents."""
    return tables.sync(
        tables.read("cleaned_documents", author, columns=drafts.DOCUMENT_COLUMNS),
        "instruction_drafts",
        author=author,
        key="document_id",
        function=drafts.draft_documents,
        version=drafts.DRAFTS_VERSION,
        schema=column_types(InstructionDrafts),
        row_key="sample_id",
    )


def update_dataset(
    tables: Tables,
    author: Author,
    *,
    retriever: Retriever,
    teacher: Teacher | None = None,
    marks: ControlMarks = COMMON_MARKS,
    log: Callable[[str], object] = lambda _line: None,
) -> tuple[SyncResult, TeacherResult | None]:
    """Bring all tables up to date; return the changes to the dataset, and the teacher's result.

    Args:
        teacher: the model that writes the questions. Templates write them if it is None, or if it
            wrote none for a passage.
        marks: the control tokens of the home's base models. They are not part of the version,
            because posts rarely contain one; a different base model would cause a rebuild that
            changes nothing.
        log: function that receives progress lines, which never contain text of a post.

    Raises:
        TableNotFoundError: an upstream asset was never materialized.
        TwinError: chunks or embeddings are older than the documents, or the teacher cannot be
            reached.
    """
    document_splits = update_splits(tables, author.slug)
    update_drafts(tables, author.slug)
    teacher_result = None
    if teacher is not None:
        teacher_result = teacher_questions.update_questions(
            tables, author.slug, teacher=teacher, log=log
        )
    plan = _build_plan(tables, author, document_splits, retriever, teacher_result).with_columns(
        pl.lit(DEFAULT_TEMPLATE.hash).alias("template"), pl.lit(author.name).alias("author_name")
    )
    sync_result = tables.sync(
        plan,
        "instruction_dataset",
        author=author.slug,
        key="sample_id",
        function=lambda rows: render_rows(rows, tables, author.slug, marks),
        version=DATASET_VERSION,
        schema=column_types(InstructionDataset),
        row_key="sample_id",
    )
    return sync_result, teacher_result


def _build_plan(
    tables: Tables,
    author: Author,
    document_splits: pl.DataFrame,
    retriever: Retriever,
    teacher_result: TeacherResult | None,
) -> pl.DataFrame:
    """Return one narrow row per sample, which determines its rendered row completely."""
    slug = author.slug
    draft_rows = tables.read(
        "instruction_drafts",
        slug,
        columns=[
            "sample_id",
            "document_id",
            "start",
            "end",
            "question",
            "title",
            "published_at",
            "answer",
            "answer_sketch",
            "instruction_source",
            "continuation",
        ],
    )
    if teacher_result is not None:
        draft_rows = _apply_teacher_questions(draft_rows, tables, slug, teacher_result.model)
    chunks = tables.read(
        "embeddings",
        slug,
        columns=["chunk_id", "document_id", "start", "end", "published_at", "token_count"],
    )
    own_chunks = contexts.find_own_chunks(draft_rows, chunks)
    draft_rows, vectors = _replace_failed_questions(draft_rows, tables, slug, retriever)
    samples = draft_rows.join(
        document_splits, on="document_id", how="left", maintain_order="left"
    ).join(own_chunks, on="sample_id", how="left", maintain_order="left")
    retrieval = contexts.retrieval_name(
        retriever.embedder_revision, token_budget=author.context_tokens
    )
    samples = _mark_leaks(samples).with_columns(pl.lit(retrieval).alias("retrieval"))
    context_ids = _find_contexts(
        tables, author, samples, chunks, document_splits, retriever, vectors
    )
    return samples.with_columns(
        pl.Series(
            "context_chunk_ids",
            [list(context_ids[sample_id]) for sample_id in samples["sample_id"].to_list()],
            dtype=pl.List(pl.String),
        )
    ).drop("answer_sketch", "own_chunks")


def _mark_leaks(samples: pl.DataFrame) -> pl.DataFrame:
    """Return the samples without their answers, marking samples similar to a held-out sample."""
    left_out_ids = leakage.find_left_out_samples(
        [
            leakage.LeakCandidate(
                row["sample_id"],
                row["split"],
                row["question"],
                tuple(row["answer_sketch"]),
                row["published_at"],
                leakage.word_ngrams(row["answer"]),
            )
            for row in samples.to_dicts()
        ]
    )
    is_left_out = pl.col("sample_id").is_in(list(left_out_ids))
    return samples.drop("answer").with_columns(
        pl.when(is_left_out).then(pl.lit("left_out")).otherwise("split").alias("split")
    )


def _apply_teacher_questions(
    draft_rows: pl.DataFrame, tables: Tables, author: str, model: str
) -> pl.DataFrame:
    """Return the drafts, with the teacher's question where it wrote one."""
    teacher_rows = teacher_questions.read_written_questions(tables, author, model)
    rows = draft_rows.join(teacher_rows, on="sample_id", how="left", maintain_order="left")
    when_written = pl.when(pl.col("teacher_question").is_not_null())
    return rows.with_columns(
        when_written.then("teacher_question").otherwise("question").alias("question"),
        when_written.then(pl.lit(f"teacher:{model}"))
        .otherwise("instruction_source")
        .alias("instruction_source"),
    ).drop("teacher_question")


def _replace_failed_questions(
    draft_rows: pl.DataFrame, tables: Tables, author: str, retriever: Retriever
) -> tuple[pl.DataFrame, Mapping[str, Any]]:
    """Replace questions that are badly worded or do not retrieve their post with continuations.

    Returns:
        The drafts, and the vectors of the questions that were searched in this run.
    """
    is_fluent = pl.col("question").map_elements(is_fluent_question, return_dtype=pl.Boolean)
    is_continuation = pl.col("instruction_source") == f"template:{CONTINUATION}"
    question_rows = draft_rows.filter(is_fluent & ~is_continuation)
    round_trip_result = round_trip.update_ranks(tables, author, question_rows, retriever=retriever)
    kept_ids = set(question_rows["sample_id"].to_list()) - round_trip_result.failed_sample_ids
    when_kept = pl.when(pl.col("sample_id").is_in(kept_ids))
    return draft_rows.with_columns(
        when_kept.then("question").otherwise("continuation").alias("question"),
        when_kept.then("instruction_source")
        .otherwise(pl.lit(f"template:{CONTINUATION}"))
        .alias("instruction_source"),
    ).drop("continuation"), round_trip_result.vectors


def _find_contexts(
    tables: Tables,
    author: Author,
    samples: pl.DataFrame,
    chunks: pl.DataFrame,
    document_splits: pl.DataFrame,
    retriever: Retriever,
    vectors: Mapping[str, Any],
) -> dict[str, tuple[str, ...]]:
    """Return the context of every sample: the stored one if still valid, else a new search."""
    published_at_by_chunk: dict[str, datetime | None] = dict(
        chunks.select("chunk_id", "published_at").iter_rows()
    )
    slug = author.slug
    held_out_documents = frozenset(
        document_splits.filter(pl.col("split") == "held_out")["document_id"].to_list()
    )
    held_out_chunks = frozenset(
        chunks.filter(pl.col("document_id").is_in(list(held_out_documents)))["chunk_id"].to_list()
    )
    contexts_by_sample = _read_stored_contexts(tables, slug)
    stored_contexts: dict[str, Sequence[str]] = {}
    missing_rows: list[dict[str, Any]] = []
    for row in samples.to_dicts():
        query, chunk_ids = contexts_by_sample.get(row["sample_id"], (None, ()))
        if query == (row["question"], row["retrieval"]) and contexts.is_context_valid(
            _build_context_sample(row, ""),
            chunk_ids,
            published_at_by_chunk,
            held_out_chunks=held_out_chunks,
        ):
            stored_contexts[row["sample_id"]] = chunk_ids
        else:
            missing_rows.append(row)
    ids = pl.Series("sample_id", [row["sample_id"] for row in missing_rows], dtype=pl.String)
    answers = dict(
        read_by_id(
            tables, "instruction_drafts", slug, "sample_id", ids, ["sample_id", "answer"]
        ).iter_rows()
    )
    retrieved_contexts = contexts.find_contexts(
        [_build_context_sample(row, answers[row["sample_id"]]) for row in missing_rows],
        retriever=retriever,
        author=slug,
        token_budget=author.context_tokens,
        held_out_documents=held_out_documents,
        vectors=vectors,
    )
    held_out_ids = frozenset(samples.filter(pl.col("split") == "held_out")["sample_id"].to_list())
    return contexts.separate_contexts(
        {**stored_contexts, **retrieved_contexts},
        held_out_samples=held_out_ids,
        token_counts=dict(chunks.select("chunk_id", "token_count").iter_rows()),
    )


def _read_stored_contexts(
    tables: Tables, author: str
) -> Mapping[str, tuple[tuple[str, str], tuple[str, ...]]]:
    """Return the question, retrieval name and chunk ids of each stored sample, by its id."""
    if not tables.exists("instruction_dataset", author):
        return {}
    columns = ["sample_id", "question", "retrieval", "context_chunk_ids"]
    rows = tables.read("instruction_dataset", author, columns=columns).iter_rows()
    return {
        sample_id: ((question, retrieval), tuple(chunk_ids))
        for sample_id, question, retrieval, chunk_ids in rows
    }


def _build_context_sample(row: Mapping[str, Any], answer: str) -> contexts.ContextSample:
    return contexts.ContextSample(
        sample_id=row["sample_id"],
        question=row["question"],
        answer=answer,
        published_at=row["published_at"],
        split=row["split"],
        own_chunks=tuple(row["own_chunks"]),
    )
