"""Choose the author's own paragraphs that answer a question, from the top-ranked posts.

Scope: reading `passage_embeddings` and `quote_calibration`, choosing passages and the
sentence of each that answers. Out of scope: finding the posts (`retrieval/`), cutting them
(`passages.py`), vectors of tokens (`token_vectors.py`), the text of an answer (`answer_text.py`).

The candidates are the passages of the eight top-ranked posts. The sixteen nearest are selected by
the cosine of their vectors plus 0.1 divided by their post's rank in retrieval. The vectors are
centred: the author's mean is subtracted from both sides, because a subject that all posts share
does not distinguish two of them (Mu and Viswanath 2018, https://arxiv.org/abs/1702.01417). Each of
the sixteen is scored by the mean, over the question's tokens, of the cosine to the passage's
nearest token, with a small weight on its vector and rank. For 73 of 100 tuning questions a useful
passage was among the first two, and for 79 among the first three. With vectors of passages and
sentences instead of tokens, the figures were 69 and 75.

The mean plain cosine of the three nearest passages decides whether the author has written about
the subject. With fewer than fifty passages the nearest one alone decides: few have three on one.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from twin_resources.models.quotes.token_vectors import token_cosines
from twin_resources.models.retrieval.retrieval import place_of

if TYPE_CHECKING:
    import numpy as np

    from twin_resources.storage.tables.tables import Tables

PASSAGES = "passage_embeddings"
CALIBRATION_TABLE = "quote_calibration"
# Posts whose passages are candidates. With those of all posts no more answers were right.
DOCUMENTS = 8
QUOTES = 2
MAX_QUOTES = 3
# A third passage, from another post, is shown if its score is within this of the second's: for two
# of three questions.
CLOSE_SCORES = 0.1
RANKED_BY_TOKENS = 16  # as good as 32
RANK_BONUS = 0.1
TOKENS_WEIGHT, VECTOR_WEIGHT = 2.0, 0.25
# Subtracted from the score of a passage in an earlier answer of the conversation. "Go on." repeats
# 25 of 266 passages, and 5 of 19 tuning turns lack a useful one; at .5 the figures are 3 and 7.
SHOWN_BEFORE = 0.3
MIN_MARKED_CHARACTERS = 40
DECIDING = 3
MIN_PASSAGES = 50  # to learn a threshold and to let three passages decide
_KEPT_TABLES = 64
# A query of LanceDB costs 3 to 5 CPU-ms. A row takes about 22 KB with the vectors of its tokens.
MAX_ROWS_IN_MEMORY = 8_000
_MAX_ROWS_TOGETHER = 12_000
_QUOTATION_MARKS = re.compile(r"[>*\s]+")
_PASSAGE_COLUMNS = [
    "document_id",
    "title",
    "url",
    "published_at",
    "start",
    "end",
    "searched_start",
    "searched_end",
    "text",
    "vector",
    "tokens",
    "sentences",
]


@dataclass(frozen=True)
class Quote:
    """Whole paragraphs of one post, word for word.

    Attributes:
        text: the cleaned document's `text[start:end]`.
        score: cosine of question and passage.
        marked: (begin, end) in `text` of the sentence that answers, or None if none is known.
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
class Quoted:
    """The quotations for a question, and the figures that decided them.

    Attributes:
        quotes: best first; empty if the author has not written about it, or the lookup failed.
        best: the mean cosine of the nearest passages; below `threshold` nothing is quoted.
        reason: why the lookup failed; empty if it succeeded.
        languages: ISO 639-1 codes of the posts, that of most passages first; empty if unknown.
        known_languages: ISO 639-1 codes that the embedder supports; empty if unknown (all count).
    """

    quotes: tuple[Quote, ...]
    best: float = 0.0
    threshold: float = 0.0
    reason: str = ""
    languages: tuple[str, ...] = ()
    known_languages: tuple[str, ...] = ()


def update_index(tables: Tables, author: str) -> None:
    """Create the index that finds a post's passages, or add the new rows to it.

    Raises:
        TwinError: the author has no passages.
    """
    tables.ensure_index(PASSAGES, author, "document_id")


class Quoter:
    """Chooses quotations from the newest tables; safe to call from several threads.

    Args:
        tables_base: folder or `s3://` prefix.
        embedder_revision: revision for questions; other revisions' passages are not compared.
        storage_options: Lance's storage options, for `s3://`.
    """

    def __init__(
        self,
        tables_base: str | Path,
        embedder_revision: str,
        storage_options: Mapping[str, str] | None = None,
    ) -> None:
        self._base = str(tables_base).rstrip("/")
        self._revision = embedder_revision
        self._storage_options = dict(storage_options or {})
        self._opened: OrderedDict[tuple[str, str], _OpenTable] = OrderedDict()
        self._lock = Lock()

    def quote(
        self,
        author: str,
        question: np.ndarray,
        documents: Sequence[str],
        *,
        tokens: np.ndarray | None = None,
        limit: int = QUOTES,
        embedder: str = "",
        shown: str = "",
        language: str = "",
    ) -> Quoted:
        """Return the best passages of these documents, if any of them answers.

        Args:
            author: slug.
            question: the question's vector, float32 of shape (dimension,).
            documents: ids, best first; passages of the first eight are candidates.
            tokens: vectors of the question's tokens, float32 of shape (tokens, dimension); without
                them passages are ranked by `question` alone, and no sentence is marked.
            limit: maximum number of quotations. One more, from another post, is added (three at
                most) if its score is close to the last one's. Quotations do not overlap.
            embedder: revision that made the question's vector; empty for the quoter's own.
            shown: text that the reader has already read; passages in it rank lower.
            language: ISO 639-1 code of the question; empty for that of the posts.
        """
        revision = embedder or self._revision
        newest = self._table(author, PASSAGES)
        calibration = self._table(author, CALIBRATION_TABLE)
        for name, table in ((PASSAGES, newest), (CALIBRATION_TABLE, calibration)):
            if table is None:
                return Quoted((), reason=f"author {author} has no {name} yet")
        calibrated = calibration.calibrated if calibration else None
        passages = self._table_of_embedder(author, PASSAGES, newest, revision)
        if calibrated is None or calibrated.embedder != revision or passages is None:
            return Quoted((), reason=f"{PASSAGES} of author {author} are of another embedder")
        if language and language not in calibrated.languages and calibrated.elsewhere is not None:
            calibrated = replace(calibrated, threshold=calibrated.elsewhere)
        posts = documents[:DOCUMENTS]
        if not posts:
            return Quoted((), threshold=calibrated.threshold)
        quoted = _choose(passages, question, tokens, calibrated, posts, limit=limit, shown=shown)
        return replace(
            quoted, languages=calibrated.languages, known_languages=calibrated.known_languages
        )

    def embedder_of(self, author: str) -> str:
        """Return the revision of the embedder that the author's calibration uses, or "" if none.

        The calibration is written last; until then the former embedder's passages answer.
        """
        calibration = self._table(author, CALIBRATION_TABLE)
        calibrated = calibration.calibrated if calibration else None
        return calibrated.embedder if calibrated else ""

    def _table_of_embedder(
        self, author: str, name: str, newest: _OpenTable | None, revision: str
    ) -> _OpenTable | None:
        """Return the last version of an author's table that an embedder made, or None."""
        if newest is None or newest.embedder in {"", revision}:
            return newest
        with self._lock:
            key = (author, f"{name} of {revision}")
            known = self._opened.pop(key, None)
            if known is None or known.folder != newest.folder:
                known = self._former_version(author, name, newest, revision)
            if known is not None:
                self._opened[key] = known
            return known

    def _former_version(
        self, author: str, name: str, newest: _OpenTable, revision: str
    ) -> _OpenTable | None:
        """Search the versions that Lance keeps (two weeks) for the embedder's last one."""
        table = self._connect(author).open_table(name)
        versions = [entry["version"] for entry in table.list_versions()]
        for version in sorted(versions, reverse=True):
            table.checkout(version)
            if _embedder_of(table) == revision:
                return _read(newest.folder, name, table)
        return None

    def _connect(self, author: str) -> Any:
        import lancedb

        return lancedb.connect(
            f"{self._base}/{author}",
            storage_options=self._storage_options or None,
            read_consistency_interval=timedelta(0),  # no answer from old rows
        )

    def _table(self, author: str, name: str) -> _OpenTable | None:
        """Return an author's table at its newest version, or None if there is no table."""
        folder = place_of(self._base, author, name)
        if folder is None:
            return None
        with self._lock:
            known = self._opened.pop((author, name), None)
            if known is None or known.folder != folder:
                known = self._open(author, name, folder)
            elif known.version != known.dataset.latest_version:
                known = _read(folder, name, known.table)
            if known is None:
                return None
            self._opened[author, name] = known
            while len(self._opened) > 1 and (
                len(self._opened) > _KEPT_TABLES
                or sum(table.kept_rows for table in self._opened.values()) > _MAX_ROWS_TOGETHER
            ):
                self._opened.popitem(last=False)
            return known

    def _open(self, author: str, name: str, folder: tuple[int, int]) -> _OpenTable | None:
        try:
            table = self._connect(author).open_table(name)
        except (ValueError, FileNotFoundError):
            return None
        return _read(folder, name, table)


@dataclass(frozen=True)
class _OpenTable:
    """An author's table at one version.

    Attributes:
        folder: identity of the folder; it changes when the table is rebuilt.
        dataset: the same table opened by Lance, which returns the newest version in .01 CPU-ms on
            the caller's thread. LanceDB takes .25 ms, and two changes of thread.
        columns: the columns that `rows_of` returns.
        rows: all rows by document, with row numbers in `tokens`; None if too many to keep.
        tokens: packed vectors of each row's tokens; None if `rows_of` returns them or none exist.
        places: the first row of each document in `rows`, and its number of rows.
        calibrated: the row of the calibration's table; None if it has no row, or for other tables.
        embedder: revision that made the vectors; empty if the table has no row.
    """

    folder: tuple[int, int]
    version: int
    table: Any
    dataset: Any
    columns: Sequence[str] = ()
    rows: Any = None
    tokens: Any = None
    places: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    calibrated: _Calibrated | None = None
    embedder: str = ""

    @property
    def kept_rows(self) -> int:
        return 0 if self.rows is None else int(self.rows.num_rows)

    def rows_of(self, documents: Sequence[str]) -> Any:
        """Return an Arrow table of these documents' rows."""
        if self.rows is None:
            return _read_rows(self.table, documents, self.columns)
        import numpy as np

        spans = [self.places[name] for name in dict.fromkeys(documents) if name in self.places]
        rows = [row for first, count in spans for row in range(first, first + count)]
        # an explicit type, which an empty list lacks
        return self.rows.take(np.asarray(rows, np.int64))

    def tokens_of(self, rows: Any, chosen: np.ndarray) -> list[bytes]:
        """Return packed token vectors of chosen rows of `rows_of`; empty for an old table."""
        if self.tokens is not None:
            return self.tokens.take(rows["row"].take(chosen)).to_pylist()
        return rows["tokens"].take(chosen).to_pylist() if "tokens" in rows.column_names else []


def _read(folder: tuple[int, int], name: str, table: Any) -> _OpenTable:
    """Read the newest version of a table, with its rows if they are few."""
    version, dataset = table.version, table.to_lance()
    if name == CALIBRATION_TABLE:
        return _OpenTable(folder, version, table, dataset, calibrated=_calibrated(table))
    names = set(table.schema.names)  # tables of earlier releases have no tokens
    columns = [column for column in _PASSAGE_COLUMNS if column in names]
    embedder = _embedder_of(table)
    if table.count_rows() > MAX_ROWS_IN_MEMORY:
        return _OpenTable(folder, version, table, dataset, columns, embedder=embedder)
    rows = table.search().select(columns).limit(MAX_ROWS_IN_MEMORY).to_arrow()
    rows, tokens = _split_tokens(rows.sort_by("document_id").combine_chunks())
    places: dict[str, tuple[int, int]] = {}
    for row, document in enumerate(rows["document_id"].to_pylist()):
        first, count = places.get(document, (row, 0))
        places[document] = first, count + 1
    return _OpenTable(
        folder, version, table, dataset, columns, rows, tokens, places, embedder=embedder
    )


def _split_tokens(rows: Any) -> tuple[Any, Any]:
    """Separate the tokens, which only few of the candidate rows need; number the rows."""
    import numpy as np

    if "tokens" not in rows.column_names:
        return rows, None
    numbered = rows.drop_columns(["tokens"]).append_column("row", [np.arange(rows.num_rows)])
    return numbered, rows["tokens"]


def _embedder_of(table: Any) -> str:
    """Return the revision of the embedder that made the vectors; empty without rows."""
    rows = table.search().select(["embedder"]).limit(1).to_arrow().to_pylist()
    return rows[0]["embedder"] if rows else ""


@dataclass(frozen=True)
class _Calibrated:
    embedder: str
    threshold: float
    mean: np.ndarray
    elsewhere: float | None = None  # the threshold of questions in another language
    deciding: int = DECIDING
    languages: tuple[str, ...] = ()
    known_languages: tuple[str, ...] = ()


def _calibrated(table: Any) -> _Calibrated | None:
    import numpy as np

    rows = table.search().limit(1).to_arrow().to_pylist()
    if not rows:
        return None
    return _Calibrated(
        embedder=rows[0]["embedder"],
        threshold=float(rows[0]["threshold"]),
        mean=np.asarray(rows[0]["mean"], np.float32),
        elsewhere=rows[0].get("threshold_elsewhere"),
        deciding=DECIDING if rows[0]["own"] >= MIN_PASSAGES else 1,
        languages=tuple(rows[0].get("languages") or ()),
        known_languages=tuple(rows[0].get("known_languages") or ()),
    )


def _read_rows(table: Any, documents: Sequence[str], columns: Sequence[str]) -> Any:
    listed = ", ".join("'" + name.replace("'", "''") + "'" for name in documents)
    return table.search().where(f"document_id IN ({listed})").select(list(columns)).to_arrow()


def _vectors_of(rows: Any) -> np.ndarray:
    flat: np.ndarray = rows["vector"].combine_chunks().flatten().to_numpy()
    return flat.reshape(rows.num_rows, -1)


def _centred_cosines(vectors: np.ndarray, question: np.ndarray, mean: np.ndarray) -> np.ndarray:
    import numpy as np

    centred = vectors - mean
    direction = question - mean
    lengths = np.sqrt(np.einsum("ij,ij->i", centred, centred)) * float(
        np.sqrt(direction @ direction)
    )
    return np.einsum("ij,j->i", centred, direction) / np.maximum(lengths, 1e-12)


def _choose(
    passages: _OpenTable,
    question: np.ndarray,
    tokens: np.ndarray | None,
    calibrated: _Calibrated,
    documents: Sequence[str],
    *,
    limit: int,
    shown: str,
) -> Quoted:
    import numpy as np

    threshold, rows = calibrated.threshold, passages.rows_of(documents)
    if not rows.num_rows:
        return Quoted((), threshold=threshold)
    vectors = _vectors_of(rows)
    plain = np.einsum("ij,j->i", vectors, question)
    best = deciding_score(plain, most=calibrated.deciding)
    if best < threshold:
        return Quoted((), best, threshold)
    ranks = {name: place for place, name in enumerate(documents, start=1)}
    bonus = RANK_BONUS / np.array([ranks[name] for name in rows["document_id"].to_pylist()])
    bonus -= SHOWN_BEFORE * _were_shown(rows["text"].to_pylist(), shown)
    own = _centred_cosines(vectors, question, calibrated.mean)
    nearest = np.argsort(-own - bonus, kind="stable")[:RANKED_BY_TOKENS]
    scores, cosines = own[nearest], None
    if tokens is not None and (stored := passages.tokens_of(rows, nearest)):
        cosines = token_cosines(tokens, stored)
        means = np.array([cosine.max(axis=1).mean() for cosine in cosines])
        scores = TOKENS_WEIGHT * means + VECTOR_WEIGHT * scores
    scores = scores + bonus[nearest]
    fields = rows.take(nearest).select(_shown_columns(rows)).to_pylist()
    order = sorted(
        range(len(fields)),
        key=lambda place: (-scores[place], fields[place]["document_id"], fields[place]["start"]),
    )
    chosen: list[Quote] = []
    last = 0.0
    for place in order:
        if len(chosen) >= limit and (
            len(chosen) >= MAX_QUOTES or last - scores[place] > CLOSE_SCORES
        ):
            break
        # In a small corpus the next-best passage is often about another subject.
        if chosen and calibrated.deciding == 1 and plain[nearest[place]] < threshold:
            continue
        marked = _answering_sentence(fields[place], cosines[place]) if cosines else None
        quote = _quote(fields[place], float(plain[nearest[place]]), marked)
        is_extra = len(chosen) >= limit
        if not any(_overlap(quote, other, whole_post=is_extra) for other in chosen):
            chosen.append(quote)
            last = float(scores[place])
    return Quoted(tuple(chosen), best, threshold)


def _were_shown(texts: Sequence[str], shown: str) -> np.ndarray:
    """Return whether `shown` contains each text; bool of shape (texts,)."""
    import numpy as np

    read = _normalized(shown)
    return np.array([bool(read) and _normalized(text) in read for text in texts])


def _shown_columns(rows: Any) -> list[str]:
    return [name for name in rows.column_names if name not in {"vector", "tokens", "row"}]


def _normalized(text: str) -> str:
    """Replace the marks of a quotation (`>`, bold, line ends) by spaces."""
    return _QUOTATION_MARKS.sub(" ", text).strip()


def _answering_sentence(row: Mapping[str, Any], cosines: np.ndarray) -> tuple[int, int] | None:
    """Return (start, end) in the document of the sentence whose tokens match the question best."""
    size = cosines.shape[1]  # the first tokens, if the text exceeds the embedder's limit
    inside = [
        part for part in row["sentences"] if part["first_token"] < min(part["end_token"], size)
    ]
    # a single word may give a short sentence a high score
    long = [part for part in inside if part["end"] - part["start"] >= MIN_MARKED_CHARACTERS]

    def score(sentence: Mapping[str, int]) -> float:
        tokens = cosines[:, sentence["first_token"] : sentence["end_token"]]
        return float(tokens.max(axis=1).mean())

    sentence = max(long or inside, key=score, default=None)
    return (sentence["start"], sentence["end"]) if sentence else None


def _quote(row: Mapping[str, Any], score: float, marked: tuple[int, int] | None) -> Quote:
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


def deciding_score(cosines: np.ndarray, *, most: int = DECIDING) -> float:
    """Return the mean of a question's highest cosines.

    Args:
        cosines: cosine of the question and each passage, shape (passages,); at least one.
        most: number of cosines to average; all of them if there are fewer.
    """
    import numpy as np

    return float(np.mean(np.sort(cosines)[-most:]))


def _overlap(quote: Quote, other: Quote, *, whole_post: bool) -> bool:
    same = quote.document_id == other.document_id
    return same and (whole_post or (quote.start < other.end and other.start < quote.end))
