"""Test whether a question finds the post whose passage it was made from.

Scope: the post's rank among all posts for each question, measured once and stored in the table
`question_ranks`. Out of scope: making questions (`back_translation.py`), the context in a prompt
(`contexts.py`).

A question that does not find its own post has another subject, or none: round-trip consistency,
Alberti et al. 2019, https://aclanthology.org/P19-1620/, with retrieval in place of a reader. Posts
are ranked by their best passage's cosine, because full-text search would match the very words that
a question was cut from.
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dataframely as dy
import polars as pl

from twin_assets.corpus.corpus_tables import columns_of, validated
from twin_resources.errors import TwinError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from twin_resources.models.retrieval.retrieval import Retriever
    from twin_resources.storage.tables.tables import Tables

    Floats = NDArray[np.float32]

TABLE = "question_ranks"
ROUND_TRIP_VERSION = "1"
FOUND_AMONG = 5  # posts; a prompt shows four passages, the answer's own among or beside them
_AT_ONCE = 64  # questions against all passages: 25 MB at 100,000 passages


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
        lost: the ids of samples whose question does not find its post among the first
            `FOUND_AMONG`.
        vectors: the vectors of the questions compared in this update, by question; each is embedded
            once for this test and for its context.
    """

    lost: frozenset[str]
    vectors: dict[str, Any]


def update_ranks(
    tables: Tables, author: str, questions: pl.DataFrame, *, retriever: Retriever
) -> RoundTrip:
    """Measure the questions that are new or changed, and those measured with another embedder.

    Args:
        questions: `sample_id`, `document_id`, `question`.

    Raises:
        TwinError: the embeddings come from another embedder, or lack a post.
    """
    vectors: dict[str, Any] = {}
    passages: _Passages | None = None

    def measure(rows: pl.DataFrame) -> pl.DataFrame:
        nonlocal passages
        if passages is None:
            passages = _read(tables, author, revision=retriever.embedder_revision)
        asked: list[str] = rows["question"].to_list()
        embedded = retriever.vectors_of(asked)
        vectors.update(zip(asked, embedded, strict=True))
        ranks = passages.ranks(embedded, rows["document_id"].to_list())
        made = rows.select("sample_id", "document_id").with_columns(
            pl.Series("rank", ranks, dtype=pl.Int64)
        )
        return validated(made, QuestionRanks)

    tables.sync(
        questions.select("sample_id", "document_id", "question"),
        TABLE,
        author=author,
        key="sample_id",
        function=measure,
        version=f"{ROUND_TRIP_VERSION}:{retriever.embedder_revision}",
        schema=columns_of(QuestionRanks),
        row_key="sample_id",
    )
    stored = tables.read(TABLE, author, columns=["sample_id", "rank"])
    lost = stored.filter(pl.col("rank") > FOUND_AMONG)["sample_id"].to_list()
    return RoundTrip(frozenset(lost), vectors)


@dataclass(frozen=True)
class _Passages:
    """All passages of an author, grouped by post.

    Attributes:
        vectors: (passages, dimension), of unit length.
        firsts: the first passage of each post.
        place: the position of each post, by document id.
    """

    vectors: Floats
    firsts: NDArray[np.int64]
    place: dict[str, int]

    def ranks(self, questions: Floats, documents: list[str]) -> list[int]:
        """Return the rank of each question's own post.

        Args:
            questions: (n, dimension), of unit length.
            documents: n, the post of each question.
        """
        import numpy as np

        unknown = set(documents) - self.place.keys()
        if unknown:
            raise TwinError(
                f"find {len(documents)} questions' posts among the passages",
                found=f"no passage of {len(unknown)} posts",
                next_step="materialize embeddings first",
            )
        own = np.array([self.place[document] for document in documents])
        ranks: list[int] = []
        for first in range(0, len(documents), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            cosines = questions[part] @ self.vectors.T
            best = np.maximum.reduceat(cosines, self.firsts, axis=1)
            mine = best[np.arange(len(best)), own[part]]
            ranks += [int(rank) for rank in 1 + (best > mine[:, None]).sum(axis=1)]
        return ranks


def _read(tables: Tables, author: str, *, revision: str) -> _Passages:
    import numpy as np

    rows = tables.read("embeddings", author, columns=["document_id", "vector", "embedder"])
    others = set(rows["embedder"].to_list()) - {revision}
    if others:
        raise TwinError(
            f"put questions to the passages of {author}",
            found=f"embeddings of {', '.join(sorted(others))}; this is embedder {revision}",
            next_step="materialize embeddings first",
        )
    rows = rows.sort("document_id", maintain_order=True)
    documents: list[str] = rows["document_id"].to_list()
    firsts = [
        place
        for place, document in enumerate(documents)
        if place == 0 or documents[place - 1] != document
    ]
    # Not through lists: for 100,000 passages they would take a gigabyte of Python numbers.
    vectors: Floats = rows["vector"].to_numpy().reshape(rows.height, -1)
    place = {documents[first]: number for number, first in enumerate(firsts)}
    return _Passages(vectors, np.array(firsts, dtype=np.int64), place)
