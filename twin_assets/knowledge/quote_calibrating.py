"""From an author's windows to their row of `quote_calibration`: what is asked, what left out.

Belongs here: which windows and whose sentences it learns from, drawing the questions, the row's
contract. Does not belong here: the threshold (`twin_resources/models/quotes/calibration.py`), the
asset.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_resources.models.quotes import calibration
from twin_resources.models.quotes.quoter import CALIBRATION_TABLE, TABLE
from twin_resources.models.quotes.windows import windows_of
from twin_resources.quality.judges.texts import bundled_hands

if TYPE_CHECKING:
    import numpy as np

    from twin_resources.models.embedder.embedder import Embedder
    from twin_resources.storage.tables.tables import SyncResult, Tables

# Up to so many windows all are read, and any change calibrates anew. Of a larger corpus so many are
# drawn, and it is calibrated again when it has grown by a tenth: reading 4,000,000 vectors for ten
# new posts would cost more than the posts.
MOST_WINDOWS = 20_000
GROWN_BY = 1.1


def calibration_columns(dimension: int) -> Mapping[str, pl.DataType]:
    """Column → type: see `calibration.Calibration`; `mean` is of the vectors, not of length 1."""
    return {
        "author": pl.String(),
        "embedder": pl.String(),
        "threshold": pl.Float64(),
        "own": pl.Int64(),
        "own_declined": pl.Float64(),
        "foreign": pl.Int64(),
        "foreign_declined": pl.Float64(),
        "windows": pl.Int64(),
        "mean": pl.Array(pl.Float32(), dimension),
    }


def update_calibration(tables: Tables, author: str, embedder: Embedder) -> SyncResult:
    """Bring an author's row up to date; without a window there is none."""
    names: list[str] = tables.read(TABLE, author, columns=["window_id"])["window_id"].to_list()
    state = (
        tables.data_version(TABLE, author)
        if len(names) <= MOST_WINDOWS
        else f"about {GROWN_BY} ^ {int(math.log(len(names), GROWN_BY))} windows"
    )
    state_row = pl.DataFrame(
        {"author": [author] if names else [], "windows": [state] if names else []}
    )

    def calibrate(_: pl.DataFrame) -> pl.DataFrame:
        chosen = [names[place] for place in calibration.drawn(names, MOST_WINDOWS)]
        others = [text for hand in bundled_hands(without=[author]) for _, text in hand.passages]
        windows = _read(tables, author, chosen, whole=len(chosen) == len(names))
        return calibration_row(author, windows, long_sentences(others), embedder)

    return tables.sync(
        state_row.cast(pl.String),
        CALIBRATION_TABLE,
        author=author,
        key="author",
        function=calibrate,
        version=f"{calibration.CALIBRATION_VERSION}:{embedder.revision}",
        schema=calibration_columns(embedder.dimension),
        row_key="author",
    )


def calibration_row(
    author: str, windows: pl.DataFrame, foreign: Sequence[str], embedder: Embedder
) -> pl.DataFrame:
    """The author's row.

    Args:
        windows: `window_id`, `document_id`, `start`, `end`, `text`, `vector` of
            `sentence_embeddings`, all of them or a part drawn by lot; at least one.
        foreign: sentences of other authors.
    """
    vectors: np.ndarray = windows["vector"].to_numpy()
    places, sentences = _held_out(windows)
    own = calibration.best_scores(
        embedder.embed(sentences), vectors, left_out=[_overlapping(windows, at) for at in places]
    )
    others = [foreign[at] for at in calibration.drawn(foreign, calibration.MOST_FOREIGN)]
    fitted = calibration.calibrate(own, calibration.best_scores(embedder.embed(others), vectors))
    row: dict[str, Any] = {
        "author": author,
        "embedder": embedder.revision,
        "threshold": fitted.threshold,
        "own": fitted.own,
        "own_declined": fitted.own_declined,
        "foreign": fitted.foreign,
        "foreign_declined": fitted.foreign_declined,
        "windows": windows.height,
        "mean": vectors.mean(axis=0),
    }
    return pl.DataFrame([row], schema=dict(calibration_columns(embedder.dimension)))


def long_sentences(texts: Sequence[str]) -> list[str]:
    """The first sentence of six words or more of each text that has one."""
    sentences_found = (_first_long(text) for text in texts)
    return [sentence for sentence in sentences_found if sentence]


def _held_out(windows: pl.DataFrame) -> tuple[list[int], list[str]]:
    """Places of windows drawn by lot, and of each its first sentence of six words or more."""
    names: list[str] = windows["window_id"].to_list()
    places: list[int] = []
    sentences: list[str] = []
    for place in calibration.drawn(names, calibration.MOST_OWN):
        sentence = _first_long(windows["text"][place])
        if sentence:
            places.append(place)
            sentences.append(sentence)
    return places, sentences


def _first_long(text: str) -> str:
    for window in windows_of(text):
        for start, end in window.sentences:
            if len(text[start:end].split()) >= calibration.FEWEST_WORDS_ASKED:
                return text[start:end]
    return ""


def _overlapping(windows: pl.DataFrame, place: int) -> list[int]:
    """Places of the windows that share a character with this one, itself among them."""
    row = windows.row(place, named=True)
    same = (
        (windows["document_id"] == row["document_id"])
        & (windows["start"] < row["end"])
        & (windows["end"] > row["start"])
    )
    return same.arg_true().to_list()


def _read(tables: Tables, author: str, names: list[str], *, whole: bool) -> pl.DataFrame:
    columns = ["window_id", "document_id", "start", "end", "text", "vector"]
    if whole:
        return tables.read(TABLE, author, columns=columns).sort("window_id")
    wanted = pl.Series("window_id", names).to_frame()
    return (
        tables.scan(TABLE, author)
        .select(columns)
        .join(wanted.lazy(), on="window_id", how="semi")
        .collect()
        .sort("window_id")
    )
