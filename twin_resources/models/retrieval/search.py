"""Search one author's passages by vector and by full text, and rank them by the sum of both.

    score(passage) = cosine + .2 × BM25 / the question's best BM25

Cosines are on the default embedder's scale (`Embedder.to_common_scale`). BM25 is that of Lance's
full-text index of title and text, stemmed and without stop words. On 99 tuning questions the first
passage was useful for .64, with the cosine alone for .53; the best paragraph inside, the post's
best passage, the title's cosine, centered vectors, late interaction of tokens (Khattab and Zaharia
2020) and relevance feedback added nothing on both sets of questions. A post that the question names
by its title comes first. Of passages that are equally near, the newer one does (`order_passages`).

    evidence(passage) = cosine + .1 × BM25 / ln n - chance(n) - .15 × share of missing words
    chance(n)         = mean + spread × √(2 ln n), about the largest cosine of n unrelated passages

n is the author's number of passages. A word of the question is missing if it stands in none of the
20 best ones. Of 139 tuning questions to their authors and 60 to others, with the limit that
declines at most 4 of the former, the whole declines 57 of the latter, the first two terms 50.
"""
# pyright: strict

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from twin_resources.models.embedder.embedder import COMMON_SPREAD, COMMON_UNRELATED
from twin_resources.models.retrieval.title_matching import find_named_titles, is_unmistakable_title
from twin_resources.models.retrieval.vector_index import set_probes

if TYPE_CHECKING:
    import numpy as np

MAX_CANDIDATES = 30  # of each search; the first three are shown
MAX_FULL_TEXT_ROWS = 100  # a near passage that is not among them has no BM25 worth counting
LEXICAL_WEIGHT = 0.2  # .15 and .25 find one or two fewer of 99 in the first place
LEXICAL_EVIDENCE = 0.1
MISSING_EVIDENCE, MAX_READ = 0.15, 20
# Both passages answer surely, and neither clearly better. Of 139 tuning questions, which have one
# answer, none is answered by another passage; with scores alone, .02 apart, three are answered
# worse. Of 14 pairs of posts whose author changed his mind, the newer answers 13 instead of 5.
EQUAL_EVIDENCE, EQUAL_SCORE, YEARS_APART = 0.42, 0.18, 1
MAX_CACHED_ROWS = 100_000  # passages of one author, 300 MB with their text
INDEXED_TEXT_COLUMN = "indexed_text"
_COLUMNS = [
    *("chunk_id", "document_id", "title", "url", "published_at", "text", "token_count"),
    *("position", "start", "end", "fence"),
]
_LATEST = 2**63 - 1  # microseconds

ToCommonScale = Callable[[float], float]


class DatedPost(Protocol):
    """A passage, or a quotation of one."""

    @property
    def published_at(self) -> datetime | None: ...


@dataclass(frozen=True)
class Passage:
    """One passage of a post, in the form that prompts, quotations and traces contain.

    Attributes:
        score: rank score; comparable only within one answer.
        token_count: length of `text` in the embedder's tokens.
        position: index of the passage in its post, from 0.
        start, end: offsets of `text` in the cleaned document, in characters.
        fence: opening line of the code block in which the passage begins; empty outside code.
        cosine: cosine between the question's and the passage's vectors, as the embedder gives it.
        evidence: how surely the passage is about the question's subject; about 0 for the best
            passage of a question about something else.
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
    fence: str = ""
    # The last digits differ between an index and an in-memory search.
    cosine: float = field(default=0.0, compare=False)
    evidence: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class RetrievalQuery:
    """A question and the filters of its search.

    Attributes:
        published_before, published_after: latest and earliest allowed date of a post; with either,
            posts without a date are also excluded.
        exclude: ids of passages to exclude.
        exclude_documents: ids of documents to remove from the candidates; pass a set for many ids.
        vector: the question's vector (`Retriever.embed_questions`); None to embed the question.
    """

    question: str
    published_before: datetime | None = None
    exclude: Collection[str] = ()
    exclude_documents: Collection[str] = ()
    vector: np.ndarray | None = field(default=None, compare=False, repr=False)
    published_after: datetime | None = None

    @property
    def words(self) -> str:
        """The question as full-text search takes it; a question without words is not valid."""
        return self.question if re.search(r"\w", self.question) else "?"

    @property
    def sql_conditions(self) -> str | None:
        """The filters as SQL for Lance, except `exclude_documents`."""
        conditions: list[str] = []
        for operator, limit in (("<=", self.published_before), (">=", self.published_after)):
            if limit is not None:
                moment = limit.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
                conditions.append(f"published_at {operator} timestamp '{moment}'")
        if self.exclude:
            conditions.append(f"chunk_id NOT IN ({', '.join(map(quote_sql, self.exclude))})")
        return " AND ".join(conditions) or None


class InMemoryTable:
    """All rows of a table, for many searches: the same results at a tenth of the cost.

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
        self._index_by_chunk = _index_values(arrow_table["chunk_id"].to_pylist())
        self._index_by_row_id = _index_values(arrow_table["_rowid"].to_pylist())
        self._index_by_position = _index_values(
            zip(
                arrow_table["document_id"].to_pylist(),
                arrow_table["position"].to_pylist(),
                strict=True,
            )
        )

    def find_candidates(self, query: RetrievalQuery, vector: np.ndarray) -> list[dict[str, Any]]:
        """Return the same rows as the function `find_candidates`."""
        import numpy as np
        from lance.query import MatchQuery

        # `@` would use BLAS threads, which busy-wait for each other.
        cosines = np.einsum("ij,j->i", self._vectors, vector)
        allowed = np.ones(len(cosines), bool)
        if query.published_before is not None:
            allowed &= self._dates <= round(
                query.published_before.astimezone(UTC).timestamp() * 1_000_000
            )
        if query.published_after is not None:
            allowed &= self._dates != _LATEST
            allowed &= self._dates >= round(
                query.published_after.astimezone(UTC).timestamp() * 1_000_000
            )
        allowed[
            [self._index_by_chunk[key] for key in query.exclude if key in self._index_by_chunk]
        ] = False
        nearest = np.argsort(np.where(allowed, -cosines, np.inf), kind="stable")[:MAX_CANDIDATES]
        # With Lance instead of LanceDB, .5 instead of 2.6 CPU ms, on the caller's thread.
        scanner = self.dataset.scanner(
            columns=["_score"],
            with_row_id=True,
            full_text_query=MatchQuery(query.words, INDEXED_TEXT_COLUMN),
            filter=query.sql_conditions,
            prefilter=True,
            limit=MAX_FULL_TEXT_ROWS,
        )
        lexical = {
            self._index_by_row_id[row_id]: score  # rows that are newer than the cache are omitted
            for row_id, score in _read_pairs(scanner.to_table(), "_rowid", "_score")
            if row_id in self._index_by_row_id
        }
        best_lexical = list(lexical)[:MAX_CANDIDATES]
        indexes = list(dict.fromkeys([*nearest[allowed[nearest]].tolist(), *best_lexical]))
        return [
            row | {"cosine": float(cosines[index]), "lexical": lexical.get(index, 0.0)}
            for index, row in zip(indexes, self._read_rows(indexes), strict=True)
        ]

    def read_positions(self, positions: Collection[tuple[str, int]]) -> list[dict[str, Any]]:
        """Return the existing rows at these (document id, position) pairs."""
        return self._read_rows(
            [
                self._index_by_position[position]
                for position in positions
                if position in self._index_by_position
            ]
        )

    def _read_rows(self, indexes: Sequence[int]) -> list[dict[str, Any]]:
        import numpy as np

        rows: list[dict[str, Any]] = self._rows.take(np.asarray(indexes, np.int64)).to_pylist()
        return rows


def find_candidates(table: Any, query: RetrievalQuery, vector: np.ndarray) -> list[dict[str, Any]]:
    """Return the nearest rows and the best full-text rows of a LanceDB table.

    Returns:
        `_COLUMNS`, `cosine` and `lexical` (BM25, 0 outside the best `MAX_FULL_TEXT_ROWS`).
    """
    import numpy as np
    from lancedb.query import MatchQuery

    conditions = query.sql_conditions
    nearest = table.search(vector, vector_column_name="vector").distance_type("cosine")
    nearest = set_probes(nearest, has_filter=bool(conditions))
    # MatchQuery treats the question as words; LanceDB would parse a plain string for operators.
    match: Any = MatchQuery  # its generated signature has no defaults
    matching = table.search(match(query.words, INDEXED_TEXT_COLUMN), query_type="fts")
    if conditions:
        nearest, matching = nearest.where(conditions), matching.where(conditions)
    rows: dict[str, dict[str, Any]] = {}
    for row in nearest.limit(MAX_CANDIDATES).select([*_COLUMNS, "_distance"]).to_list():
        rows[row["chunk_id"]] = row | {"cosine": 1.0 - float(row["_distance"]), "lexical": 0.0}
    columns = [*_COLUMNS, "vector", "_score"]
    matches = matching.limit(MAX_FULL_TEXT_ROWS).select(columns).to_list()
    for number, row in enumerate(matches):
        known = rows.get(row["chunk_id"])
        if known is None and number < MAX_CANDIDATES:
            known = row | {"cosine": float(np.asarray(row["vector"], np.float32) @ vector)}
        if known is not None:
            rows[row["chunk_id"]] = known | {"lexical": float(row["_score"])}
    return list(rows.values())


def rank_candidates(
    query: RetrievalQuery,
    rows: Sequence[Mapping[str, Any]],
    *,
    row_count: int,
    stop_words: Collection[str],
    to_common_scale: ToCommonScale,
) -> list[Passage]:
    """Return the candidates as passages, best first.

    Args:
        rows: rows of `find_candidates`.
        row_count: number of passages of the author, at least 1.
        stop_words: the stop words of the posts' language.
        to_common_scale: `Embedder.to_common_scale`.
    """
    rows = [
        row
        for row in rows
        if row["document_id"] not in query.exclude_documents and not is_mostly_quoted(row["text"])
    ]
    best_lexical = max((row["lexical"] for row in rows), default=0.0) or 1.0
    similarities = [to_common_scale(row["cosine"]) for row in rows]
    scores = [
        similarity + LEXICAL_WEIGHT * row["lexical"] / best_lexical
        for similarity, row in zip(similarities, rows, strict=True)
    ]
    best = sorted(range(len(rows)), key=lambda index: -scores[index])[:MAX_READ]
    texts = [f"{rows[index]['title'] or ''}\n{rows[index]['text']}" for index in best]
    missing_share = measure_missing_words(query.question, texts, stop_words)
    chance = COMMON_UNRELATED + COMMON_SPREAD * math.sqrt(2 * math.log(row_count))
    passages = [
        build_passage(
            row,
            score=score,
            evidence=similarity
            + LEXICAL_EVIDENCE * row["lexical"] / math.log(row_count + 2)
            - chance
            - MISSING_EVIDENCE * missing_share,
        )
        for row, score, similarity in zip(rows, scores, similarities, strict=True)
    ]
    return order_passages(query.question, passages)


def is_mostly_quoted(text: str) -> bool:
    """Return whether most of a passage is a block quotation: somebody else's words."""
    lines = [line.strip() for line in text.split("\n")]
    quoted = sum(len(line) for line in lines if line.startswith(">"))
    return 2 * quoted > sum(map(len, lines))


def order_passages(question: str, passages: Sequence[Passage]) -> list[Passage]:
    """Return passages best first: those of a post that the question names, then by their scores.

    The newest of the passages that are as near as the best one (evidence of `EQUAL_EVIDENCE`, and a
    score at most `EQUAL_SCORE` below it) and `YEARS_APART` newer stands before it, unless the
    question means the best one's post: its title is in quotation marks or has four words. A shorter
    one ("Working from home") is a subject too.
    """
    title_ranks = find_named_titles(question, [passage.title for passage in passages])
    last_rank = len(title_ranks) + 1
    ranked = sorted(
        passages,
        key=lambda item: (title_ranks.get(item.title, last_rank), -item.score, item.chunk_id),
    )
    if ranked and not is_unmistakable_title(question, ranked[0].title):
        newer = [
            item
            for item in ranked
            if item.evidence >= EQUAL_EVIDENCE
            and item.score >= ranked[0].score - EQUAL_SCORE
            and is_years_newer(item, ranked[0])
        ]
        if newer:
            first = max(newer, key=lambda item: (item.published_at, item.score))
            ranked = [first, *(item for item in ranked if item is not first)]
    return ranked


def is_years_newer(post: DatedPost, other: DatedPost) -> bool:
    """Return whether a post is `YEARS_APART` newer than another; both need a date."""
    if post.published_at is None or other.published_at is None:
        return False
    return (post.published_at - other.published_at).days >= 365 * YEARS_APART


def measure_missing_words(
    question: str, texts: Sequence[str], stop_words: Collection[str]
) -> float:
    """Return the share of the question's words, without stop words, that stand in no text.

    A word stands in a text if a word there has the same first four letters, because endings and
    parts of compounds differ. A question without a stop word of the posts' language may be in
    another language, and has no missing words.
    """
    words = set(re.findall(r"\w+(?:['’]\w+)*", question.casefold()))
    content_words = {word for word in words if len(word) > 1 and word not in stop_words}
    if not content_words or not words & set(stop_words):
        return 0.0
    text = "\n".join(texts).casefold()
    missing = [word for word in content_words if not re.search(rf"\b{re.escape(word[:4])}", text)]
    return len(missing) / len(content_words)


def build_passage(row: Mapping[str, Any], *, score: float = 0.0, evidence: float = 0.0) -> Passage:
    """Return a row of `embeddings` as a passage."""
    fields: dict[str, Any] = {name: row[name] for name in _COLUMNS}
    fields |= {"title": row["title"] or "", "url": row["url"] or ""}
    return Passage(
        **fields,
        score=score,
        cosine=float(row.get("cosine", 0.0)),
        evidence=evidence,
    )


def read_positions(table: Any, positions: Collection[tuple[str, int]]) -> list[dict[str, Any]]:
    """Return the rows of a LanceDB table at these (document id, position) pairs."""
    document_ids = ", ".join(sorted({quote_sql(document) for document, _ in positions}))
    numbers = ", ".join(map(str, sorted({position for _, position in positions})))
    # Pairs would need a long OR; these conditions use the index.
    where = f"document_id IN ({document_ids}) AND position IN ({numbers})"
    rows: list[dict[str, Any]] = table.search().where(where).select(_COLUMNS).to_arrow().to_pylist()
    return [row for row in rows if (row["document_id"], row["position"]) in positions]


def read_post(table: Any, post: str) -> list[dict[str, Any]]:
    """Return the rows of the post with this id, or else this link, in their order."""
    for column in ("document_id", "url"):
        search = table.search().where(f"{column} = {quote_sql(post)}").select(_COLUMNS)
        rows: list[dict[str, Any]] = search.limit(MAX_CACHED_ROWS).to_list()
        if rows:
            first = min(row["document_id"] for row in rows)  # two posts may have one link
            rows = [row for row in rows if row["document_id"] == first]
            return sorted(rows, key=lambda row: row["position"])
    return []


def quote_sql(text: str) -> str:
    """Return text as an SQL literal, without importing Polars into the gateway."""
    return "'" + text.replace("'", "''") + "'"


def _index_values(values: Any) -> dict[Any, int]:
    return {value: index for index, value in enumerate(values)}


def _read_pairs(arrow_table: Any, *names: str) -> zip[tuple[Any, ...]]:
    return zip(*(arrow_table[name].to_pylist() for name in names), strict=True)
