"""Retrieve an author's passages that a question is about: vector and full-text search, fused.

Scope: the search that the gateway, the training data and the evaluation share, bit for bit.
Out of scope: filling the table (the `embeddings` asset), the prompt around the passages
(`prompt/templates.py`).

Each author's passages have a table of their own. No filter can be forgotten, because that table
contains no other author's text.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from twin_resources.authors import CONTEXT_TOKENS
from twin_resources.errors import TwinError
from twin_resources.models.retrieval.search import (
    MAX_IN_MEMORY,
    InMemory,
    Passage,
    RetrievalQuery,
    neighbours,
    search,
    words_column,
)
from twin_resources.models.retrieval.selection import best_hits, with_neighbours
from twin_resources.models.retrieval.vector_index import MIN_INDEXED_ROWS, VECTOR_INDEX

__all__ = ["PASSAGES", "Passage", "RetrievalQuery", "RetrievalResult", "Retriever"]

if TYPE_CHECKING:
    import numpy as np

    from twin_resources.models.embedder.embedder import Embedder
    from twin_resources.models.retrieval.reranker import Reranker

TABLE = "embeddings"
PASSAGES = 6  # hits; the token budget allows 3 or 4 full chunks of 400 tokens, or more short posts
NEAREST_POSTS = 8
_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]*")
_MANY = 32  # questions from which reading all vectors of a large table once is cheaper
# A table too small for a vector index is kept in memory (30 MB), for this many authors, the last
# used: reading one again takes 40 ms.
_KEPT_TABLES = 16


@dataclass(frozen=True)
class RetrievalResult:
    """The passages retrieved for a question.

    Attributes:
        passages: within the token budget, best first; adjacent passages of a post are together,
            in the post's order.
        vector: the question's vector, float32 of shape (dimension,), which the router uses too;
            None if there was no table to search, so nothing was embedded.
        reason: why the search was not possible; empty if it was.
        nearest: the best passage of each top-ranked post, whether or not it fit the budget; at most
            `NEAREST_POSTS`.
        embedder: revision that made the vector; empty without a vector.
        tokens: the question's token vectors, float32, (tokens, dimension); None if not requested.
    """

    passages: tuple[Passage, ...]
    vector: np.ndarray | None
    reason: str = ""
    nearest: tuple[Passage, ...] = ()
    embedder: str = ""
    tokens: np.ndarray | None = None


class Retriever:
    """Searches the `embeddings` table of an author; safe to call from several threads.

    Every search reads the newest version of the table. A small table is kept in memory until it
    changes. With 4,400 chunks a query costs 12 CPU ms on a busy machine, half of them for the
    question's vector.

    Args:
        tables_base: folder or `s3://` prefix; the table is
            `<tables_base>/<author>/embeddings.lance`.
        embedder: the home's embedder. A table of another revision is searched with that revision,
            if `other` returns it.
        storage_options: Lance's storage options, for `s3://`.
        reranker: reranks the search results; None keeps the search's ranking.
        other: returns the embedder of a revision, or None; used until the home is embedded again.
    """

    def __init__(
        self,
        tables_base: str | Path,
        embedder: Embedder,
        storage_options: Mapping[str, str] | None = None,
        *,
        reranker: Reranker | None = None,
        other: Callable[[str], Embedder | None] | None = None,
    ) -> None:
        self._base = str(tables_base).rstrip("/")
        self._embedder = embedder
        self._storage_options = dict(storage_options or {})
        self._reranker = reranker
        self._other = other
        self._embedders: dict[str, Embedder | None] = {embedder.revision: embedder}
        self._opened: OrderedDict[str, _OpenTable] = OrderedDict()  # least recently used first
        self._opening = Lock()

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts with the embedder that encodes questions; see `Embedder.embed`."""
        return self._embedder.embed(texts)

    @property
    def embedder_revision(self) -> str:
        """Revision of the embedder that encodes questions."""
        return self._embedder.revision

    @property
    def revision(self) -> str:
        """Revision of all models that find and rank passages."""
        reranker = f"+{self._reranker.revision}" if self._reranker else ""
        return f"{self._embedder.revision}{reranker}"

    def retrieve(
        self,
        author: str,
        question: str,
        *,
        limit: int = PASSAGES,
        before: datetime | None = None,
        exclude: Collection[str] = (),
        token_budget: int = CONTEXT_TOKENS,
        with_tokens: bool = False,
    ) -> RetrievalResult:
        """Find passages for one question; see `retrieve_many`."""
        query = RetrievalQuery(question, before, exclude)
        return self.retrieve_many(
            author, [query], limit=limit, token_budget=token_budget, with_tokens=with_tokens
        )[0]

    def retrieve_many(
        self,
        author: str,
        queries: Sequence[RetrievalQuery],
        *,
        limit: int = PASSAGES,
        token_budget: int = CONTEXT_TOKENS,
        with_tokens: bool = False,
    ) -> list[RetrievalResult]:
        """Find passages for each query; the questions are embedded together, which is cheaper.

        Args:
            author: slug.
            queries: the questions and their filters.
            limit: maximum number of hits for a query, without their neighbours.
            token_budget: maximum number of tokens of a query's passages. A passage that does not
                fit is skipped for the next best. The neighbours of hits use the remaining tokens.
            with_tokens: also return the vectors of the questions' tokens, if no query has a vector.

        Returns:
            One result for each query, in order. Without a table, or without the embedder that made
            it, the result has no passages and a `reason`.

        Raises:
            TwinError: `author` is no slug.
        """
        if not _SLUG.fullmatch(author):
            raise TwinError(
                f"search the posts of author {author!r}",
                found="that is not a slug of small letters, digits and hyphens",
                next_step="name the author as `twin status` does",
            )
        opened = self._table(author)
        if isinstance(opened, str):
            # A question costs 8 CPU-ms to embed, and an author without a table may have many.
            return [RetrievalResult((), None, opened) for _ in queries]
        tokens: dict[int, np.ndarray] = {}
        vectors = _vectors(queries, opened.embedder, tokens.__setitem__ if with_tokens else None)
        memory = opened.memory
        # A vector index is used here too: the gateway uses it, and training data must match.
        many = len(queries) >= _MANY and opened.rows <= MAX_IN_MEMORY
        if memory is None and many and not opened.vector_index:
            memory = InMemory(opened.table)
        results: list[RetrievalResult] = []
        for number, (query, vector) in enumerate(zip(queries, vectors, strict=True)):
            column = opened.words_column
            ranked = search(opened.table, query, vector, memory=memory, column=column)
            if self._reranker:
                ranked = self._reranker.ranked(query.question, ranked)
            hits = best_hits(ranked, limit=limit, token_budget=token_budget)
            beside = neighbours(opened.table, hits, query, memory=memory)
            shown = with_neighbours(hits, beside, token_budget=token_budget)
            nearest, revision = _best_of_each_post(ranked), opened.embedder.revision
            results.append(
                RetrievalResult(
                    shown, vector, nearest=nearest, embedder=revision, tokens=tokens.get(number)
                )
            )
        return results

    def vectors_of(self, questions: Sequence[str]) -> np.ndarray:
        """Embed questions as a search does; returns float32 of shape (n, dimension)."""
        return self._embedder.embed(questions, are_questions=True)

    def embedder_of(self, revision: str) -> Embedder | None:
        """Return the embedder of a revision, loaded once, or None if it is not prepared."""
        if revision not in self._embedders:
            self._embedders[revision] = self._other(revision) if self._other and revision else None
        return self._embedders[revision]

    def _table(self, author: str) -> _OpenTable | str:
        """Return the author's table at its newest version, or why there is none to search."""
        folder = place_of(self._base, author, TABLE)
        if folder is None:
            return f"author {author} has no {TABLE} yet"
        with self._opening:
            known = self._opened.pop(author, None)
            if known is None or known.folder != folder or known.version != known.newest:
                same = known is not None and known.folder == folder
                known = self._open(author, folder, known.table if known and same else None)
            if isinstance(known, _OpenTable):
                self._opened[author] = known
                while len(self._opened) > _KEPT_TABLES:
                    self._opened.popitem(last=False)
            return known

    def _open(self, author: str, folder: tuple[int, int], table: Any) -> _OpenTable | str:
        import lancedb

        if table is None:
            database = lancedb.connect(
                f"{self._base}/{author}",
                storage_options=self._storage_options or None,
                read_consistency_interval=timedelta(0),  # .1 ms a query; never returns old rows
            )
            try:
                table = database.open_table(TABLE)
            except (ValueError, FileNotFoundError):
                return f"author {author} has no {TABLE} yet"
        version, rows = table.version, table.count_rows()
        revision = _embedder_of(table)
        embedder = self.embedder_of(revision)
        if embedder is None:
            message = f"were made by embedder {revision}" if revision else "hold no passage"
            return (
                f"the {TABLE} of author {author} {message}; this is embedder "
                f"{self._embedder.revision}: materialize {TABLE}"
            )
        memory = InMemory(table) if rows < MIN_INDEXED_ROWS else None
        indexed = VECTOR_INDEX in {index.name for index in table.list_indices()}
        column = words_column(table)
        return _OpenTable(table, version, folder, rows, memory, indexed, column, embedder)


def place_of(base: str, author: str, table: str) -> tuple[int, int] | None:
    """Identify an author's table folder, so that a rebuilt one differs; None if there is none.

    Args:
        base: folder or `s3://` prefix of all tables; on S3 the result is constant.
    """
    if "://" in base:
        return (0, 0)
    try:
        status = Path(f"{base}/{author}/{table}.lance").stat()
    except FileNotFoundError:  # lancedb.connect would create the author's folder
        return None
    return status.st_ino, status.st_ctime_ns  # an inode number alone may be reused


def _best_of_each_post(ranked: Sequence[Passage]) -> tuple[Passage, ...]:
    """Return the best passage of each of the top-ranked posts."""
    first: dict[str, Passage] = {}
    for passage in ranked:
        if len(first) < NEAREST_POSTS:
            first.setdefault(passage.document_id, passage)
    return tuple(first.values())


@dataclass(frozen=True)
class _OpenTable:
    """A table as it was last opened.

    Attributes:
        version, folder: the table is opened again when either changes.
        memory: its rows, if they are few.
        vector_index: whether the table has a vector index.
        words_column: the column that full-text search uses.
        embedder: the embedder that made the vectors.
    """

    table: Any
    version: int
    folder: tuple[int, int]
    rows: int
    memory: InMemory | None
    vector_index: bool
    words_column: str
    embedder: Embedder

    @property
    def newest(self) -> int:
        """The table's newest version; a table in memory needs no change of thread for it."""
        return self.memory.dataset.latest_version if self.memory else self.table.version


def _vectors(
    queries: Sequence[RetrievalQuery],
    embedder: Embedder,
    keep_tokens: Callable[[int, np.ndarray], object] | None,
) -> list[np.ndarray]:
    """Return each query's vector; questions without one are embedded together."""
    missing = [query.question for query in queries if query.vector is None]
    embedded: Iterator[np.ndarray] = iter(())
    if missing:
        embedded = iter(embedder.embed(missing, are_questions=True, each_text=keep_tokens))
    return [next(embedded) if query.vector is None else query.vector for query in queries]


def _embedder_of(table: Any) -> str:
    """Return the revision of the embedder that made the vectors; empty without rows."""
    rows = table.search().select(["embedder"]).limit(1).to_arrow().to_pylist()
    return rows[0]["embedder"] if rows else ""
