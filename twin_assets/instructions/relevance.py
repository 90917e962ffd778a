"""Whether the questions of a dataset belong to the passages that they are asked about.

Scope: how much a question and a chunk share, in words and in meaning, the test against
chance, and reading what it needs. Out of scope: the check as Dagster sees it
(`instruction_dataset.py`).

Chance is the same questions put to chunks of other documents of the author, so that what all of an
author's posts have in common counts for nothing. Standing: the share of those chunks that share
less with the question than its own chunk does (ties count half), the area under the ROC curve of
Mann and Whitney 1947, https://doi.org/10.1214/aoms/1177730491: .5 by chance, 1 at best. Error: a
permutation test, which is exact for questions that were dealt out at random (Phipson and Smyth
2010, https://doi.org/10.2202/1544-6115.1585).

Continuations ask nothing and quote their own passage. A third of a dataset, they vouched for
questions of which half were dealt out at random: lexical standing .77 to .81 of three authors,
where their questions alone have .74 to .75 (and .98 to .99 as they are).
"""
# pyright: strict

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.corpus.shingles import words_of
from twin_assets.instructions.back_translation import CONTINUATION
from twin_resources.storage.tables.rows_by_id import is_one_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from twin_resources.models.embedder.embedder import Embedder
    from twin_resources.storage.tables.tables import Tables

    Floats = NDArray[np.float64]

ERROR = 0.001
PERMUTATIONS = 1_999
MIN_STANDING = 0.75  # what is left when half of the questions are dealt out at random
MIN_DOCUMENTS = 8  # fewer can't be told from chance at this error
MAX_SAMPLES = 300


@dataclass(frozen=True)
class Overlap:
    """What questions and their own chunks share, in one sense of sharing.

    Attributes:
        standing: mean over the questions, 0 to 1.
        error: chance that questions dealt out at random stand as well or better.
    """

    standing: float
    error: float

    @property
    def above_chance(self) -> bool:
        return self.standing >= MIN_STANDING and self.error <= ERROR


@dataclass(frozen=True)
class Relevance:
    """What was measured on `samples` samples of `documents` documents; continuations left out.

    Attributes:
        lexical, embedded: None when there are too few documents to decide.
    """

    samples: int
    documents: int
    lexical: Overlap | None = None
    embedded: Overlap | None = None

    @property
    def decided(self) -> bool:
        return self.lexical is not None and self.embedded is not None

    @property
    def holds(self) -> bool:
        return all(overlap and overlap.above_chance for overlap in (self.lexical, self.embedded))

    def metadata(self) -> dict[str, Any]:
        """Figures beside their thresholds."""
        figures: dict[str, Any] = {"samples": self.samples, "documents": self.documents}
        for name, overlap in (("lexical", self.lexical), ("embedded", self.embedded)):
            if overlap:
                figures |= {f"{name}_{key}": value for key, value in asdict(overlap).items()}
        limits = {
            "least_standing": MIN_STANDING,
            "most_error": ERROR,
            "fewest_documents": MIN_DOCUMENTS,
        }
        return figures | limits


def drawn(sample_ids: Sequence[str], *, salt: str) -> list[str]:
    """The samples that are measured: all, or 300 by lot. Another salt draws others."""
    digests = {
        sample_id: hashlib.sha256(f"{salt}/{sample_id}".encode()).digest()
        for sample_id in sample_ids
    }
    return sorted(sample_ids, key=digests.__getitem__)[:MAX_SAMPLES]


def lexical_overlap(questions: Sequence[str], chunks: Sequence[str]) -> Floats:
    """The share of a question's words that stand in a chunk, a rare word counting for more.

    Returns:
        (questions, chunks), 0 to 1. A word counts for log(chunks / chunks that have it): one that
        stands in all of them, or in none, for nothing.
    """
    import numpy as np

    standing_in = [frozenset(words_of(chunk)) for chunk in chunks]
    frequency = Counter(word for words in standing_in for word in words)
    shared = np.zeros((len(questions), len(chunks)))
    for row, question in enumerate(questions):
        weights = {
            word: math.log(len(chunks) / frequency[word])
            for word in set(words_of(question))
            if frequency[word]
        }
        whole = sum(weights.values())
        if whole:
            shared[row] = [
                sum(weight for word, weight in weights.items() if word in words) / whole
                for words in standing_in
            ]
    return shared


def overlap_above_chance(shared: Floats, documents: Sequence[str], *, seed: int = 0) -> Overlap:
    """Compare what questions share with their own chunks and with those of other documents.

    Args:
        shared: (n, n), of question i and chunk j; the diagonal holds each question's own chunk.
        documents: n, the document of each chunk; at least two different ones.
    """
    import numpy as np

    count = len(documents)
    names = np.asarray(documents)
    rivals = names[:, None] != names[None, :]  # of chunk j: the chunks of other documents
    among = rivals.sum(axis=1)
    # standings[i, j]: of chunk j for question i, had that been asked about it
    standings = np.empty((count, count))
    for question, row in enumerate(shared):
        below = (row[None, :] < row[:, None]) + 0.5 * (row[None, :] == row[:, None])
        standings[question] = (below * rivals).sum(axis=1) / among
    own = np.arange(count)
    standing = float(standings[own, own].mean())
    random = np.random.default_rng(seed)
    as_good = sum(
        standings[random.permutation(count), own].mean() >= standing - 1e-12
        for _ in range(PERMUTATIONS)
    )
    return Overlap(round(standing, 4), (1 + int(as_good)) / (1 + PERMUTATIONS))


def relevance(
    questions: Sequence[str],
    chunks: Sequence[str],
    documents: Sequence[str],
    *,
    question_vectors: Floats,
    chunk_vectors: Floats,
) -> Relevance:
    """Measure the samples of a dataset.

    Args:
        questions, chunks, documents: of each sample: question, text of its chunk, document id.
        question_vectors, chunk_vectors: (n, dimension) of unit length, by the same embedder.
    """
    several = len(set(documents))
    if several < MIN_DOCUMENTS:
        return Relevance(len(questions), several)
    return Relevance(
        len(questions),
        several,
        overlap_above_chance(lexical_overlap(questions, chunks), documents),
        overlap_above_chance(question_vectors @ chunk_vectors.T, documents),
    )


def relevance_of(tables: Tables, author: str, *, embedder: Embedder) -> Relevance:
    """Measure the stored questions that are trained on or held out.

    Other samples are drawn with each version of the dataset: what a draw misses, a later one sees.
    A sample whose chunk is not there is passed over (`every_sample_names_its_chunk` counts it).
    """
    samples = tables.read(
        "instruction_dataset",
        author,
        columns=["sample_id", "document_id", "chunk_id", "question"],
        where=f"split IN ('train', 'held_out') AND instruction_source != 'template:{CONTINUATION}'",
    )
    several = samples["document_id"].n_unique()
    if several < MIN_DOCUMENTS:
        return Relevance(samples.height, several)
    salt = tables.data_version("instruction_dataset", author) or ""
    ids = drawn(samples["sample_id"].to_list(), salt=salt)
    samples = samples.filter(pl.col("sample_id").is_in(ids))
    where = is_one_of("chunk_id", set(samples["chunk_id"].to_list()))
    # With the title, as passages are embedded, searched and shown: a question may name its post.
    texts = tables.read(
        "document_chunks", author, columns=["chunk_id", "title", "text"], where=where
    ).select("chunk_id", text=pl.col("title") + "\n" + pl.col("text"))
    vectors = tables.read("embeddings", author, columns=["chunk_id", "vector"], where=where)
    samples = samples.join(texts, on="chunk_id").join(vectors, on="chunk_id").sort("sample_id")
    questions: list[str] = samples["question"].to_list()
    return relevance(
        questions,
        samples["text"].to_list(),
        samples["document_id"].to_list(),
        question_vectors=embedder.embed(questions, are_questions=True).astype("float64"),
        chunk_vectors=samples["vector"].to_numpy().astype("float64"),
    )
