"""The author's own sentences that answer a question: the best windows of the posts that were found.

Belongs here: reading `sentence_embeddings` and `quote_calibration`, and choosing. Does not belong
here: finding the posts (`retrieval/`), cutting them (`windows.py`), the text of an answer
(`answer_text.py`).

Windows are ranked by the cosine of centred vectors: the author's mean is taken off both sides,
since what all posts of a clockmaker share (clocks) tells no two of them apart (58 instead of 55 of
100 found first, 70 instead of 68 among two; Mu and Viswanath 2018,
https://arxiv.org/abs/1702.01417). Whether they answer at all is decided by the plain cosine of the
nearest one.
"""
# pyright: strict

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from twin_resources.models.retrieval.retrieval import place_of

if TYPE_CHECKING:
    import numpy as np

    from twin_resources.storage.tables.tables import Tables

TABLE = "sentence_embeddings"
CALIBRATION_TABLE = "quote_calibration"
# The windows of the posts found first. With the posts of all hits the same ones were chosen.
DOCUMENTS = 8
QUOTES = 2
_KEPT_TABLES = 64
_COLUMNS = ["document_id", "title", "url", "published_at", "start", "end", "text", "vector"]


@dataclass(frozen=True)
class Quote:
    """Sentences of one post, word for word.

    Attributes:
        text: the cleaned document's `text[start:end]`.
        score: cosine of question and window.
    """

    text: str
    document_id: str
    title: str
    url: str
    published_at: datetime | None
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Quoted:
    """What the posts say to a question.

    Attributes:
        quotes: best first; none: the author has not written about it, or `reason` says why nothing
            could be looked up.
        best: the highest cosine of a window; below `threshold` nothing is quoted.
        reason: why nothing could be looked up; empty: it was.
    """

    quotes: tuple[Quote, ...]
    best: float = 0.0
    threshold: float = 0.0
    reason: str = ""


def update_index(tables: Tables, author: str) -> None:
    """Make the index by which a post's windows are found, or add to it what is new.

    Raises:
        TwinError: the author has no `sentence_embeddings`.
    """
    tables.ensure_index(TABLE, author, "document_id")


class Quoter:
    """Chooses quotations; safe to call from several threads, always from the newest tables.

    Args:
        tables_base: folder or `s3://` prefix.
        embedder_revision: of the embedder that questions are put to; windows of another one are
            not compared with them.
        storage_options: of Lance, for `s3://`.
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
        self._opened: OrderedDict[str, _Opened] = OrderedDict()
        self._lock = Lock()

    def quote(
        self, author: str, question: np.ndarray, documents: Sequence[str], *, limit: int = QUOTES
    ) -> Quoted:
        """The best windows of these documents, if any answers.

        Args:
            author: slug.
            question: its vector, float32 of shape (dimension,).
            documents: ids, the best first; windows of the first eight are looked at.
            limit: most quotations; they do not overlap.
        """
        opened = self._tables(author)
        if opened is None:
            return Quoted((), reason=f"author {author} has no {TABLE} yet")
        calibrated = _calibrated(opened.calibration)
        if calibrated.embedder != self._revision:
            return Quoted((), reason=f"{TABLE} of author {author} are of another embedder")
        if not documents:
            return Quoted((), threshold=calibrated.threshold)
        rows = _rows_of(opened.windows, documents[:DOCUMENTS])
        return _choose(rows, question, calibrated, limit=limit)

    def _tables(self, author: str) -> _Opened | None:
        folder = place_of(self._base, author, TABLE)
        if folder is None:
            return None
        with self._lock:
            known = self._opened.pop(author, None)
            if known is None or known.folder != folder:
                known = self._open(author, folder)
            if known is not None:
                self._opened[author] = known
                while len(self._opened) > _KEPT_TABLES:
                    self._opened.popitem(last=False)
            return known

    def _open(self, author: str, folder: tuple[int, int]) -> _Opened | None:
        import lancedb

        database = lancedb.connect(
            f"{self._base}/{author}",
            storage_options=self._storage_options or None,
            read_consistency_interval=timedelta(0),  # no answer from old rows
        )
        try:
            tables = [database.open_table(name) for name in (TABLE, CALIBRATION_TABLE)]
        except (ValueError, FileNotFoundError):
            return None
        return _Opened(folder, *tables)


@dataclass(frozen=True)
class _Opened:
    """An author's two tables; another `folder` means that they were made anew."""

    folder: tuple[int, int]
    windows: Any
    calibration: Any


@dataclass(frozen=True)
class _Calibrated:
    embedder: str
    threshold: float
    mean: np.ndarray | None


def _calibrated(table: Any) -> _Calibrated:
    import numpy as np

    rows = table.search().limit(1).to_arrow().to_pylist()
    if not rows:
        return _Calibrated("", 0.0, None)
    return _Calibrated(
        embedder=rows[0]["embedder"],
        threshold=float(rows[0]["threshold"]),
        mean=np.asarray(rows[0]["mean"], np.float32),
    )


def _rows_of(table: Any, documents: Sequence[str]) -> Any:
    listed = ", ".join("'" + name.replace("'", "''") + "'" for name in documents)
    return table.search().where(f"document_id IN ({listed})").select(_COLUMNS).to_arrow()


def _choose(rows: Any, question: np.ndarray, calibrated: _Calibrated, *, limit: int) -> Quoted:
    import numpy as np

    threshold = calibrated.threshold
    if not rows.num_rows:
        return Quoted((), threshold=threshold)
    flat: np.ndarray = rows["vector"].combine_chunks().flatten().to_numpy()
    vectors = flat.reshape(rows.num_rows, -1)
    plain = np.einsum("ij,j->i", vectors, question)
    best = float(plain.max())
    if best < threshold:
        return Quoted((), best, threshold)
    mean = calibrated.mean if calibrated.mean is not None else np.zeros_like(question)
    centred = vectors - mean
    direction = question - mean
    lengths = np.sqrt(np.einsum("ij,ij->i", centred, centred)) * float(
        np.sqrt(direction @ direction)
    )
    ranked = np.einsum("ij,j->i", centred, direction) / np.maximum(lengths, 1e-12)
    fields = rows.drop_columns(["vector"]).to_pylist()
    order = sorted(
        range(len(fields)),
        key=lambda place: (-ranked[place], fields[place]["document_id"], fields[place]["start"]),
    )
    chosen: list[Quote] = []
    for place in order:
        quote = Quote(score=float(plain[place]), **_named(fields[place]))
        if not any(_overlap(quote, other) for other in chosen):
            chosen.append(quote)
        if len(chosen) == limit:
            break
    return Quoted(tuple(chosen), best, threshold)


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "title": row["title"] or "", "url": row["url"] or ""}


def _overlap(one: Quote, other: Quote) -> bool:
    same = one.document_id == other.document_id
    return same and one.start < other.end and other.start < one.end
