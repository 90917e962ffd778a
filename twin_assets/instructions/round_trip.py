"""Test whether a question retrieves the post that it was generated from.

Scope: the post's rank among all posts for each question, measured once and stored in the table
`question_ranks`. Out of scope: making questions (`back_translation.py`), the context in a prompt
(`contexts.py`).

A question that does not retrieve its own post has a different subject, or none. The method is
round-trip consistency (Alberti et al., 2019, https://aclanthology.org/P19-1620/) with retrieval in
place of a reader. Posts are ranked by their best passage's cosine, because full-text search would
match the words that the question was generated from.
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dataframely as dy
import polars as pl

from twin_assets.corpus.corpus_tables import column_types, validate_rows
from twin_resources.errors import TwinError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from twin_resources.models.retrieval.retrieval import Retriever
    from twin_resources.storage.tables.tables import Tables

    Floats = NDArray[np.float32]

RANKS_TABLE = "question_ranks"
ROUND_TRIP_VERSION = "1"
MAX_POST_RANK = 5  # in posts; a prompt shows four passages
_BATCH_SIZE = 64  # questions compared at a time: 25 MB at 100,000 passages


class QuestionRanks(dy.Schema):
    """Table `question_ranks`: one row for every question compared with the author's passages.

    `rank` is 1 + the number of posts with a passage nearer to the question than any of its own.
    """

    sample_id = dy.String(primary_key=True, min_length=1)
    document_id = dy.String(min_length=1)
    rank = dy.Int64(min=1)


@dataclass(frozen=True)
class RoundTrip:
    """The result of one update.

    Attributes:
        failed_sample_ids: the ids of samples whose question does not rank its post among the first
            `MAX_POST_RANK`.
        vectors: the vectors of the questions compared in this update, by question, which the search
            for contexts uses again.
    """

    failed_sample_ids: frozenset[str]
    vectors: dict[str, Any]


def update_ranks(
    tables: Tables, author: str, questions: pl.DataFrame, *, retriever: Retriever
) -> RoundTrip:
    """Measure the questions that are new, changed, or measured with a different embedder.

    Args:
        questions: `sample_id`, `document_id`, `question`.

    Raises:
        TwinError: the embeddings come from a different embedder, or lack a post.
    """
    vectors: dict[str, Any] = {}
    passages: _PassageIndex | None = None

    def measure(rows: pl.DataFrame) -> pl.DataFrame:
        nonlocal passages
        if passages is None:
            passages = _read_passages(tables, author, revision=retriever.embedder_revision)
        question_texts: list[str] = rows["question"].to_list()
        question_vectors = retriever.embed_questions(question_texts)
        vectors.update(zip(question_texts, question_vectors, strict=True))
        ranks = passages.rank_posts(question_vectors, rows["document_id"].to_list())
        rank_rows = rows.select("sample_id", "document_id").with_columns(
            pl.Series("rank", ranks, dtype=pl.Int64)
        )
        return validate_rows(rank_rows, QuestionRanks)

    tables.sync(
        questions.select("sample_id", "document_id", "question"),
        RANKS_TABLE,
        author=author,
        key="sample_id",
        function=measure,
        version=f"{ROUND_TRIP_VERSION}:{retriever.embedder_revision}",
        schema=column_types(QuestionRanks),
        row_key="sample_id",
    )
    stored_ranks = tables.read(RANKS_TABLE, author, columns=["sample_id", "rank"])
    failed_ids = stored_ranks.filter(pl.col("rank") > MAX_POST_RANK)["sample_id"].to_list()
    return RoundTrip(frozenset(failed_ids), vectors)


@dataclass(frozen=True)
class _PassageIndex:
    """All passages of an author, grouped by post.

    Attributes:
        vectors: (passages, dimension), of unit length.
        post_starts: the first passage of each post.
        index_by_document: the position of each post, by document id.
    """

    vectors: Floats
    post_starts: NDArray[np.int64]
    index_by_document: dict[str, int]

    def rank_posts(self, questions: Floats, documents: list[str]) -> list[int]:
        """Return the rank of each question's own post.

        Args:
            questions: (n, dimension), of unit length.
            documents: the id of each question's own post.
        """
        import numpy as np

        unknown_documents = set(documents) - self.index_by_document.keys()
        if unknown_documents:
            raise TwinError(
                f"find the posts of {len(documents)} questions among the passages",
                found=f"no passages from {len(unknown_documents)} posts",
                next_step="materialize embeddings first",
            )
        own_indexes = np.array([self.index_by_document[document] for document in documents])
        ranks: list[int] = []
        for batch_start in range(0, len(documents), _BATCH_SIZE):
            batch = slice(batch_start, batch_start + _BATCH_SIZE)
            cosines = questions[batch] @ self.vectors.T
            best_scores = np.maximum.reduceat(cosines, self.post_starts, axis=1)
            own_scores = best_scores[np.arange(len(best_scores)), own_indexes[batch]]
            ranks += [int(rank) for rank in 1 + (best_scores > own_scores[:, None]).sum(axis=1)]
        return ranks


def _read_passages(tables: Tables, author: str, *, revision: str) -> _PassageIndex:
    import numpy as np

    rows = tables.read("embeddings", author, columns=["document_id", "vector", "embedder"])
    other_embedders = set(rows["embedder"].to_list()) - {revision}
    if other_embedders:
        raise TwinError(
            f"search the passages of {author}",
            found=f"embeddings from {', '.join(sorted(other_embedders))}, not from {revision}",
            next_step="materialize embeddings first",
        )
    rows = rows.sort("document_id", maintain_order=True)
    documents: list[str] = rows["document_id"].to_list()
    post_starts = [
        index
        for index, document in enumerate(documents)
        if index == 0 or documents[index - 1] != document
    ]
    # Lists would take a gigabyte of Python numbers for 100,000 passages.
    vectors: Floats = rows["vector"].to_numpy().reshape(rows.height, -1)
    index_by_document = {documents[start]: index for index, start in enumerate(post_starts)}
    return _PassageIndex(vectors, np.array(post_starts, dtype=np.int64), index_by_document)
