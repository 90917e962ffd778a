"""Retrieve an author's passages for a question, for the gateway, the training data and the gate.

Each author's passages are in a separate table, so a search needs no filter by author.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from twin_resources.authors import CONTEXT_TOKENS
from twin_resources.errors import TwinError
from twin_resources.models.retrieval.search import (
    MAX_CACHED_ROWS,
    InMemoryTable,
    Passage,
    RetrievalQuery,
    build_passage,
    find_candidates,
    rank_candidates,
    read_positions,
    read_post,
)
from twin_resources.models.retrieval.selection import select_hits
from twin_resources.models.retrieval.stop_words import load_stop_words
from twin_resources.models.retrieval.vector_index import MIN_INDEXED_ROWS, VECTOR_INDEX
from twin_resources.storage.tables.newest_versions import FindVersion, read_newest_version

__all__ = ["MAX_PASSAGES", "Passage", "RetrievalQuery", "RetrievalResult", "Retriever"]

if TYPE_CHECKING:
    import numpy as np

    from twin_resources.models.embedder.embedder import Embedder

EMBEDDINGS_TABLE = "embeddings"
MAX_PASSAGES = 6  # a budget of 400 tokens allows one or two full passages, or more short posts
MAX_NEAREST_POSTS = 8
_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]*")
FOLLOWING_PASSAGES = 2
MIN_LANGUAGE_SHARE = 0.02  # the language detector makes errors on short posts
_MANY_QUERIES = 32  # from this number on, reading all vectors of a large table once is cheaper
# Tables that are too small for a vector index are kept in memory (up to 30 MB each). Reading one
# again takes 40 ms. Only the most recently used tables are kept.
_MAX_CACHED_TABLES = 16


@dataclass(frozen=True)
class RetrievalResult:
    """The passages retrieved for a question.

    Attributes:
        passages: passages for a prompt, within the token budget, best first.
        vector: the question's vector, float32 of shape (dimension,), which the router also uses;
            None if there was no table to search, because the question is then not embedded.
        reason: why the search was not possible; empty if it succeeded.
        ranked: all candidates, best first.
        embedder: revision that made the vector; empty without a vector.
        languages: ISO 639-1 codes of the author's posts, most frequent first.
        known_languages: ISO 639-1 codes that the embedder supports; empty if unknown.
    """

    passages: tuple[Passage, ...]
    vector: np.ndarray | None
    reason: str = ""
    ranked: tuple[Passage, ...] = ()
    embedder: str = ""
    languages: tuple[str, ...] = ()
    known_languages: tuple[str, ...] = ()

    @property
    def evidence(self) -> float:
        """Evidence of the passage that has the most; 0 without passages."""
        return max((passage.evidence for passage in self.ranked), default=0.0)

    @property
    def nearest(self) -> tuple[Passage, ...]:
        """The best passage of each of the first `MAX_NEAREST_POSTS` posts."""
        best_by_post: dict[str, Passage] = {}
        for passage in self.ranked:
            best_by_post.setdefault(passage.document_id, passage)
        return tuple(best_by_post.values())[:MAX_NEAREST_POSTS]


class Retriever:
    """Searches authors' `embeddings` tables; safe to call from several threads.

    Every search reads the newest version of the table. A small table is kept in memory until it
    changes.

    Args:
        tables_base: folder or `s3://` prefix; the table is
            `<tables_base>/<author>/embeddings.lance`.
        embedder: the home's embedder. A table made with a different revision is searched with that
            revision if `load_other_embedder` returns it.
        load_other_embedder: returns the embedder of a revision, or None; used until the home is
            embedded again.
        find_version: finds a table's newest version; the default reads it for every search.
    """

    def __init__(
        self,
        tables_base: str | Path,
        embedder: Embedder,
        *,
        load_other_embedder: Callable[[str], Embedder | None] | None = None,
        find_version: FindVersion = read_newest_version,
    ) -> None:
        self._find_version = find_version
        self._tables_base = str(tables_base).rstrip("/")
        self._embedder = embedder
        self._load_other_embedder = load_other_embedder
        self._embedders: dict[str, Embedder | None] = {embedder.revision: embedder}
        self._open_tables: OrderedDict[str, _OpenTable] = OrderedDict()  # least recently used first
        self._open_lock = Lock()

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts with the home's embedder; see `Embedder.embed`."""
        return self._embedder.embed(texts)

    @property
    def embedder_revision(self) -> str:
        """Revision of the home's embedder."""
        return self._embedder.revision

    def retrieve(
        self,
        author: str,
        question: str,
        *,
        limit: int = MAX_PASSAGES,
        published_before: datetime | None = None,
        published_after: datetime | None = None,
        exclude: Collection[str] = (),
        token_budget: int = CONTEXT_TOKENS,
    ) -> RetrievalResult:
        """Find passages for one question; see `retrieve_many`."""
        query = RetrievalQuery(question, published_before, exclude, published_after=published_after)
        return self.retrieve_many(author, [query], limit=limit, token_budget=token_budget)[0]

    def retrieve_many(
        self,
        author: str,
        queries: Sequence[RetrievalQuery],
        *,
        limit: int = MAX_PASSAGES,
        token_budget: int = CONTEXT_TOKENS,
    ) -> list[RetrievalResult]:
        """Find passages for each query; the questions are embedded together to save time.

        Args:
            author: slug.
            queries: the questions and their filters.
            limit: maximum number of a query's `passages`.
            token_budget: maximum number of tokens in a query's `passages`. If a passage does not
                fit, the next best is tried.

        Returns:
            One result for each query, in order. If the table or its embedder is missing, the result
            has a `reason` and no passages.

        Raises:
            TwinError: `author` is not a slug.
        """
        open_table = self._get_table(author)
        if isinstance(open_table, str):
            # Embedding costs 8 CPU ms per question, and an author without a table may get many.
            return [RetrievalResult((), None, open_table) for _ in queries]
        embedder, cache = open_table.embedder, open_table.cache
        vectors = _embed_queries(queries, embedder)
        stop_words = load_stop_words(open_table.languages[0] if open_table.languages else "")
        # An existing index is used, because training data must match the gateway's results.
        if (
            cache is None
            and not open_table.has_vector_index
            and len(queries) >= _MANY_QUERIES
            and open_table.row_count <= MAX_CACHED_ROWS
        ):
            cache = InMemoryTable(open_table.table)
        results: list[RetrievalResult] = []
        for query, vector in zip(queries, vectors, strict=True):
            ranked = rank_candidates(
                query,
                cache.find_candidates(query, vector)
                if cache
                else find_candidates(open_table.table, query, vector),
                row_count=open_table.row_count,
                stop_words=stop_words,
                to_common_scale=embedder.to_common_scale,
            )
            results.append(
                RetrievalResult(
                    select_hits(ranked, limit=limit, token_budget=token_budget),
                    vector,
                    ranked=tuple(ranked),
                    embedder=embedder.revision,
                    languages=open_table.languages,
                    known_languages=embedder.languages,
                )
            )
        return results

    def read_following(self, author: str, passage: Passage) -> list[Passage]:
        """Return the `FOLLOWING_PASSAGES` passages after a passage in its post, in order."""
        open_table = self._get_table(author)
        if isinstance(open_table, str):  # erased since the search
            return []
        positions = {
            (passage.document_id, passage.position + step)
            for step in range(1, FOLLOWING_PASSAGES + 1)
        }
        rows = (
            open_table.cache.read_positions(positions)
            if open_table.cache
            else read_positions(open_table.table, positions)
        )
        return [build_passage(row) for row in sorted(rows, key=lambda row: row["position"])]

    def read_post(self, author: str, post: str) -> list[Passage]:
        """Return all passages of the post with this id or link, in order; none if unknown."""
        open_table = self._get_table(author)
        if isinstance(open_table, str):
            return []
        return [build_passage(row) for row in read_post(open_table.table, post)]

    def embed_questions(self, questions: Sequence[str]) -> np.ndarray:
        """Embed questions as a search does, as float32 of shape (n, dimension)."""
        return self._embedder.embed(questions, are_questions=True)

    def get_embedder(self, revision: str) -> Embedder | None:
        """Return a revision's embedder, which is loaded only once; None if it is not prepared."""
        if revision not in self._embedders:
            self._embedders[revision] = (
                self._load_other_embedder(revision)
                if self._load_other_embedder and revision
                else None
            )
        return self._embedders[revision]

    def _get_table(self, author: str) -> _OpenTable | str:
        """Return the author's table at its newest version, or the reason why it is unavailable.

        Raises:
            TwinError: `author` is not a slug.
        """
        if not _SLUG.fullmatch(author):
            raise TwinError(
                f"search the posts of author {author!r}",
                found="the name is not a slug of lower-case letters, digits and hyphens",
                next_step="use the name that `twin status` shows",
            )
        identity = table_identity(self._tables_base, author, EMBEDDINGS_TABLE)
        if identity is None:
            return f"author {author} has no {EMBEDDINGS_TABLE} yet"
        with self._open_lock:
            cached_table = self._open_tables.pop(author, None)
            if (
                cached_table is None
                or cached_table.identity != identity
                or cached_table.version
                != self._find_version(
                    f"{self._tables_base}/{author}/{EMBEDDINGS_TABLE}.lance",
                    partial(getattr, cached_table, "newest_version"),
                )
            ):
                is_same_folder = cached_table is not None and cached_table.identity == identity
                cached_table = self._open_table(
                    author,
                    identity,
                    cached_table.table if cached_table and is_same_folder else None,
                )
            if isinstance(cached_table, _OpenTable):
                self._open_tables[author] = cached_table
                while len(self._open_tables) > _MAX_CACHED_TABLES:
                    self._open_tables.popitem(last=False)
            return cached_table

    def _open_table(self, author: str, identity: tuple[int, int], table: Any) -> _OpenTable | str:
        import lancedb

        if table is None:
            database = lancedb.connect(
                f"{self._tables_base}/{author}",
                read_consistency_interval=timedelta(0),  # .1 ms per query; never returns old rows
            )
            try:
                table = database.open_table(EMBEDDINGS_TABLE)
            except (ValueError, FileNotFoundError):
                return f"author {author} has no {EMBEDDINGS_TABLE} yet"
        version, row_count = table.version, table.count_rows()
        revision = read_embedder_revision(table)
        embedder = self.get_embedder(revision)
        if embedder is None:
            message = f"are from embedder {revision}" if revision else "contain no passage"
            return (
                f"the {EMBEDDINGS_TABLE} of author {author} {message}; this process uses "
                f"embedder {self._embedder.revision}: materialize {EMBEDDINGS_TABLE}"
            )
        cache = InMemoryTable(table) if row_count < MIN_INDEXED_ROWS else None
        has_vector_index = VECTOR_INDEX in {index.name for index in table.list_indices()}
        counts = table.to_lance().to_table(columns=["language"])["language"].value_counts()
        languages = tuple(
            row["values"]
            for row in sorted(counts.to_pylist(), key=lambda row: -row["counts"])
            if row["values"] and row["counts"] >= MIN_LANGUAGE_SHARE * row_count
        )
        return _OpenTable(
            table, version, identity, row_count, cache, has_vector_index, embedder, languages
        )


def table_identity(base: str, author: str, table: str) -> tuple[int, int] | None:
    """Return the identity of an author's table folder; None if the folder is missing.

    A rebuild of the table changes the identity.

    Args:
        base: folder or `s3://` prefix of all tables; for S3 the result is constant.
    """
    if "://" in base:
        return (0, 0)
    try:
        status = Path(f"{base}/{author}/{table}.lance").stat()
    except FileNotFoundError:  # lancedb.connect would create the author's folder
        return None
    return status.st_ino, status.st_ctime_ns  # an inode number alone may be reused


@dataclass(frozen=True)
class _OpenTable:
    """A table as it was last opened.

    Attributes:
        version, identity: version and `table_identity`; the table is opened again when either
            changes.
        row_count: number of rows.
        cache: the rows if there are few, else None.
        has_vector_index: whether the table has a vector index.
        embedder: the embedder that made the vectors.
        languages: ISO 639-1 codes of the posts, most frequent first.
    """

    table: Any
    version: int
    identity: tuple[int, int]
    row_count: int
    cache: InMemoryTable | None
    has_vector_index: bool
    embedder: Embedder
    languages: tuple[str, ...] = ()

    @property
    def newest_version(self) -> int:
        """The table's newest version; for a table in memory, without a thread switch."""
        return self.cache.dataset.latest_version if self.cache else self.table.version


def _embed_queries(queries: Sequence[RetrievalQuery], embedder: Embedder) -> list[np.ndarray]:
    """Return each query's vector; questions without one are embedded together."""
    new_questions = [query.question for query in queries if query.vector is None]
    new_vectors: Iterator[np.ndarray] = iter(())
    if new_questions:
        new_vectors = iter(embedder.embed(new_questions, are_questions=True))
    return [next(new_vectors) if query.vector is None else query.vector for query in queries]


def read_embedder_revision(table: Any) -> str:
    """Return the revision of the embedder that made the vectors; "" if the table is empty."""
    rows = table.search().select(["embedder"]).limit(1).to_arrow().to_pylist()
    return rows[0]["embedder"] if rows else ""
