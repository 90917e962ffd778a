"""A few of the author's sentences that answer questions, before anything is stored.

A question that only names a post (`question_naming`) is none that a reader would ask: its title
stands above the sentence as a topic, and the sentence is of that post.

Scope: choosing them among the posts of a preview. Out of scope: finding posts and
declining (`twin_resources/models/quotes/quoter.py`, once everything is imported), the questions
(`corpus/title_questions.py`).

The nearest passage, and in it the nearest sentence: by the cosine of vectors that the mean of all
candidates was taken off, since what all posts of an author share tells no two of them apart.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from twin_assets.corpus.title_questions import title_named
from twin_assets.knowledge.quotable_rows import DOCUMENT_COLUMNS, embed_passages
from twin_resources.models.quotes.passages import embedded_text

if TYPE_CHECKING:
    import numpy as np

    from twin_resources.models.embedder.embedder import Embedder

# Of each post: six posts of a thousand words take 3 s on two cores, and six essays no longer.
MAX_CHARACTERS = 6_000
MIN_CHARACTERS = 40  # of a sentence that is shown alone: "It works." says nothing there
MAX_SHOWN = 160  # characters of such a sentence: two lines
# What begins so rests on the sentence before. English; in other languages none is left out.
_LEANS = (
    r"(?i)^\W*(?:(?:so|but|and|or|nor|then|yet|because),?\s)?(?:it|its|they|their|them|this|that|"
    r"these|those|he|his|she|her|him|there|also|instead|otherwise|here|such|both|neither|either|"
    r"however|see|thus|hence|i did|i do|of course|for (?:example|instance|this|that)|"
    r"in (?:fact|short|that|this)|the (?:first|second|third|last|others?|same|latter|former))\b"
)


@dataclass(frozen=True)
class PreviewQuotation:
    """What one of the posts says, and that post's title.

    Attributes:
        heading: the question that it answers, or `On “title”`.
    """

    heading: str
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
        pl.col("text").str.slice(0, MAX_CHARACTERS)
    )
    passages = embed_passages(shortened, embedder)
    if not passages.height or not questions:
        return []
    asked = embedder.embed(list(questions), are_questions=True)
    topics = [title_named(question) for question in questions]
    places = [
        _nearest_of(asked[number : number + 1], passages, title=topic)
        for number, topic in enumerate(topics)
    ]
    chosen = passages[list(dict.fromkeys(places))]
    sentences = _embed_sentences(
        passages.filter(pl.col("document_id").is_in(chosen["document_id"].implode())),
        shortened,
        embedder,
    )
    texts = dict(shortened.select("document_id", "text").iter_rows())
    found: dict[str, PreviewQuotation] = {}
    for number, question in enumerate(questions):
        passage = passages.row(places[number], named=True)
        of_post = sentences.filter(pl.col("document_id") == passage["document_id"])
        inside = _shown_alone(
            of_post,
            passage["searched_start"],
            passage["searched_end"],
            texts[passage["document_id"]],
        )
        if not inside.height:
            continue
        [place] = _nearest(asked[number : number + 1], inside)
        start, end = inside.select("start", "end").row(place)
        text = embedded_text("", texts[passage["document_id"]][start:end])
        heading = f"On “{topics[number]}”:" if topics[number] else question
        found.setdefault(text, PreviewQuotation(heading, text, str(passage["title"])))
    return list(found.values())


def _embed_sentences(
    passages: pl.DataFrame, documents: pl.DataFrame, embedder: Embedder
) -> pl.DataFrame:
    """Each sentence of these passages once: `document_id`, `start`, `end`, `vector`."""
    sentences = (
        passages.select("document_id", "title", "sentences")
        .explode("sentences")
        .unnest("sentences")
        .unique(["document_id", "start"], keep="first", maintain_order=True)
    )
    whole = dict(documents.select("document_id", "text").iter_rows())
    texts = [
        embedded_text(title or "", whole[document][start:end])
        for document, title, start, end in sentences.select(
            "document_id", "title", "start", "end"
        ).iter_rows()
    ]
    vectors = embedder.embed(texts)
    return sentences.with_columns(
        pl.Series("vector", vectors, dtype=pl.Array(pl.Float32, vectors.shape[1]))
    )


def _shown_alone(sentences: pl.DataFrame, start: int, end: int, text: str) -> pl.DataFrame:
    """The sentences of a passage that are understood alone; else the post's, else any."""
    length = pl.col("end") - pl.col("start")
    inside = pl.col("start").ge(start) & pl.col("end").le(end)
    long = length >= MIN_CHARACTERS
    leaning = [
        re.match(_LEANS, text[first:last]) is not None
        for first, last in sentences.select("start", "end").iter_rows()
    ]
    alone = long & length.le(MAX_SHOWN) & ~pl.Series(leaning, dtype=pl.Boolean)
    for wanted in (inside & alone, alone, inside & long, inside):
        if (found := sentences.filter(wanted)).height:
            return found
    return sentences.clear()


def _nearest_of(asked: np.ndarray, passages: pl.DataFrame, *, title: str) -> int:
    """The place of the passage nearest to one question, among those of a title where it has any."""
    numbered = passages.with_row_index("place")
    titled = numbered.filter(pl.col("title") == title) if title else numbered
    rows = titled if titled.height else numbered
    [nearest] = _nearest(asked, rows)
    return rows["place"].to_list()[nearest]


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
