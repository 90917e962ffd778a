"""Questions that a person or a language model wrote for a reader's need: is the right post found?

Scope: the posts of five authors as retrieval searches them, the three rankings (both
searches fused, vectors alone, words alone), and the figures of each half of the questions.
Out of scope: the questions (`tests/bench/questions`), searching
(`twin_resources.models.retrieval`).

A ranking of passages is read as one of posts, each at the place of its first passage: what a
reader's question has is posts that answer it. "Shown" is whether a passage of one of them is in the
prompt, at the budget that authors have by default.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.bench.knowledge import corpus
from tests.bench.knowledge.rows import row
from tests.bench.knowledge.tables import in_folder, opened, write
from tests.bench.questions.questions import (
    SHARED_AUTHORS,
    Half,
    authors,
    read_questions,
    read_shared_questions,
)
from tests.bench.retraining.rows import Row
from twin_assets.knowledge.embedding import embed_chunks
from twin_resources.authors import CONTEXT_TOKENS
from twin_resources.models.embedder.embedder import Embedder, load_embedder
from twin_resources.models.retrieval.index import update_indexes
from twin_resources.models.retrieval.retrieval import MAX_PASSAGES, Retriever
from twin_resources.models.retrieval.search import (
    Passage,
    RetrievalQuery,
    search,
    search_full_text,
    search_vectors,
)
from twin_resources.models.retrieval.selection import select_hits
from twin_resources.settings import Settings

K = 10
GOAL_SHOWN = 0.85
RESAMPLES = 10_000
HYBRID, VECTORS, WORDS = "hybrid", "vectors alone", "words alone"
HALVES: tuple[Half, ...] = ("tuned", "held_out")


@dataclass(frozen=True)
class PutQuestion:
    """One question and the ids of the documents that answer it."""

    half: Half
    question: str
    relevant: frozenset[str]


@dataclass(frozen=True)
class RankingScores:
    """One question under one ranking."""

    ndcg: float
    first: float
    shown: float


def figures(home: Settings, *, quick: bool) -> list[Row]:
    """The rows of all five authors, each and together; of one bundled author in the quick form."""
    embedder = load_embedder(home)
    slugs = [*authors(), *SHARED_AUTHORS]
    rows: list[Row] = []
    together: dict[Half, list[dict[str, RankingScores]]] = {half: [] for half in HALVES}
    for author in slugs[:1] if quick else slugs:
        documents = corpus.documents(author)
        asked = questions_of(author, documents)
        with tempfile.TemporaryDirectory() as folder:
            passages = embedded(author, documents, home, embedder)
            tables = in_folder(folder)
            write(tables, [passages], embedder.dimension)
            update_indexes(tables, "bench", language="en")
            retriever = Retriever(tables.base_uri, embedder)
            scores = [scored(one, opened(tables), retriever, embedder) for one in asked]
        for half in HALVES:
            part = [score for one, score in zip(asked, scores, strict=True) if one.half == half]
            rows += rows_of(author, half, part)
            together[half] += part
    if not quick:
        for half, part in together.items():
            rows += rows_of("all authors", half, part)
    return rows


def questions_of(author: str, documents: pl.DataFrame) -> list[PutQuestion]:
    """Every question that the author's posts answer.

    Args:
        documents: `document_id` and `source_id` of the kept ones.
    """
    ids = dict(zip(documents["source_id"], documents["document_id"], strict=True))
    if author in SHARED_AUTHORS:
        return [
            PutQuestion(
                shared_question.half,
                shared_question.question,
                frozenset(ids[post] for post in shared_question.posts),
            )
            for shared_question in read_shared_questions(author)
        ]
    by_name = {Path(source).name: document for source, document in ids.items()}
    return [
        PutQuestion(
            question.half,
            question.question,
            frozenset(by_name[post] for post, _ in question.answers),
        )
        for question in read_questions(author)
        if question.kind == "own"
    ]


def embedded(
    author: str, documents: pl.DataFrame, home: Settings, embedder: Embedder
) -> pl.DataFrame:
    """Rows of `embeddings`; vectors take minutes, so the rows are kept in `build/`."""
    chunks = corpus.chunks_of(documents, home)
    made_from = hashlib.sha256(embedder.revision.encode())
    made_from.update(chunks.write_json().encode())
    kept = corpus.ROOT / "build" / f"bench-passages-{author}-{made_from.hexdigest()[:16]}.parquet"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        embed_chunks(chunks, embedder).write_parquet(kept)
    return pl.read_parquet(kept)


def scored(
    asked: PutQuestion, table: Any, retriever: Retriever, embedder: Embedder
) -> dict[str, RankingScores]:
    """One question under the three rankings."""
    query, vector = RetrievalQuery(asked.question), embedder.embed([asked.question])[0]
    rankings = {
        HYBRID: search(table, query, vector, memory=None),
        VECTORS: [as_passage(found) for found in search_vectors(table, query, vector)],
        WORDS: [as_passage(found) for found in search_full_text(table, query)],
    }
    shown: dict[str, Sequence[Passage]] = {
        name: select_hits(ranked, limit=MAX_PASSAGES, token_budget=CONTEXT_TOKENS)
        for name, ranked in rankings.items()
    }
    # The product's own way; neighbours are of posts that are shown anyway.
    shown[HYBRID] = retriever.retrieve("bench", asked.question).passages
    return {
        name: RankingScores(
            ndcg=ndcg(in_order(ranked), asked.relevant),
            first=float(in_order(ranked)[:1] != [] and in_order(ranked)[0] in asked.relevant),
            shown=float(any(passage.document_id in asked.relevant for passage in shown[name])),
        )
        for name, ranked in rankings.items()
    }


def as_passage(found: dict[str, Any]) -> Passage:
    """A row of one search alone, as the selection reads it."""
    return Passage(
        chunk_id=found["chunk_id"],
        document_id=found["document_id"],
        title=found["title"] or "",
        url=found["url"] or "",
        published_at=found["published_at"],
        text=found["text"],
        score=0.0,
        token_count=int(found["token_count"]),
        position=int(found["position"]),
    )


def in_order(ranked: Sequence[Passage]) -> list[str]:
    """Document ids, each at the place of its first passage."""
    return list(dict.fromkeys(passage.document_id for passage in ranked))


def ndcg(found: Sequence[str], relevant: frozenset[str]) -> float:
    """nDCG@10 with relevance 0 or 1 (Järvelin and Kekäläinen 2002)."""
    gain = sum(1 / np.log2(place + 2) for place, name in enumerate(found[:K]) if name in relevant)
    best = sum(1 / np.log2(place + 2) for place in range(min(K, len(relevant))))
    return float(gain / best)


def rows_of(author: str, half: Half, scores: Sequence[dict[str, RankingScores]]) -> list[Row]:
    """The figures of one half; goals stand at the half by which nothing was chosen."""
    held = half == "held_out"
    label = f"{author}, {half}, {len(scores)} questions"
    measures: dict[str, Callable[[RankingScores], float]] = {
        f"nDCG@{K}": lambda score: score.ndcg,
        "right post first": lambda score: score.first,
        "right post shown": lambda score: score.shown,
    }
    rows: list[Row] = []
    for name, measure in measures.items():
        values = {
            ranking: np.array([measure(score[ranking]) for score in scores])
            for ranking in (HYBRID, VECTORS, WORDS)
        }
        means = {ranking: float(np.mean(value)) for ranking, value in values.items()}
        hybrid = means.pop(HYBRID)
        goal: float | None = None
        if held and measure is measures[f"nDCG@{K}"]:
            goal = math.floor(1e4 * max(means.values())) / 1e4  # an equal one holds
        elif held and measure is measures["right post shown"]:
            goal = GOAL_SHOWN
        rows.append(row(f"{name}, hybrid: {label}", hybrid, "", at_least=goal, peers=means))
        for other in (VECTORS, WORDS):
            difference = values[HYBRID] - values[other]
            low, high = interval(difference)
            rows.append(
                row(
                    f"{name}, hybrid less {other}: {label}",
                    float(np.mean(difference)),
                    "",
                    peers={"95 % from": low, "to": high},
                )
            )
    return rows


def interval(differences: np.ndarray) -> tuple[float, float]:
    """95 % of the mean of paired differences, by the bootstrap over questions (percentiles)."""
    drawn = np.random.default_rng(16).integers(0, len(differences), (RESAMPLES, len(differences)))
    means = differences[drawn].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
