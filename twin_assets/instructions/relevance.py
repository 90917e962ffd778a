"""Test whether a dataset's questions match their passages.

Scope: the overlap of a question and a chunk in words and in meaning, the test against chance, and
reading the data. Out of scope: the Dagster check (`instruction_dataset.py`).

The chance level comes from the same questions paired with chunks of the author's other documents,
so that features common to all of an author's posts have no effect. Standing is the share of these
chunks that overlap less with the question than its own chunk does (ties count half). It is the area
under the ROC curve of Mann and Whitney 1947, https://doi.org/10.1214/aoms/1177730491: 0.5 by
chance, 1 at best. Error comes from a permutation test, which is exact for randomly assigned
questions (Phipson and Smyth 2010, https://doi.org/10.2202/1544-6115.1585).

Continuations are not questions and quote their own passage, so they are left out. They made up a
third of a dataset, and hid that half of its questions were randomly assigned. The lexical standing
of three authors was 0.77 to 0.81. Without continuations, it is 0.74 to 0.75, and 0.98 to 0.99 with
the right passages.
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

from twin_assets.corpus.shingles import split_words
from twin_assets.instructions.back_translation import CONTINUATION
from twin_resources.storage.tables.rows_by_id import sql_in_filter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from twin_resources.models.embedder.embedder import Embedder
    from twin_resources.storage.tables.tables import Tables

    Floats = NDArray[np.float64]

MAX_ERROR = 0.001
PERMUTATIONS = 1_999
MIN_STANDING = 0.75  # the standing if half of the questions are randomly assigned
MIN_DOCUMENTS = 8  # fewer cannot be distinguished from chance at this error
MAX_SAMPLES = 300


@dataclass(frozen=True)
class Overlap:
    """The overlap of questions and their own chunks, in words or in meaning.

    Attributes:
        standing: the mean over the questions, 0 to 1.
        error: the probability of an equal or higher standing for randomly assigned questions.
    """

    standing: float
    error: float

    @property
    def is_above_chance(self) -> bool:
        return self.standing >= MIN_STANDING and self.error <= MAX_ERROR


@dataclass(frozen=True)
class Relevance:
    """The measurement of `samples` samples from `documents` documents, without continuations.

    Attributes:
        lexical, embedded: the overlaps, or None if there are too few documents for a verdict.
    """

    samples: int
    documents: int
    lexical: Overlap | None = None
    embedded: Overlap | None = None

    @property
    def is_decided(self) -> bool:
        return self.lexical is not None and self.embedded is not None

    @property
    def holds(self) -> bool:
        return all(overlap and overlap.is_above_chance for overlap in (self.lexical, self.embedded))

    def metadata(self) -> dict[str, Any]:
        """Return the figures with their thresholds."""
        figures: dict[str, Any] = {"samples": self.samples, "documents": self.documents}
        for name, overlap in (("lexical", self.lexical), ("embedded", self.embedded)):
            if overlap:
                figures |= {f"{name}_{key}": value for key, value in asdict(overlap).items()}
        limits = {
            "least_standing": MIN_STANDING,
            "most_error": MAX_ERROR,
            "fewest_documents": MIN_DOCUMENTS,
        }
        return figures | limits


def draw_samples(sample_ids: Sequence[str], *, salt: str) -> list[str]:
    """Return the ids of the samples to measure: all, or 300 drawn at random, seeded by the salt."""
    digests = {
        sample_id: hashlib.sha256(f"{salt}/{sample_id}".encode()).digest()
        for sample_id in sample_ids
    }
    return sorted(sample_ids, key=digests.__getitem__)[:MAX_SAMPLES]


def compute_lexical_overlap(questions: Sequence[str], chunks: Sequence[str]) -> Floats:
    """Return the share of a question's words that are in a chunk, with more weight for rare words.

    Returns:
        (questions, chunks), 0 to 1. The weight of a word is log(chunks / chunks with the word), so
        a word in all or none of them has no weight.
    """
    import numpy as np

    chunk_words = [frozenset(split_words(chunk)) for chunk in chunks]
    frequency = Counter(word for words in chunk_words for word in words)
    overlaps = np.zeros((len(questions), len(chunks)))
    for row, question in enumerate(questions):
        weights = {
            word: math.log(len(chunks) / frequency[word])
            for word in set(split_words(question))
            if frequency[word]
        }
        total_weight = sum(weights.values())
        if total_weight:
            overlaps[row] = [
                sum(weight for word, weight in weights.items() if word in words) / total_weight
                for words in chunk_words
            ]
    return overlaps


def compare_overlap_with_chance(
    shared: Floats, documents: Sequence[str], *, seed: int = 0
) -> Overlap:
    """Compare the overlap of questions with their own chunks and with chunks of other documents.

    Args:
        shared: (n, n), the overlap of question i and chunk j; each question's own chunk is on the
            diagonal.
        documents: n, the document of each chunk; at least two different documents.
    """
    import numpy as np

    count = len(documents)
    names = np.asarray(documents)
    is_rival = names[:, None] != names[None, :]  # for chunk j: the chunks of other documents
    rival_counts = is_rival.sum(axis=1)
    # standings[i, j]: the standing of chunk j for question i, if it were the question's own chunk
    standings = np.empty((count, count))
    for question, row in enumerate(shared):
        lower_or_tied = (row[None, :] < row[:, None]) + 0.5 * (row[None, :] == row[:, None])
        standings[question] = (lower_or_tied * is_rival).sum(axis=1) / rival_counts
    diagonal = np.arange(count)
    standing = float(standings[diagonal, diagonal].mean())
    generator = np.random.default_rng(seed)
    matching_permutations = sum(
        standings[generator.permutation(count), diagonal].mean() >= standing - 1e-12
        for _ in range(PERMUTATIONS)
    )
    return Overlap(round(standing, 4), (1 + int(matching_permutations)) / (1 + PERMUTATIONS))


def measure_relevance(
    questions: Sequence[str],
    chunks: Sequence[str],
    documents: Sequence[str],
    *,
    question_vectors: Floats,
    chunk_vectors: Floats,
) -> Relevance:
    """Measure the samples of a dataset.

    Args:
        questions, chunks, documents: the question, the text of its chunk and the document id of
            each sample.
        question_vectors, chunk_vectors: (n, dimension) of unit length, by the same embedder.
    """
    document_count = len(set(documents))
    if document_count < MIN_DOCUMENTS:
        return Relevance(len(questions), document_count)
    return Relevance(
        len(questions),
        document_count,
        compare_overlap_with_chance(compute_lexical_overlap(questions, chunks), documents),
        compare_overlap_with_chance(question_vectors @ chunk_vectors.T, documents),
    )


def measure_stored_relevance(tables: Tables, author: str, *, embedder: Embedder) -> Relevance:
    """Measure the stored questions of the training and held-out splits.

    Each version of the dataset draws different samples, so a later draw may find errors that an
    earlier one missed. A sample without a stored chunk is skipped (`every_sample_names_its_chunk`
    counts it).
    """
    samples = tables.read(
        "instruction_dataset",
        author,
        columns=["sample_id", "document_id", "chunk_id", "question"],
        where=f"split IN ('train', 'held_out') AND instruction_source != 'template:{CONTINUATION}'",
    )
    document_count = samples["document_id"].n_unique()
    if document_count < MIN_DOCUMENTS:
        return Relevance(samples.height, document_count)
    salt = tables.data_version("instruction_dataset", author) or ""
    ids = draw_samples(samples["sample_id"].to_list(), salt=salt)
    samples = samples.filter(pl.col("sample_id").is_in(ids))
    chunk_filter = sql_in_filter("chunk_id", set(samples["chunk_id"].to_list()))
    # The title is included, as in embedding, search and prompts: a question may name its post.
    texts = tables.read(
        "document_chunks", author, columns=["chunk_id", "title", "text"], where=chunk_filter
    ).select("chunk_id", text=pl.col("title") + "\n" + pl.col("text"))
    vectors = tables.read("embeddings", author, columns=["chunk_id", "vector"], where=chunk_filter)
    samples = samples.join(texts, on="chunk_id").join(vectors, on="chunk_id").sort("sample_id")
    questions: list[str] = samples["question"].to_list()
    return measure_relevance(
        questions,
        samples["text"].to_list(),
        samples["document_id"].to_list(),
        question_vectors=embedder.embed(questions, are_questions=True).astype("float64"),
        chunk_vectors=samples["vector"].to_numpy().astype("float64"),
    )
