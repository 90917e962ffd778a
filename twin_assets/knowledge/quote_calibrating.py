"""From an author's windows to their row of `quote_calibration`: what is asked, what left out.

Belongs here: drawing the questions, the row's contract. Does not belong here: the threshold
(`twin_resources/models/quotes/calibration.py`), the asset.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_resources.models.quotes import calibration
from twin_resources.models.quotes.windows import windows_of

if TYPE_CHECKING:
    import numpy as np

    from twin_resources.models.embedder.embedder import Embedder


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
    found = calibration.calibrate(own, calibration.best_scores(embedder.embed(others), vectors))
    row: dict[str, Any] = {
        "author": author,
        "embedder": embedder.revision,
        "threshold": found.threshold,
        "own": found.own,
        "own_declined": found.own_declined,
        "foreign": found.foreign,
        "foreign_declined": found.foreign_declined,
        "windows": windows.height,
        "mean": vectors.mean(axis=0),
    }
    return pl.DataFrame([row], schema=dict(calibration_columns(embedder.dimension)))


def long_sentences(texts: Sequence[str]) -> list[str]:
    """The first sentence of six words or more of each text that has one."""
    found = (_first_long(text) for text in texts)
    return [sentence for sentence in found if sentence]


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
