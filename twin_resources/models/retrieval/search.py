"""Search one table by vector and by full text, and read a passage's neighbors in its post.

Scope: the two searches, their filters, and the neighbors of a hit.
Out of scope: the weights of the searches (`fusion.py`), choosing the table and the passages to show
(`retrieval.py`).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from twin_resources.models.retrieval.fusion import fuse_rankings
from twin_resources.models.retrieval.vector_index import set_probes

if TYPE_CHECKING:
    import numpy as np

MAX_CANDIDATES = 20  # for each search, before fusion; with 40, nDCG@10 is .817 instead of .823
MAX_CACHED_ROWS = 100_000  # chunks of one author, 300 MB with their text
INDEXED_TEXT_COLUMN = "indexed_text"
"""Column for full-text search: the embedded text, which consists of the title and the text."""
_COLUMNS = [
    "chunk_id",
    "document_id",
    "title",
    "url",
    "published_at",
    "text",
    "token_count",
    "position",
    "start",
    "end",
]


@dataclass(frozen=True)
class Passage:
    """One chunk of a post, in the form that prompts and traces contain.

    Attributes:
        score: fusion score (`fuse_rankings`), or the hit's score for a neighbor; comparable only
            within one answer.
        token_count: length of `text` in the embedder's tokens.
        position: index of the chunk in its post, from 0.
        start, end: offsets of `text` in the cleaned document, in characters.
        cosine: cosine between the question's and the chunk's vectors; 0 for a neighbor, or if only
            full-text search found the chunk.
    """

    chunk_id: str
    document_id: str
    title: str
    url: str
    published_at: datetime | None
    text: str
    score: float
    token_count: int
    position: int = 0
    start: int = 0
    end: int = 0
    # The last digits differ between an index and an in-memory search.
    cosine: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class RetrievalQuery:
    """A question and the filters of its search.

    Attributes:
        published_before: latest allowed date of a post; posts without a date may be newer, so they
            are also excluded.
        exclude: ids of chunks to exclude.
        exclude_documents: ids of documents to remove from the candidates; pass a set for many ids.
        vector: the question's vector (`Retriever.embed_questions`); None to embed the question.
    """

    question: str
    published_before: datetime | None = None
    exclude: Collection[str] = ()
    exclude_documents: Collection[str] = ()
    vector: np.ndarray | None = field(default=None, compare=False, repr=False)


class InMemoryTable:
    """All rows of a table, for many searches.

    Vector search gives the same results at a tenth of the cost. Full-text search does not read the
    rows from the table.

    Args:
        table: an open LanceDB table with at most `MAX_CACHED_ROWS` rows.
    """

    def __init__(self, table: Any) -> None:
        import numpy as np

        self.dataset = table.to_lance()
        rows = table.search().select([*_COLUMNS, "vector"]).with_row_id(True)
        arrow_table: Any = rows.limit(MAX_CACHED_ROWS).to_arrow().combine_chunks()
        vector_values = arrow_table["vector"].combine_chunks().flatten().to_numpy()
        self._rows = arrow_table.drop_columns(["vector", "_rowid"])
        self._vectors: np.ndarray = vector_values.reshape(arrow_table.num_rows, -1)
        dates = arrow_table["published_at"].cast("int64").to_pylist()
        # A passage without a date counts as newer than any limit.
        self._dates = np.array([_LATEST if date is None else date for date in dates], np.int64)
        self._index_by_chunk = {
            chunk_id: index for index, chunk_id in enumerate(arrow_table["chunk_id"].to_pylist())
        }
        self._index_by_row_id = {
            row_id: index for index, row_id in enumerate(arrow_table["_rowid"].to_pylist())
        }
        document_positions = zip(
            arrow_table["document_id"].to_pylist(), arrow_table["position"].to_pylist(), strict=True
        )
        self._index_by_position = {
            position: index for index, position in enumerate(document_positions)
        }

    def search_vectors(self, query: RetrievalQuery, vector: np.ndarray) -> list[dict[str, Any]]:
        """Return the same rows as the function `search_vectors`, in the same order."""
        import numpy as np

        # `@` would use BLAS threads, which busy-wait for each other.
        distances = 1.0 - np.einsum("ij,j->i", self._vectors, vector)
        if query.published_before is not None:
            distances[self._dates > _to_microseconds(query.published_before)] = np.inf
        excluded_indexes = [
            self._index_by_chunk[chunk_id]
            for chunk_id in query.exclude
            if chunk_id in self._index_by_chunk
        ]
        distances[excluded_indexes] = np.inf
        nearest_indexes = np.argsort(distances, kind="stable")[:MAX_CANDIDATES]
        nearest_indexes = nearest_indexes[np.isfinite(distances[nearest_indexes])]
        rows = self._read_rows(nearest_indexes)
        return [
            row | {"_distance": float(distances[index])}
            for index, row in zip(nearest_indexes, rows, strict=True)
        ]

    def search_full_text(self, words: str, conditions: Sequence[str]) -> list[dict[str, Any]]:
        """Return the row ids and scores of the best full-text rows in Lance, best first."""
        from lance.query import MatchQuery

        scanner = self.dataset.scanner(
            columns=["_score"],
            with_row_id=True,
            full_text_query=MatchQuery(words, INDEXED_TEXT_COLUMN),
            filter=" AND ".join(conditions) or None,
            prefilter=True,
            limit=MAX_CANDIDATES,
        )
        rows: list[dict[str, Any]] = scanner.to_table().to_pylist()
        return rows

    def read_rows_by_score(self, scores: Mapping[int, float]) -> list[dict[str, Any]]:
        """Return the rows of a full-text result in its order; newer rows are omitted.

        Args:
            scores: scores by Lance's row ids.
        """
        cached_row_ids = [row_id for row_id in scores if row_id in self._index_by_row_id]
        rows = self._read_rows([self._index_by_row_id[row_id] for row_id in cached_row_ids])
        return [
            {**row, "_score": scores[row_id]}
            for row_id, row in zip(cached_row_ids, rows, strict=True)
        ]

    def read_rows_at_positions(
        self, positions: Collection[tuple[str, int]], query: RetrievalQuery
    ) -> list[dict[str, Any]]:
        """Return the rows at these (document id, position) pairs that the query allows."""
        latest = (
            _LATEST if query.published_before is None else _to_microseconds(query.published_before)
        )
        indexes = [
            self._index_by_position[position]
            for position in sorted(positions)
            if position in self._index_by_position
        ]
        allowed_indexes = [index for index in indexes if self._dates[index] <= latest]
        return [
            row for row in self._read_rows(allowed_indexes) if row["chunk_id"] not in query.exclude
        ]

    def _read_rows(self, indexes: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
        import numpy as np

        rows: list[dict[str, Any]] = self._rows.take(np.asarray(indexes, np.int64)).to_pylist()
        return rows


_LATEST = 2**63 - 1  # microseconds


def _to_microseconds(moment: datetime) -> int:
    return round(moment.astimezone(UTC).timestamp() * 1_000_000)


def search_vectors(table: Any, query: RetrievalQuery, vector: np.ndarray) -> list[dict[str, Any]]:
    """Return the rows with the nearest vectors (cosine); without an index, the search is exact."""
    builder = table.search(vector, vector_column_name="vector").distance_type("cosine")
    builder = set_probes(builder, has_filter=bool(_build_sql_conditions(query)))
    return _fetch_best_rows(builder, query, [*_COLUMNS, "_distance"])


def search_full_text(
    table: Any, query: RetrievalQuery, *, cache: InMemoryTable | None = None
) -> list[dict[str, Any]]:
    """Return the best rows of the full-text index by BM25.

    Args:
        cache: the rows of `table`, or None. With them, Lance returns only row ids on the
            caller's thread, in .5 CPU ms. Without them, LanceDB takes 2.6 CPU ms and five thread
            switches.
    """
    # MatchQuery treats the question as words; LanceDB would parse a plain string for operators. A
    # question without words is not a valid query.
    words = query.question if re.search(r"\w", query.question) else "?"
    if cache is None:
        from lancedb.query import MatchQuery

        match: Any = MatchQuery  # its generated signature has no defaults
        builder = table.search(match(words, INDEXED_TEXT_COLUMN), query_type="fts")
        return _fetch_best_rows(builder, query, [*_COLUMNS, "_score"])
    rows = cache.search_full_text(words, _build_sql_conditions(query))
    return cache.read_rows_by_score({row["_rowid"]: float(row["_score"]) for row in rows})


def search(
    table: Any, query: RetrievalQuery, vector: np.ndarray, *, cache: InMemoryTable | None
) -> list[Passage]:
    """Run both searches and return their fused results, best first (`fuse_rankings`).

    Args:
        cache: the rows of `table`; None to scan it.
    """
    vector_rows = (
        cache.search_vectors(query, vector) if cache else search_vectors(table, query, vector)
    )
    full_text_rows = search_full_text(table, query, cache=cache)
    vector_rows, full_text_rows = (
        [row for row in rows if row["document_id"] not in query.exclude_documents]
        for rows in (vector_rows, full_text_rows)
    )
    return [
        _build_passage(row, score=score)
        for row, score in fuse_rankings(query.question, vector_rows, full_text_rows)
    ]


def read_neighbors(
    table: Any, hits: Sequence[Passage], query: RetrievalQuery, *, cache: InMemoryTable | None
) -> Mapping[str, list[Passage]]:
    """Return the next and the previous passage of each hit in its post, by the hit's chunk id.

    Hits and passages that the query excludes are omitted.
    """
    neighbor_positions = {
        (hit.document_id, hit.position + step) for hit in hits for step in (1, -1)
    } - {(hit.document_id, hit.position) for hit in hits}
    neighbor_positions = {position for position in neighbor_positions if position[1] >= 0}
    if not neighbor_positions:
        return {hit.chunk_id: [] for hit in hits}
    rows = (
        cache.read_rows_at_positions(neighbor_positions, query)
        if cache
        else _read_positions(table, neighbor_positions, query)
    )
    rows_by_position = {(row["document_id"], row["position"]): row for row in rows}
    return {
        hit.chunk_id: [
            _build_passage(rows_by_position[position], score=hit.score)
            for step in (1, -1)
            for position in [(hit.document_id, hit.position + step)]
            if position in rows_by_position
        ]
        for hit in hits
    }


def _read_positions(
    table: Any, document_positions: Collection[tuple[str, int]], query: RetrievalQuery
) -> list[dict[str, Any]]:
    document_ids = ", ".join(sorted({quote_sql(document) for document, _ in document_positions}))
    positions = ", ".join(map(str, sorted({position for _, position in document_positions})))
    # Pairs would need a long OR. These conditions use the index; the caller drops extra rows.
    conditions = [f"document_id IN ({document_ids})", f"position IN ({positions})"]
    builder = table.search().where(" AND ".join([*conditions, *_build_sql_conditions(query)]))
    rows: list[dict[str, Any]] = builder.select(_COLUMNS).to_arrow().to_pylist()
    return rows


def _build_passage(row: Mapping[str, Any], *, score: float) -> Passage:
    return Passage(
        chunk_id=row["chunk_id"],
        document_id=row["document_id"],
        title=row["title"] or "",
        url=row["url"] or "",
        published_at=row["published_at"],
        text=row["text"],
        score=score,
        token_count=int(row["token_count"]),
        position=int(row["position"]),
        start=int(row["start"]),
        end=int(row["end"]),
        cosine=1.0 - float(row.get("_distance", 1.0)),
    )


def _fetch_best_rows(
    builder: Any, query: RetrievalQuery, columns: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the best candidates that a query allows, best first."""
    conditions = _build_sql_conditions(query)
    if conditions:
        builder = builder.where(" AND ".join(conditions))
    rows: list[dict[str, Any]] = builder.limit(MAX_CANDIDATES).select(list(columns)).to_list()
    return rows


def _build_sql_conditions(query: RetrievalQuery) -> list[str]:
    """Return a query's filters as SQL for Lance."""
    conditions: list[str] = []
    if query.published_before is not None:
        moment = query.published_before.astimezone(UTC).replace(tzinfo=None)
        conditions.append(f"published_at <= timestamp '{moment.isoformat(sep=' ')}'")
    if query.exclude:
        conditions.append(f"chunk_id NOT IN ({', '.join(map(quote_sql, query.exclude))})")
    return conditions


def quote_sql(text: str) -> str:
    """Return text as an SQL literal, without importing Polars into the gateway."""
    return "'" + text.replace("'", "''") + "'"
