"""Measure whether retrieval finds the right post for readers' questions.

Scope: indexing the posts of five authors, three rankings (both searches fused, vectors alone, words
alone), and how often each shows the right post. Out of scope: the questions
(`tests/bench/questions`), searching (`twin_resources.models.retrieval`).

The questions are labeled with the posts that answer them. "Shown" means that a passage of such a
post is in the prompt with the authors' default token budget.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.bench.knowledge import corpus
from tests.bench.knowledge.tables import create_tables, open_passages, write_passages
from tests.bench.questions.questions import (
    SHARED_AUTHORS,
    Half,
    authors,
    read_questions,
    read_shared_questions,
)
from tests.bench.rows import Row, bounded_row
from twin_assets.knowledge import passages as product
from twin_resources.authors import CONTEXT_TOKENS
from twin_resources.models.embedder.embedder import Embedder, load_embedder
from twin_resources.models.retrieval.index import update_indexes
from twin_resources.models.retrieval.retrieval import MAX_PASSAGES, Retriever
from twin_resources.models.retrieval.search import (
    RetrievalQuery,
    build_passage,
    find_candidates,
)
from twin_resources.models.retrieval.selection import select_hits
from twin_resources.settings import Settings

MIN_SHOWN_SHARE = 0.85
HYBRID, VECTORS, WORDS = "hybrid", "vectors alone", "words alone"
HALVES: tuple[Half, ...] = ("tuned", "held_out")


@dataclass(frozen=True)
class LabeledQuestion:
    """A question and the ids of the documents that answer it."""

    half: Half
    question: str
    relevant_ids: frozenset[str]


def shown_rows(home: Settings, *, quick: bool) -> list[Row]:
    """Return rows for each author and for all; with `quick`, only for one bundled author."""
    embedder = load_embedder(home)
    slugs = [*authors(), *SHARED_AUTHORS]
    rows: list[Row] = []
    all_scores: dict[Half, list[dict[str, bool]]] = {half: [] for half in HALVES}
    for author in slugs[:1] if quick else slugs:
        documents = corpus.clean_documents(author)
        questions = label_questions(author, documents)
        with tempfile.TemporaryDirectory() as folder:
            passages = embed_passages(author, documents, embedder)
            tables = create_tables(folder)
            write_passages(tables, [passages], embedder.dimension)
            update_indexes(tables, "bench", language="en")
            retriever = Retriever(tables.base_uri, embedder)
            table = open_passages(tables)
            scores = [
                score_question(question, table, retriever, embedder) for question in questions
            ]
        for half in HALVES:
            half_scores = [
                score
                for question, score in zip(questions, scores, strict=True)
                if question.half == half
            ]
            rows.append(shown_row(author, half, half_scores))
            all_scores[half] += half_scores
    if not quick:
        for half, half_scores in all_scores.items():
            rows.append(shown_row("all authors", half, half_scores))
    return rows


def label_questions(author: str, documents: pl.DataFrame) -> list[LabeledQuestion]:
    """Return every question that the author's posts answer, with the documents that answer it.

    Args:
        documents: `document_id` and `source_id` of the kept documents.
    """
    ids = dict(zip(documents["source_id"], documents["document_id"], strict=True))
    if author in SHARED_AUTHORS:
        return [
            LabeledQuestion(
                shared_question.half,
                shared_question.question,
                frozenset(ids[post] for post in shared_question.posts),
            )
            for shared_question in read_shared_questions(author)
        ]
    by_name = {Path(source).name: document for source, document in ids.items()}
    return [
        LabeledQuestion(
            question.half,
            question.question,
            frozenset(by_name[post] for post, _ in question.answers),
        )
        for question in read_questions(author)
        if question.kind == "own"
    ]


def embed_passages(author: str, documents: pl.DataFrame, embedder: Embedder) -> pl.DataFrame:
    """Return rows of `embeddings`; embedding takes minutes, so they are kept in `build/`."""
    documents = documents.select(product.DOCUMENT_COLUMNS)
    digest = hashlib.sha256(f"{embedder.revision} {product.PASSAGES_VERSION}".encode())
    digest.update(documents.write_json().encode())
    path = corpus.ROOT / "build" / f"bench-passages-{author}-{digest.hexdigest()[:16]}.parquet"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        product.embed_passages(documents, embedder).write_parquet(path)
    return pl.read_parquet(path)


def score_question(
    question: LabeledQuestion, table: Any, retriever: Retriever, embedder: Embedder
) -> dict[str, bool]:
    """Return whether each of the three rankings shows a post that answers the question."""
    vector = embedder.embed([question.question], are_questions=True)[0]
    rows = find_candidates(table, RetrievalQuery(question.question), vector)
    shown = {
        name: select_hits(
            [build_passage(row) for row in sorted(rows, key=lambda row: -row[column])],
            limit=MAX_PASSAGES,
            token_budget=CONTEXT_TOKENS,
        )
        for name, column in ((VECTORS, "cosine"), (WORDS, "lexical"))
    }
    shown[HYBRID] = retriever.retrieve("bench", question.question).passages
    relevant = question.relevant_ids
    return {name: any(passage.document_id in relevant for passage in shown[name]) for name in shown}


def shown_row(author: str, half: Half, scores: Sequence[dict[str, bool]]) -> Row:
    """Return the row for one half; only the held-out half, never tuned on, has a goal."""
    means = {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}
    return bounded_row(
        f"right post shown, hybrid: {author}, {half}, {len(scores)} questions",
        means.pop(HYBRID),
        "",
        at_least=MIN_SHOWN_SHARE if half == "held_out" else None,
        peers=means,
    )
