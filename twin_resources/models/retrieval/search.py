"""Search one table by vector and by full text, and read the neighbours of a passage in its post.

Scope: the two searches, their filters, the neighbours of a hit.
Out of scope: the weight of either search (`fusion.py`), the choice of the table, and how much of
the result is shown (`retrieval.py`).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from twin_resources.models.retrieval.fusion import fuse
from twin_resources.models.retrieval.vector_index import set_probes

if TYPE_CHECKING:
    import numpy as np

CANDIDATES = 20  # of each search, before fusion; with 40 nDCG@10 is .817 instead of .823
MAX_IN_MEMORY = 100_000  # chunks of one author: 300 MB with their text
INDEXED = "indexed_text"
"""Column that full-text search uses: the embedded text, which is the title and the text."""
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
    """One chunk of a post, as the prompt shows it and the trace names it.

    Attributes:
        score: fusion score (`fusion.fuse`), or that of the hit for a neighbour; comparable within
            one answer only.
        token_count: length of `text` in the embedder's tokens.
        position: index of the chunk in its post, from 0.
        beside: chunk id of the hit whose neighbour this is; empty for a hit.
        start, end: offsets of `text` in the cleaned document, in characters.
        cosine: cosine of the question's and the chunk's vector; 0 for a neighbour, or if only full
            text found the chunk.
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
    beside: str = ""
    start: int = 0
    end: int = 0
    # an index and a search in memory differ in the last digits
    cosine: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class RetrievalQuery:
    """A question and the filters of its search.

    Attributes:
        before: newest date of a post; a post without a date may be newer, so it is excluded too.
        exclude: chunk ids.
        exclude_documents: document ids, removed from the candidates; pass a set if there are many.
        vector: the question's vector (`Retriever.vectors_of`); None to embed the question.
    """

    question: str
    before: datetime | None = None
    exclude: Collection[str] = ()
    exclude_documents: Collection[str] = ()
    vector: np.ndarray | None = field(default=None, compare=False, repr=False)


class InMemory:
    """All rows of a table, for many searches: the same nearest vectors at a tenth of the cost, and
    the rows of a full-text search without reading the table.

    Args:
        table: an open LanceDB table with at most `MAX_IN_MEMORY` rows.
    """

    def __init__(self, table: Any) -> None:
        import numpy as np

        self.dataset = table.to_lance()
        rows = table.search().select([*_COLUMNS, "vector"]).with_row_id(True)
        read: Any = rows.limit(MAX_IN_MEMORY).to_arrow().combine_chunks()
        flat = read["vector"].combine_chunks().flatten().to_numpy()
        self._rows = read.drop_columns(["vector", "_rowid"])
        self._vectors: np.ndarray = flat.reshape(read.num_rows, -1)
        dates = read["published_at"].cast("int64").to_pylist()
        # A passage without a date counts as newer than every limit.
        self._dates = np.array([_LATEST if date is None else date for date in dates], np.int64)
        self._place = {chunk: place for place, chunk in enumerate(read["chunk_id"].to_pylist())}
        self._by_row_id = {row: place for place, row in enumerate(read["_rowid"].to_pylist())}
        posts = zip(read["document_id"].to_pylist(), read["position"].to_pylist(), strict=True)
        self._in_post = {where: place for place, where in enumerate(posts)}

    def nearest(self, query: RetrievalQuery, vector: np.ndarray) -> list[dict[str, Any]]:
        """Return the same rows as the function `nearest`, in the same order."""
        import numpy as np

        # Not `@`: the threads of a matrix library wait for each other in a busy loop.
        distances = 1.0 - np.einsum("ij,j->i", self._vectors, vector)
        if query.before is not None:
            distances[self._dates > _microseconds(query.before)] = np.inf
        excluded = [self._place[chunk] for chunk in query.exclude if chunk in self._place]
        distances[excluded] = np.inf
        order = np.argsort(distances, kind="stable")[:CANDIDATES]
        order = order[np.isfinite(distances[order])]
        near = self._take(order)
        return [
            row | {"_distance": float(distances[place])}
            for place, row in zip(order, near, strict=True)
        ]

    def by_words(self, words: str, column: str, conditions: Sequence[str]) -> list[dict[str, Any]]:
        """Return Lance's row id and `_score` of the best full-text rows, best first."""
        from lance.query import MatchQuery

        scanner = self.dataset.scanner(
            columns=["_score"],
            with_row_id=True,
            full_text_query=MatchQuery(words, column),
            filter=" AND ".join(conditions) or None,
            prefilter=True,
            limit=CANDIDATES,
        )
        rows: list[dict[str, Any]] = scanner.to_table().to_pylist()
        return rows

    def rows_of(self, scores: Mapping[int, float]) -> list[dict[str, Any]]:
        """Return the rows of a full-text result in its order, without rows written since.

        Args:
            scores: `_score` by Lance's row id.
        """
        known = [row for row in scores if row in self._by_row_id]
        rows = self._take([self._by_row_id[row] for row in known])
        return [{**row, "_score": scores[name]} for name, row in zip(known, rows, strict=True)]

    def at(
        self, places: Collection[tuple[str, int]], query: RetrievalQuery
    ) -> list[dict[str, Any]]:
        """Return the rows at these documents and positions that the query allows."""
        latest = _LATEST if query.before is None else _microseconds(query.before)
        rows = [self._in_post[place] for place in sorted(places) if place in self._in_post]
        allowed = [place for place in rows if query.before is None or self._dates[place] <= latest]
        return [row for row in self._take(allowed) if row["chunk_id"] not in query.exclude]

    def _take(self, places: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
        import numpy as np

        rows: list[dict[str, Any]] = self._rows.take(np.asarray(places, np.int64)).to_pylist()
        return rows


_LATEST = 2**63 - 1


def _microseconds(moment: datetime) -> int:
    return round(moment.astimezone(UTC).timestamp() * 1_000_000)


def nearest(table: Any, query: RetrievalQuery, vector: np.ndarray) -> list[dict[str, Any]]:
    """Return the rows with the nearest vectors (cosine), by index if there is one, else exactly."""
    builder = table.search(vector, vector_column_name="vector").distance_type("cosine")
    builder = set_probes(builder, filtered=bool(_conditions(query)))
    return _best(builder, query, [*_COLUMNS, "_distance"])


def words_column(table: Any) -> str:
    """Return the column that full-text search uses: `indexed_text`, or `text` in an old table.

    A table of a release before 3 lacks `indexed_text` until the next import.
    """
    return INDEXED if INDEXED in table.schema.names else "text"


def by_words(
    table: Any, query: RetrievalQuery, *, memory: InMemory | None = None, column: str = INDEXED
) -> list[dict[str, Any]]:
    """Return the best rows by BM25, from the full-text index.

    Args:
        memory: the rows of `table`. Lance then returns only row ids, on the caller's thread, in .5
            CPU-ms. LanceDB takes 2.6 CPU-ms, and five changes of thread.
        column: the column to search (`words_column`).
    """
    # MatchQuery takes the question as words; a bare string would be parsed for operators, and a
    # question without words is not a valid query.
    words = query.question if re.search(r"\w", query.question) else "?"
    if memory is None:
        from lancedb.query import MatchQuery

        match: Any = MatchQuery  # its generated signature lacks the defaults
        builder = table.search(match(words, column), query_type="fts")
        return _best(builder, query, [*_COLUMNS, "_score"])
    rows = memory.by_words(words, column, _conditions(query))
    return memory.rows_of({row["_rowid"]: float(row["_score"]) for row in rows})


def search(
    table: Any,
    query: RetrievalQuery,
    vector: np.ndarray,
    *,
    memory: InMemory | None,
    column: str = INDEXED,
) -> list[Passage]:
    """Run both searches and fuse their results, best first (`fusion.fuse`).

    Args:
        memory: the rows of `table`; None to scan it.
        column: the column for full-text search (`words_column`).
    """
    near = memory.nearest(query, vector) if memory else nearest(table, query, vector)
    worded = by_words(table, query, memory=memory, column=column)
    near, worded = _allowed(near, query), _allowed(worded, query)
    return [_passage(row, score=score) for row, score in fuse(query.question, near, worded)]


def _allowed(rows: Sequence[dict[str, Any]], query: RetrievalQuery) -> list[dict[str, Any]]:
    return [row for row in rows if row["document_id"] not in query.exclude_documents]


def neighbours(
    table: Any, hits: Sequence[Passage], query: RetrievalQuery, *, memory: InMemory | None
) -> Mapping[str, list[Passage]]:
    """Return the passages right after and right before each hit in its post, by the hit's chunk id.

    Passages that the query excludes are left out, and so are the hits themselves.
    """
    around = {(hit.document_id, hit.position + step) for hit in hits for step in (1, -1)} - {
        (hit.document_id, hit.position) for hit in hits
    }
    around = {place for place in around if place[1] >= 0}
    if not around:
        return {hit.chunk_id: [] for hit in hits}
    rows = memory.at(around, query) if memory else _read_at(table, around, query)
    by_place = {(row["document_id"], row["position"]): row for row in rows}
    return {
        hit.chunk_id: [
            _passage(by_place[place], score=hit.score, beside=hit.chunk_id)
            for step in (1, -1)
            for place in [(hit.document_id, hit.position + step)]
            if place in by_place
        ]
        for hit in hits
    }


def _read_at(
    table: Any, places: Collection[tuple[str, int]], query: RetrievalQuery
) -> list[dict[str, Any]]:
    documents = ", ".join(sorted({_quoted(document) for document, _ in places}))
    positions = ", ".join(map(str, sorted({position for _, position in places})))
    # Pairs would need a long OR. This finds some extra rows, by index, and the caller drops them.
    conditions = [f"document_id IN ({documents})", f"position IN ({positions})"]
    builder = table.search().where(" AND ".join([*conditions, *_conditions(query)]))
    rows: list[dict[str, Any]] = builder.select(_COLUMNS).to_arrow().to_pylist()
    return rows


def _passage(row: Mapping[str, Any], *, score: float, beside: str = "") -> Passage:
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
        beside=beside,
        start=int(row["start"]),
        end=int(row["end"]),
        cosine=1.0 - float(row.get("_distance", 1.0)),
    )


def _best(builder: Any, query: RetrievalQuery, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the first candidates that a query allows, best first."""
    conditions = _conditions(query)
    if conditions:
        builder = builder.where(" AND ".join(conditions))
    rows: list[dict[str, Any]] = builder.limit(CANDIDATES).select(list(columns)).to_list()
    return rows


def _conditions(query: RetrievalQuery) -> list[str]:
    """Write a query's filters as SQL for Lance."""
    conditions: list[str] = []
    if query.before is not None:
        moment = query.before.astimezone(UTC).replace(tzinfo=None)
        conditions.append(f"published_at <= timestamp '{moment.isoformat(sep=' ')}'")
    if query.exclude:
        conditions.append(f"chunk_id NOT IN ({', '.join(map(_quoted, query.exclude))})")
    return conditions


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
