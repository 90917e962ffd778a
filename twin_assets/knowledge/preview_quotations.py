"""A few of the author's sentences that answer questions, before anything is stored.

Belongs here: choosing them among the posts of a preview. Does not belong here: finding posts and
declining (`twin_resources/models/quotes/quoter.py`, once everything is imported), the questions
(`corpus/title_questions.py`).

The nearest passage, and in it the nearest sentence: by the cosine of vectors that the mean of all
candidates was taken off, since what all posts of an author share tells no two of them apart.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from twin_assets.knowledge.quotable_rows import (
    DOCUMENT_COLUMNS,
    embed_passages,
    embed_sentences,
)
from twin_resources.models.quotes.passages import embedded_text

if TYPE_CHECKING:
    import numpy as np

    from twin_resources.models.embedder.embedder import Embedder

# Of each post: six posts of a thousand words take 3 s on two cores, and six essays no longer.
MOST_CHARACTERS = 6_000
FEWEST_CHARACTERS = 40  # of a sentence that is shown alone: "It works." says nothing there


@dataclass(frozen=True)
class PreviewQuotation:
    """A question, what one of the posts says to it, and that post's title."""

    question: str
    text: str
    title: str


def preview_quotations(
    posts: pl.DataFrame, questions: Sequence[str], embedder: Embedder
) -> list[PreviewQuotation]:
    """What the posts say to each question.

    Args:
        posts: `DOCUMENT_COLUMNS` of cleaned documents; their first thousand words are looked at.

    Returns:
        One a question; none where the posts hold no sentence. The same words are given once.
    """
    shortened = posts.select(DOCUMENT_COLUMNS).with_columns(
        pl.col("text").str.slice(0, MOST_CHARACTERS)
    )
    passages = embed_passages(shortened, embedder)
    if not passages.height or not questions:
        return []
    asked = embedder.embed(list(questions))
    places = _nearest(asked, passages)
    chosen = passages[list(dict.fromkeys(places))]
    sentences = embed_sentences(
        shortened.filter(pl.col("document_id").is_in(chosen["document_id"].implode())), embedder
    )
    texts = dict(shortened.select("document_id", "text").iter_rows())
    found: dict[str, PreviewQuotation] = {}
    for number, question in enumerate(questions):
        passage = passages.row(places[number], named=True)
        inside = sentences.filter(
            pl.col("document_id") == passage["document_id"],
            pl.col("start") >= passage["searched_start"],
            pl.col("end") <= passage["searched_end"],
        )
        long = inside.filter(pl.col("end") - pl.col("start") >= FEWEST_CHARACTERS)
        inside = long if long.height else inside
        if not inside.height:
            continue
        [place] = _nearest(asked[number : number + 1], inside)
        start, end = inside.select("start", "end").row(place)
        text = embedded_text("", texts[passage["document_id"]][start:end])
        found.setdefault(text, PreviewQuotation(question, text, str(passage["title"])))
    return list(found.values())


def _nearest(asked: np.ndarray, rows: pl.DataFrame) -> list[int]:
    """Of each vector that was asked, the place of the nearest row."""
    vectors: np.ndarray = rows["vector"].to_numpy()
    mean = vectors.mean(axis=0) if rows.height > 1 else 0.0
    return _cosines(asked - mean, vectors - mean).argmax(axis=1).tolist()


def _cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of each row with each: shape (rows of one, rows of other)."""
    import numpy as np

    def unit(rows: np.ndarray) -> np.ndarray:
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)

    return unit(one) @ unit(other).T
