"""Bring the tables of the instruction stage up to date, one after the other.

Scope: reading and writing `document_splits`, `instruction_drafts` and `instruction_dataset`. Out of
scope: the decisions (`splits.py`, `drafts.py`, `contexts.py`, `leakage.py`, `round_trip.py`,
`general_set.py`), rendering (`sample_rows.py`), a teacher's questions (`teacher_questions.py`),
Dagster.

Method: architecture.md. Samples are planned from narrow columns, and only samples whose plan
changed are rendered. A run with no new data reads ids, questions and dates, and writes nothing.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.corpus.corpus_tables import columns_of, validated
from twin_assets.instructions import (
    contexts,
    drafts,
    leakage,
    round_trip,
    splits,
    teacher_questions,
)
from twin_assets.instructions.back_translation import CONTINUATION, fluent_question
from twin_assets.instructions.general_set import GeneralSample, GeneralSetMix
from twin_assets.instructions.instruction_tables import (
    DocumentSplits,
    InstructionDataset,
    InstructionDrafts,
)
from twin_assets.instructions.sample_rows import general_plan, whole_rows
from twin_resources.prompt.control_marks import FAMILIES, ControlMarks
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, Template
from twin_resources.storage.tables.rows_by_id import read_by_id
from twin_resources.storage.tables.tables import Upstream

if TYPE_CHECKING:
    from twin_assets.instructions.general_set import GeneralSet
    from twin_assets.instructions.teacher import Teacher
    from twin_assets.instructions.teacher_questions import TeacherResult
    from twin_resources.authors import Author
    from twin_resources.models.retrieval.retrieval import Retriever
    from twin_resources.storage.tables.tables import SyncResult, Tables

DATASET_VERSION = "1"


@dataclass(frozen=True)
class BuildResult:
    """One update's changes to `instruction_dataset`, teacher result and added general samples."""

    done: SyncResult
    taught: TeacherResult | None = None
    mixed: GeneralSetMix | None = None

    def metadata(self) -> dict[str, Any]:
        taught = self.taught.metadata() if self.taught else {}
        return {**self.done.metadata(), **taught, **(self.mixed.metadata() if self.mixed else {})}


def update_splits(tables: Tables, author: str) -> pl.DataFrame:
    """Draw a split for every kept document that has none yet; return `document_id`, `split`.

    Rows of deleted documents stay, so that a document that returns gets the same split.
    """
    stored = pl.DataFrame(schema=columns_of(DocumentSplits))
    if tables.exists("document_splits", author):
        stored = tables.read("document_splits", author)
    documents_kept = tables.read(
        "cleaned_documents", author, columns=["document_id", "published_at"], where="kept"
    )
    new = documents_kept.join(stored, on="document_id", how="anti")
    texts = dict(
        read_by_id(
            tables,
            "cleaned_documents",
            author,
            "document_id",
            new["document_id"],
            ["document_id", "text"],
        ).iter_rows()
    )
    drawn = [
        splits.SplitRow(row["document_id"], row["split"], row["because"], tuple(row["sketch"]))
        for row in stored.to_dicts()
    ]
    documents = [
        splits.SplitDocument(row["document_id"], row["published_at"], texts[row["document_id"]])
        for row in new.to_dicts()
    ]
    made = [
        {**vars(draw), "sketch": list(draw.sketch)}
        for draw in splits.draw_splits(documents, drawn=drawn)
    ]
    rows = pl.concat([stored, pl.DataFrame(made, schema=columns_of(DocumentSplits))])
    tables.sync(
        rows,
        "document_splits",
        author=author,
        key="document_id",
        function=lambda frame: validated(frame, DocumentSplits),
        version="1",
        schema=columns_of(DocumentSplits),
        row_key="document_id",
    )
    return rows.select("document_id", "split")


def update_drafts(tables: Tables, author: str) -> SyncResult:
    """Draft the passages of new and changed documents."""
    return tables.sync(
        Upstream("cleaned_documents", author, columns=drafts.DOCUMENT_COLUMNS),
        "instruction_drafts",
        author=author,
        key="document_id",
        function=drafts.draft_documents,
        version=drafts.DRAFTS_VERSION,
        schema=columns_of(InstructionDrafts),
        row_key="sample_id",
    )


def update_dataset(
    tables: Tables,
    author: Author,
    *,
    retriever: Retriever,
    teacher: Teacher | None = None,
    general: GeneralSet | None = None,
    general_share: float = 0.0,
    template: Template = DEFAULT_TEMPLATE,
    marks: ControlMarks = FAMILIES,
    log: Callable[[str], object] = lambda _line: None,
) -> BuildResult:
    """Bring all tables up to date.

    The prompts name the author but contain neither persona nor refused topics, because these
    settings may change without retraining.

    Args:
        teacher: the model that writes the questions; templates write them if it is None, or where
            it wrote none.
        general: the set that is mixed into the training samples so that it makes up `general_share`
            of them.
        marks: the control tokens of the home's base models. They are not part of any version: posts
            almost never contain one, so the list of another base model would rebuild everything
            without any change.
        log: receives progress, one line each; never text of a post.

    Raises:
        TableMissing: an upstream asset was never materialized.
        TwinError: chunks or embeddings are older than the documents, or the teacher can't be
            reached.
    """
    drawn = update_splits(tables, author.slug)
    update_drafts(tables, author.slug)
    taught = None
    if teacher is not None:
        taught = teacher_questions.update_questions(tables, author.slug, teacher=teacher, log=log)
    plan = _plan(tables, author, drawn, retriever, taught).with_columns(
        pl.lit(template.hash).alias("template"), pl.lit(author.name).alias("author_name")
    )
    mixed, by_id = None, dict[str, GeneralSample]()
    if general is not None:
        training = plan.filter(pl.col("split") == "train").height
        # A question that appears twice fails `no_leakage_across_splits` in every later run.
        own = plan.filter(pl.col("split") != "left_out")["question"].to_list()
        mixed = general.mixed(
            training=training, share=general_share, not_trained_on=[*_asked_by_the_gate(), *own]
        )
        by_id = {sample.sample_id: sample for sample in mixed.samples}
        rows = general_plan(mixed.samples, source=general.source, template=template, like=plan)
        plan = pl.concat([plan, rows])
    done = tables.sync(
        plan,
        "instruction_dataset",
        author=author.slug,
        key="sample_id",
        function=lambda rows: whole_rows(
            rows, tables, author.slug, template, general=by_id, marks=marks
        ),
        version=DATASET_VERSION,
        schema=columns_of(InstructionDataset),
        row_key="sample_id",
    )
    return BuildResult(done, taught, mixed)


def _asked_by_the_gate() -> list[str]:
    from twin_assets.instructions import basic_instructions

    return [instruction.instruction for instruction in basic_instructions.instructions()]


def _plan(
    tables: Tables,
    speaker: Author,
    drawn: pl.DataFrame,
    retriever: Retriever,
    taught: TeacherResult | None,
) -> pl.DataFrame:
    """Return one narrow row per sample, which determines its rendered row completely."""
    author = speaker.slug
    drafted = tables.read(
        "instruction_drafts",
        author,
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
    if taught is not None:
        drafted = _with_taught(drafted, tables, author, taught.model)
    chunks = tables.read(
        "document_chunks",
        author,
        columns=["chunk_id", "document_id", "start", "end", "published_at", "token_count"],
    )
    own = contexts.own_chunks(drafted, chunks)
    drafted, vectors = _with_found(drafted, tables, author, retriever)
    samples = drafted.join(drawn, on="document_id", how="left", maintain_order="left").join(
        own, on="sample_id", how="left", maintain_order="left"
    )
    retrieval = contexts.retrieval_name(retriever.revision, token_budget=speaker.context_tokens)
    samples = _without_leaks(samples).with_columns(pl.lit(retrieval).alias("retrieval"))
    shown = _contexts(tables, speaker, samples, chunks, drawn, retriever, vectors)
    return samples.with_columns(
        pl.Series(
            "context_chunk_ids",
            [list(shown[sample_id]) for sample_id in samples["sample_id"].to_list()],
            dtype=pl.List(pl.String),
        )
    ).drop("answer_sketch", "own_chunks")


def _without_leaks(samples: pl.DataFrame) -> pl.DataFrame:
    """Return the samples without their answers, leaving out those similar to a held-out sample."""
    out = leakage.left_out(
        [
            leakage.LeakCandidate(
                row["sample_id"],
                row["split"],
                row["question"],
                tuple(row["answer_sketch"]),
                row["published_at"],
                leakage.runs_of(row["answer"]),
            )
            for row in samples.to_dicts()
        ]
    )
    is_out = pl.col("sample_id").is_in(list(out))
    return samples.drop("answer").with_columns(
        pl.when(is_out).then(pl.lit("left_out")).otherwise("split").alias("split")
    )


def _with_taught(drafted: pl.DataFrame, tables: Tables, author: str, model: str) -> pl.DataFrame:
    """Return the drafts, with the teacher's question where it wrote one."""
    written = teacher_questions.questions_of(tables, author, model)
    joined = drafted.join(written, on="sample_id", how="left", maintain_order="left")
    by_teacher = pl.when(pl.col("taught").is_not_null())
    return joined.with_columns(
        by_teacher.then("taught").otherwise("question").alias("question"),
        by_teacher.then(pl.lit(f"teacher:{model}"))
        .otherwise("instruction_source")
        .alias("instruction_source"),
    ).drop("taught")


def _with_found(
    drafted: pl.DataFrame, tables: Tables, author: str, retriever: Retriever
) -> tuple[pl.DataFrame, Mapping[str, Any]]:
    """Replace each question that is not worded as one or does not find its post by a continuation.

    Returns:
        The drafts, and the vectors of the questions that were searched in this run.
    """
    fluent = pl.col("question").map_elements(fluent_question, return_dtype=pl.Boolean)
    continued = pl.col("instruction_source") == f"template:{CONTINUATION}"
    asked = drafted.filter(fluent & ~continued)
    trip = round_trip.update_ranks(tables, author, asked, retriever=retriever)
    found = set(asked["sample_id"].to_list()) - trip.lost
    stays = pl.when(pl.col("sample_id").is_in(found))
    return drafted.with_columns(
        stays.then("question").otherwise("continuation").alias("question"),
        stays.then("instruction_source")
        .otherwise(pl.lit(f"template:{CONTINUATION}"))
        .alias("instruction_source"),
    ).drop("continuation"), trip.vectors


def _contexts(
    tables: Tables,
    speaker: Author,
    samples: pl.DataFrame,
    chunks: pl.DataFrame,
    drawn: pl.DataFrame,
    retriever: Retriever,
    vectors: Mapping[str, Any],
) -> dict[str, tuple[str, ...]]:
    """Return the context of every sample: the stored one if still valid, else a new search."""
    published: dict[str, datetime | None] = dict(
        chunks.select("chunk_id", "published_at").iter_rows()
    )
    author = speaker.slug
    held_documents = frozenset(drawn.filter(pl.col("split") == "held_out")["document_id"].to_list())
    of_held_out = frozenset(
        chunks.filter(pl.col("document_id").is_in(list(held_documents)))["chunk_id"].to_list()
    )
    stored = _stored_contexts(tables, author)
    stored_contexts: dict[str, Sequence[str]] = {}
    missing: list[dict[str, Any]] = []
    for row in samples.to_dicts():
        before = stored.get(row["sample_id"])
        key = (row["question"], row["retrieval"])
        if (
            before
            and before.asked == key
            and contexts.still_good(
                _sample(row, ""), before.chunk_ids, published, of_held_out=of_held_out
            )
        ):
            stored_contexts[row["sample_id"]] = before.chunk_ids
        else:
            missing.append(row)
    ids = pl.Series("sample_id", [row["sample_id"] for row in missing], dtype=pl.String)
    answers = dict(
        read_by_id(
            tables, "instruction_drafts", author, "sample_id", ids, ["sample_id", "answer"]
        ).iter_rows()
    )
    retrieved = contexts.find_contexts(
        [_sample(row, answers[row["sample_id"]]) for row in missing],
        retriever=retriever,
        author=author,
        token_budget=speaker.context_tokens,
        held_out=held_documents,
        vectors=vectors,
    )
    held_samples = frozenset(samples.filter(pl.col("split") == "held_out")["sample_id"].to_list())
    return contexts.apart(
        {**stored_contexts, **retrieved},
        held_out=held_samples,
        tokens=dict(chunks.select("chunk_id", "token_count").iter_rows()),
    )


@dataclass(frozen=True)
class _Stored:
    asked: tuple[str, str]
    chunk_ids: tuple[str, ...]


def _stored_contexts(tables: Tables, author: str) -> Mapping[str, _Stored]:
    if not tables.exists("instruction_dataset", author):
        return {}
    columns = ["sample_id", "question", "retrieval", "context_chunk_ids"]
    rows = tables.read("instruction_dataset", author, columns=columns).iter_rows()
    return {
        sample_id: _Stored((question, retrieval), tuple(chunk_ids))
        for sample_id, question, retrieval, chunk_ids in rows
    }


def _sample(row: Mapping[str, Any], answer: str) -> contexts.ContextSample:
    return contexts.ContextSample(
        sample_id=row["sample_id"],
        question=row["question"],
        answer=answer,
        published_at=row["published_at"],
        split=row["split"],
        own_chunks=tuple(row["own_chunks"]),
    )
