"""Choose the author's own paragraphs that answer a question from the top-ranked posts.

Scope: reading `passage_embeddings` and `quote_calibration`, and choosing the passages and the
answering sentence of each. Out of scope: finding the posts (`retrieval/`), cutting them
(`passages.py`), token vectors (`token_vectors.py`), the text of an answer (`answer_text.py`).

The candidates are the passages of the eight top-ranked posts. The sixteen nearest are selected by
the cosine of their vectors plus 0.1 divided by their post's rank in retrieval. The vectors are
centered: the author's mean vector is subtracted, because a subject that all posts share does not
distinguish them (Mu and Viswanath 2018, https://arxiv.org/abs/1702.01417). The score of each
passage is mainly the mean, over the question's tokens, of the cosine to the passage's nearest
token. The passage's vector and rank have small weights. A useful passage was among the first two
for 73 of 100 tuning questions, and among the first three for 79. With vectors of passages and
sentences instead of tokens, the figures were 69 and 75.

The mean plain cosine of the three nearest passages determines whether the author has written about
the subject. With fewer than fifty sentences in the calibration, only the nearest passage counts,
because few authors with so little text have three passages on one subject.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from twin_resources.models.quotes.token_vectors import token_cosines
from twin_resources.models.retrieval.retrieval import read_embedder_revision, table_identity
from twin_resources.models.retrieval.search import quote_sql
from twin_resources.storage.tables.newest_versions import FindVersion, read_newest_version

if TYPE_CHECKING:
    import numpy as np

    from twin_resources.storage.tables.tables import Tables

PASSAGES_TABLE = "passage_embeddings"
CALIBRATION_TABLE = "quote_calibration"
# The passages of this many posts are candidates. Using all posts did not improve the answers.
MAX_CANDIDATE_POSTS = 8
DEFAULT_QUOTES = 2
MAX_QUOTES = 3
# A third passage, from a different post, is shown if its score is at most this much below the
# second's. Two of three questions get a third passage.
MAX_SCORE_GAP = 0.1
TOKEN_RANKED_CANDIDATES = 16  # 32 did not improve the answers
RANK_BONUS = 0.1
TOKENS_WEIGHT, VECTOR_WEIGHT = 2.0, 0.25
# Subtracted from the score of a passage that the conversation has already shown. At .3, "Go on."
# repeats 25 of 266 passages, and 5 of 19 tuning turns have no useful passage. At .5, the figures
# are 3 and 7.
REPETITION_PENALTY = 0.3
MIN_MARKED_CHARACTERS = 40
RELEVANCE_PASSAGES = 3
MIN_PASSAGES = 50  # minimum for learning a threshold and for averaging three passages
_MAX_CACHED_TABLES = 64
# A LanceDB query costs 3 to 5 CPU ms. A row with its token vectors takes about 22 KB.
MAX_ROWS_IN_MEMORY = 8_000
_MAX_CACHED_ROWS = 12_000
_QUOTATION_MARKUP = re.compile(r"[>*\s]+")
_URL = re.compile(r"https?://\S+")
_PASSAGE_COLUMNS = [
    *("document_id", "title", "url", "published_at", "start", "end", "searched_start"),
    *("searched_end", "text", "vector", "tokens", "sentences"),
]


@dataclass(frozen=True)
class Quote:
    """Whole paragraphs of one post, or sentences of one long paragraph, word for word.

    Attributes:
        text: the cleaned document's `text[start:end]`.
        score: cosine of the question and the passage.
        marked: (begin, end) of the answering sentence in `text`, or None if it is unknown.
    """

    text: str
    document_id: str
    title: str
    url: str
    published_at: datetime | None
    start: int
    end: int
    score: float
    marked: tuple[int, int] | None = None


@dataclass(frozen=True)
class QuoteResult:
    """The quotations for a question, and the figures that determined them.

    Attributes:
        quotes: best first; empty if the author has not written about the subject, or if the lookup
            failed.
        best_score: mean cosine of the nearest passages; nothing is quoted if it is below
            `threshold`.
        reason: why the lookup failed; empty if it succeeded.
        languages: ISO 639-1 codes of the posts, most frequent first; empty if unknown.
        known_languages: ISO 639-1 codes that the embedder supports; empty if unknown.
    """

    quotes: tuple[Quote, ...]
    best_score: float = 0.0
    threshold: float = 0.0
    reason: str = ""
    languages: tuple[str, ...] = ()
    known_languages: tuple[str, ...] = ()


def update_index(tables: Tables, author: str) -> None:
    """Create the index that finds a post's passages, or add the new rows to it.

    Raises:
        TwinError: the author has no passages.
    """
    tables.ensure_index(PASSAGES_TABLE, author, "document_id")


class Quoter:
    """Chooses quotations from the newest tables; safe to call from several threads.

    Args:
        tables_base: folder or `s3://` prefix.
        embedder_revision: revision of the embedder for questions; passages of other revisions are
            ignored.
        find_version: finds a table's newest version; the default reads it for each question.
    """

    def __init__(
        self,
        tables_base: str | Path,
        embedder_revision: str,
        *,
        find_version: FindVersion = read_newest_version,
    ) -> None:
        self._find_version = find_version
        self._tables_base = str(tables_base).rstrip("/")
        self._revision = embedder_revision
        self._open_tables: OrderedDict[tuple[str, str], _OpenTable] = OrderedDict()
        self._lock = Lock()

    def quote(
        self,
        author: str,
        question: np.ndarray,
        document_ids: Sequence[str],
        *,
        tokens: np.ndarray | None = None,
        embedder: str = "",
        shown_text: str = "",
        language: str = "",
    ) -> QuoteResult:
        """Return the best passages of these documents, if any of them answers the question.

        The result has at most `DEFAULT_QUOTES` quotations, and one more from a different post if
        its score is close to the last quotation's. Quotations do not overlap.

        Args:
            author: slug.
            question: the question's vector, float32 of shape (dimension,).
            document_ids: ids, best first; passages of the first eight are candidates.
            tokens: vectors of the question's tokens, float32 of shape (tokens, dimension); without
                them passages are ranked by `question` alone, and no sentence is marked.
            embedder: revision that made the question's vector; empty for `embedder_revision`.
            shown_text: text that the reader has already seen; passages in it rank lower.
            language: ISO 639-1 code of the question; empty for the language of the posts.
        """
        revision = embedder or self._revision
        newest_table = self._get_table(author, PASSAGES_TABLE)
        calibration_table = self._get_table(author, CALIBRATION_TABLE)
        for name, table in ((PASSAGES_TABLE, newest_table), (CALIBRATION_TABLE, calibration_table)):
            if table is None:
                return QuoteResult((), reason=f"author {author} has no {name} yet")
        calibration_row = calibration_table.calibration_row if calibration_table else None
        passages = self._find_table_by_embedder(author, PASSAGES_TABLE, newest_table, revision)
        if calibration_row is None or calibration_row.embedder != revision or passages is None:
            return QuoteResult(
                (), reason=f"{PASSAGES_TABLE} of author {author} are from another embedder"
            )
        if (
            language
            and language not in calibration_row.languages
            and calibration_row.other_language_threshold is not None
        ):
            calibration_row = replace(
                calibration_row, threshold=calibration_row.other_language_threshold
            )
        candidate_ids = document_ids[:MAX_CANDIDATE_POSTS]
        if not candidate_ids:
            return QuoteResult((), threshold=calibration_row.threshold)
        result = _choose_quotes(
            passages, question, tokens, calibration_row, candidate_ids, shown_text=shown_text
        )
        return replace(
            result,
            languages=calibration_row.languages,
            known_languages=calibration_row.known_languages,
        )

    def get_calibrated_revision(self, author: str) -> str:
        """Return the revision of the embedder in the author's calibration; "" if there is none.

        The calibration is written last; until then, passages of the previous embedder are quoted.
        """
        calibration_table = self._get_table(author, CALIBRATION_TABLE)
        calibration_row = calibration_table.calibration_row if calibration_table else None
        return calibration_row.embedder if calibration_row else ""

    def _find_table_by_embedder(
        self, author: str, name: str, newest_table: _OpenTable | None, revision: str
    ) -> _OpenTable | None:
        """Return the last version of an author's table with vectors of this revision, or None."""
        if newest_table is None or newest_table.embedder in {"", revision}:
            return newest_table
        with self._lock:
            key = (author, f"{name} of {revision}")
            cached_table = self._open_tables.pop(key, None)
            if cached_table is None or cached_table.identity != newest_table.identity:
                cached_table = self._find_previous_version(author, name, newest_table, revision)
            if cached_table is not None:
                self._open_tables[key] = cached_table
            return cached_table

    def _find_previous_version(
        self, author: str, name: str, newest_table: _OpenTable, revision: str
    ) -> _OpenTable | None:
        """Return the embedder's last version among those that Lance keeps for two weeks."""
        table = self._connect(author).open_table(name)
        versions = [entry["version"] for entry in table.list_versions()]
        for version in sorted(versions, reverse=True):
            table.checkout(version)
            if read_embedder_revision(table) == revision:
                return _read_table(newest_table.identity, name, table)
        return None

    def _connect(self, author: str) -> Any:
        import lancedb

        return lancedb.connect(
            f"{self._tables_base}/{author}",
            read_consistency_interval=timedelta(0),  # never return old rows
        )

    def _get_table(self, author: str, name: str) -> _OpenTable | None:
        """Return an author's table at its newest version, or None if there is no table."""
        identity = table_identity(self._tables_base, author, name)
        if identity is None:
            return None
        with self._lock:
            cached_table = self._open_tables.pop((author, name), None)
            if cached_table is None or cached_table.identity != identity:
                cached_table = self._open_table(author, name, identity)
            elif cached_table.version != self._find_version(
                f"{self._tables_base}/{author}/{name}.lance",
                partial(getattr, cached_table.dataset, "latest_version"),
            ):
                cached_table = _read_table(identity, name, cached_table.table)
            if cached_table is None:
                return None
            self._open_tables[author, name] = cached_table
            while len(self._open_tables) > 1 and (
                len(self._open_tables) > _MAX_CACHED_TABLES
                or sum(table.cached_row_count for table in self._open_tables.values())
                > _MAX_CACHED_ROWS
            ):
                self._open_tables.popitem(last=False)
            return cached_table

    def _open_table(self, author: str, name: str, identity: tuple[int, int]) -> _OpenTable | None:
        try:
            table = self._connect(author).open_table(name)
        except (ValueError, FileNotFoundError):
            return None
        return _read_table(identity, name, table)


@dataclass(frozen=True)
class _OpenTable:
    """An author's table at one version.

    Attributes:
        identity: result of `table_identity`, which changes when the table is rebuilt.
        dataset: the same table opened by Lance, which returns the newest version in .01 CPU ms on
            the caller's thread. LanceDB takes .25 ms and two thread switches.
        columns: columns to read from the table.
        rows: all rows sorted by document, with row numbers; None if there are too many to keep.
        tokens: packed token vectors of each row; None if `read_rows` returns them, or if the table
            has none.
        row_ranges: first row of each document in `rows`, and its number of rows.
        calibration_row: the row of the calibration table; None for other tables, or if it is empty.
        embedder: revision that made the vectors; empty if the table has no rows.
    """

    identity: tuple[int, int]
    version: int
    table: Any
    dataset: Any
    columns: Sequence[str] = ()
    rows: Any = None
    tokens: Any = None
    row_ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    calibration_row: _CalibrationRow | None = None
    embedder: str = ""

    @property
    def cached_row_count(self) -> int:
        return 0 if self.rows is None else int(self.rows.num_rows)

    def read_rows(self, document_ids: Sequence[str]) -> Any:
        """Return an Arrow table of these documents' rows."""
        if self.rows is None:
            return _read_rows(self.table, document_ids, self.columns)
        import numpy as np

        spans = [
            self.row_ranges[document_id]
            for document_id in dict.fromkeys(document_ids)
            if document_id in self.row_ranges
        ]
        row_numbers = [row for first, count in spans for row in range(first, first + count)]
        # An empty list needs an explicit type.
        return self.rows.take(np.asarray(row_numbers, np.int64))

    def read_tokens(self, rows: Any, row_indexes: np.ndarray) -> list[bytes]:
        """Return the packed token vectors of selected rows; empty for an old table."""
        if self.tokens is not None:
            return self.tokens.take(rows["row"].take(row_indexes)).to_pylist()
        return rows["tokens"].take(row_indexes).to_pylist() if "tokens" in rows.column_names else []


def _read_table(identity: tuple[int, int], name: str, table: Any) -> _OpenTable:
    """Read the newest version of a table, including its rows if there are few."""
    version, dataset = table.version, table.to_lance()
    if name == CALIBRATION_TABLE:
        return _OpenTable(
            identity, version, table, dataset, calibration_row=_read_calibration(table)
        )
    column_names = set(table.schema.names)  # tables of earlier releases have no tokens
    columns = [column for column in _PASSAGE_COLUMNS if column in column_names]
    embedder = read_embedder_revision(table)
    if table.count_rows() > MAX_ROWS_IN_MEMORY:
        return _OpenTable(identity, version, table, dataset, columns, embedder=embedder)
    rows = table.search().select(columns).limit(MAX_ROWS_IN_MEMORY).to_arrow()
    rows, tokens = _split_tokens(rows.sort_by("document_id").combine_chunks())
    row_ranges: dict[str, tuple[int, int]] = {}
    for row, document_id in enumerate(rows["document_id"].to_pylist()):
        first, count = row_ranges.get(document_id, (row, 0))
        row_ranges[document_id] = first, count + 1
    return _OpenTable(
        identity, version, table, dataset, columns, rows, tokens, row_ranges, embedder=embedder
    )


def _split_tokens(rows: Any) -> tuple[Any, Any]:
    """Separate the tokens, which only a few candidate rows need, and number the rows."""
    import numpy as np

    if "tokens" not in rows.column_names:
        return rows, None
    numbered_rows = rows.drop_columns(["tokens"]).append_column("row", [np.arange(rows.num_rows)])
    return numbered_rows, rows["tokens"]


@dataclass(frozen=True)
class _CalibrationRow:
    embedder: str
    threshold: float
    mean: np.ndarray
    other_language_threshold: float | None = None  # for questions in other languages
    relevance_passage_count: int = RELEVANCE_PASSAGES
    languages: tuple[str, ...] = ()
    known_languages: tuple[str, ...] = ()


def _read_calibration(table: Any) -> _CalibrationRow | None:
    import numpy as np

    rows = table.search().limit(1).to_arrow().to_pylist()
    if not rows:
        return None
    return _CalibrationRow(
        embedder=rows[0]["embedder"],
        threshold=float(rows[0]["threshold"]),
        mean=np.asarray(rows[0]["mean"], np.float32),
        other_language_threshold=rows[0].get("threshold_elsewhere"),
        relevance_passage_count=RELEVANCE_PASSAGES if rows[0]["own"] >= MIN_PASSAGES else 1,
        languages=tuple(rows[0].get("languages") or ()),
        known_languages=tuple(rows[0].get("known_languages") or ()),
    )


def _read_rows(table: Any, document_ids: Sequence[str], columns: Sequence[str]) -> Any:
    quoted_ids = ", ".join(map(quote_sql, document_ids))
    return table.search().where(f"document_id IN ({quoted_ids})").select(list(columns)).to_arrow()


def _to_vector_matrix(rows: Any) -> np.ndarray:
    values: np.ndarray = rows["vector"].combine_chunks().flatten().to_numpy()
    return values.reshape(rows.num_rows, -1)


def _compute_centered_cosines(
    vectors: np.ndarray, question: np.ndarray, mean: np.ndarray
) -> np.ndarray:
    import numpy as np

    centered_vectors = vectors - mean
    centered_question = question - mean
    lengths = np.sqrt(np.einsum("ij,ij->i", centered_vectors, centered_vectors)) * float(
        np.sqrt(centered_question @ centered_question)
    )
    return np.einsum("ij,j->i", centered_vectors, centered_question) / np.maximum(lengths, 1e-12)


def _choose_quotes(
    passages: _OpenTable,
    question: np.ndarray,
    tokens: np.ndarray | None,
    calibration_row: _CalibrationRow,
    document_ids: Sequence[str],
    *,
    shown_text: str,
) -> QuoteResult:
    import numpy as np

    threshold, rows = calibration_row.threshold, passages.read_rows(document_ids)
    if not rows.num_rows:
        return QuoteResult((), threshold=threshold)
    vectors = _to_vector_matrix(rows)
    plain_cosines = np.einsum("ij,j->i", vectors, question)
    best_score = relevance_score(plain_cosines, max_cosines=calibration_row.relevance_passage_count)
    if best_score < threshold:
        return QuoteResult((), best_score, threshold)
    ranks = {document_id: rank for rank, document_id in enumerate(document_ids, start=1)}
    bonus = RANK_BONUS / np.array(
        [ranks[document_id] for document_id in rows["document_id"].to_pylist()]
    )
    bonus -= REPETITION_PENALTY * _shown_text_mask(rows["text"].to_pylist(), shown_text)
    centered_cosines = _compute_centered_cosines(vectors, question, calibration_row.mean)
    nearest_indexes = np.argsort(-centered_cosines - bonus, kind="stable")[:TOKEN_RANKED_CANDIDATES]
    scores, cosines = centered_cosines[nearest_indexes], None
    if tokens is not None and (token_vectors := passages.read_tokens(rows, nearest_indexes)):
        cosines = token_cosines(tokens, token_vectors)
        token_scores = np.array([token_matrix.max(axis=1).mean() for token_matrix in cosines])
        scores = TOKENS_WEIGHT * token_scores + VECTOR_WEIGHT * scores
    scores = scores + bonus[nearest_indexes]
    columns = [name for name in rows.column_names if name not in {"vector", "tokens", "row"}]
    candidates = rows.take(nearest_indexes).select(columns).to_pylist()
    quotes: list[Quote] = []
    last_score = 0.0
    for index in _order_by_score(candidates, scores):
        is_extra = len(quotes) >= DEFAULT_QUOTES
        if len(quotes) >= MAX_QUOTES or (is_extra and last_score - scores[index] > MAX_SCORE_GAP):
            break
        # In a small corpus, the next-best passage is often about a different subject.
        if (
            quotes
            and calibration_row.relevance_passage_count == 1
            and plain_cosines[nearest_indexes[index]] < threshold
        ):
            continue
        marked_span = (
            _find_answering_sentence(candidates[index], cosines[index]) if cosines else None
        )
        quote = _build_quote(
            candidates[index], float(plain_cosines[nearest_indexes[index]]), marked_span
        )
        if not any(_has_overlap(quote, other_quote, whole_post=is_extra) for other_quote in quotes):
            quotes.append(quote)
            last_score = float(scores[index])
    return QuoteResult(tuple(quotes), best_score, threshold)


def _order_by_score(candidates: Sequence[Mapping[str, Any]], scores: np.ndarray) -> list[int]:
    return sorted(
        range(len(candidates)),
        key=lambda index: (
            -scores[index],
            candidates[index]["document_id"],
            candidates[index]["start"],
        ),
    )


def _shown_text_mask(texts: Sequence[str], shown_text: str) -> np.ndarray:
    """Return for each text whether `shown_text` contains it; bool of shape (texts,)."""
    import numpy as np

    normalized_shown_text = _normalize(shown_text)
    return np.array(
        [
            bool(normalized_shown_text) and _normalize(text) in normalized_shown_text
            for text in texts
        ]
    )


def _normalize(text: str) -> str:
    """Replace quotation markup (`>`, asterisks) and white space with single spaces."""
    return _QUOTATION_MARKUP.sub(" ", text).strip()


def _find_answering_sentence(row: Mapping[str, Any], cosines: np.ndarray) -> tuple[int, int] | None:
    """Return (start, end), in the document, of the sentence whose tokens match best."""
    token_count = cosines.shape[1]  # only the first tokens if the text exceeds the embedder's limit
    embedded_sentences = [
        span
        for span in row["sentences"]
        if span["first_token"] < min(span["end_token"], token_count)
    ]

    # A single word may give a short sentence a high score.
    answering_sentences = [
        span
        for span in embedded_sentences
        if _is_statement(row["text"][span["start"] - row["start"] : span["end"] - row["start"]])
    ]

    def score(sentence: Mapping[str, int]) -> float:
        tokens = cosines[:, sentence["first_token"] : sentence["end_token"]]
        return float(tokens.max(axis=1).mean())

    sentence = max(answering_sentences or embedded_sentences, key=score, default=None)
    return (sentence["start"], sentence["end"]) if sentence else None


def _is_statement(sentence: str) -> bool:
    """Return whether a sentence can answer alone: it is not just a URL and does not end in ":"."""
    prose = _URL.sub("", sentence).rstrip()
    return len(prose) >= MIN_MARKED_CHARACTERS and not prose.endswith((":", "："))


def _build_quote(row: Mapping[str, Any], score: float, marked: tuple[int, int] | None) -> Quote:
    start = row["start"]
    return Quote(
        text=row["text"],
        document_id=row["document_id"],
        title=row["title"] or "",
        url=row["url"] or "",
        published_at=row["published_at"],
        start=start,
        end=row["end"],
        score=score,
        marked=(marked[0] - start, marked[1] - start) if marked else None,
    )


def relevance_score(cosines: np.ndarray, *, max_cosines: int = RELEVANCE_PASSAGES) -> float:
    """Return the mean of a question's highest cosines.

    Args:
        cosines: cosine of the question to each passage, shape (passages,); at least one.
        max_cosines: number of cosines to average; all cosines if there are fewer.
    """
    import numpy as np

    return float(np.mean(np.sort(cosines)[-max_cosines:]))


def _has_overlap(quote: Quote, other_quote: Quote, *, whole_post: bool) -> bool:
    is_same_post = quote.document_id == other_quote.document_id
    return is_same_post and (
        whole_post or (quote.start < other_quote.end and other_quote.start < quote.end)
    )
