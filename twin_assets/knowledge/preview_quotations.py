"""Choose a few of the author's sentences that answer questions, before anything is stored.

Readers would not ask a question that only names a post (`question_from_title`). The preview
therefore shows the post's title as a topic above one of its sentences. It selects the passage
nearest to the question, then that passage's nearest sentence. Nearness is the cosine after the mean
of all candidates is subtracted, because features that all posts share do not distinguish them. Many
sentences near a title answer nothing on their own, so more questions are tried than are shown. The
best quotations have the highest plain cosine of question and sentence. For that cosine only, the
sentence is embedded without its title.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from twin_assets.corpus.title_questions import extract_quoted_title
from twin_assets.knowledge.passages import (
    DOCUMENT_COLUMNS,
    embed_passages,
    remove_link_targets,
    split_into_passages,
)

if TYPE_CHECKING:
    import numpy as np

    from twin_resources.models.embedder.embedder import Embedder

# With this limit, six long essays take as long as six posts of a thousand words: 3 s on two cores.
MAX_POST_CHARACTERS = 6_000
MIN_SENTENCE_CHARACTERS = 40  # a short sentence such as "It works." means nothing on its own
MAX_SENTENCE_CHARACTERS = 160  # two lines
# Openings that refer to the preceding sentence, in English only.
_DEPENDENT_OPENING = (
    r"(?i)^\W*(?:(?:so|but|and|or|nor|then|yet|because),?\s)?(?:it|its|they|their|them|this|that|"
    r"these|those|he|his|she|her|him|there|also|instead|otherwise|here|such|both|neither|either|"
    r"however|see|thus|hence|i did|i do|of course|for (?:example|instance|this|that)|"
    r"in (?:fact|short|that|this)|the (?:first|second|third|last|others?|same|latter|former))\b"
)


@dataclass(frozen=True)
class PreviewQuotation:
    """A sentence of a post, and the post's title.

    Attributes:
        heading: the question that the sentence answers, or `On “title”:`.
    """

    heading: str
    text: str
    title: str


def choose_preview_quotations(
    posts: pl.DataFrame, questions: Sequence[str], embedder: Embedder, *, count: int
) -> list[PreviewQuotation]:
    """Choose a sentence from the posts for each question, and return the best answers.

    Args:
        posts: `DOCUMENT_COLUMNS` of cleaned documents; only their first `MAX_POST_CHARACTERS`
            characters are read.
        count: the maximum number of quotations.

    Returns:
        At most one quotation per question, the best answer first, without repeated texts. The list
        is empty if the posts have no sentences.
    """
    short_posts = posts.select(DOCUMENT_COLUMNS).with_columns(
        pl.col("text").str.slice(0, MAX_POST_CHARACTERS)
    )
    passages = embed_passages(short_posts, embedder)
    if not passages.height or not questions:
        return []
    queries = embedder.embed(list(questions), are_questions=True)
    topics = [extract_quoted_title(question) for question in questions]
    passage_indices = [
        _find_nearest_passage(queries[question_index], passages, title=topic)
        for question_index, topic in enumerate(topics)
    ]
    chosen_passages = passages[list(dict.fromkeys(passage_indices))]
    sentences = _embed_sentences(
        short_posts.filter(pl.col("document_id").is_in(chosen_passages["document_id"].implode())),
        embedder,
    )
    texts = dict(short_posts.select("document_id", "text").iter_rows())
    quotations: dict[str, tuple[int, PreviewQuotation]] = {}
    for question_index, question in enumerate(questions):
        passage = passages.row(passage_indices[question_index], named=True)
        post_sentences = sentences.filter(pl.col("document_id") == passage["document_id"])
        candidates = _select_standalone(
            post_sentences,
            passage["start"],
            passage["end"],
            texts[passage["document_id"]],
        )
        if not candidates.height:
            continue
        index = _find_nearest_row(queries[question_index], candidates)
        start, end = candidates.select("start", "end").row(index)
        text = remove_link_targets(texts[passage["document_id"]][start:end])
        heading = f"On “{topics[question_index]}”:" if topics[question_index] else question
        quotation = PreviewQuotation(heading, text, str(passage["title"]))
        quotations.setdefault(text, (question_index, quotation))
    return _rank_quotations(list(quotations.values()), queries, embedder)[:count]


def _rank_quotations(
    quotations: Sequence[tuple[int, PreviewQuotation]], queries: np.ndarray, embedder: Embedder
) -> list[PreviewQuotation]:
    """Sort quotations by cosine to their question, whose index is given, the highest first."""
    if not quotations:
        return []
    sentences = embedder.embed([quotation.text for _, quotation in quotations])
    scores = [
        float(queries[question_index] @ sentence)
        for (question_index, _), sentence in zip(quotations, sentences, strict=True)
    ]
    order = sorted(range(len(quotations)), key=lambda index: -scores[index])
    return [quotations[index][1] for index in order]


def _embed_sentences(documents: pl.DataFrame, embedder: Embedder) -> pl.DataFrame:
    """Embed each prose sentence of the posts; return `document_id`, `start`, `end`, `vector`."""
    import sentencex

    rows: list[tuple[str, int, int]] = []
    texts: list[str] = []
    for document in documents.to_dicts():
        text, language = document["text"], document["language"] or "en"
        paragraphs = dict.fromkeys(
            span
            for passage in split_into_passages(text, language=language)
            for span in passage.prose
        )
        for start, end in paragraphs:
            for sentence in sentencex.get_sentence_boundaries(language, text[start:end]):
                words = sentence["text"].strip()
                begin = text.find(words, start + sentence["start_index"])
                if words and not words.startswith(("#", ">", "|")):
                    rows.append((document["document_id"], begin, begin + len(words)))
                    texts.append(f"{document['title'] or ''}\n{remove_link_targets(words)}".strip())
    vectors = embedder.embed(texts)
    columns = {"document_id": pl.String, "start": pl.Int64, "end": pl.Int64}
    return pl.DataFrame(rows, schema=columns, orient="row").with_columns(
        pl.Series("vector", vectors, dtype=pl.Array(pl.Float32, vectors.shape[1]))
    )


def _select_standalone(sentences: pl.DataFrame, start: int, end: int, text: str) -> pl.DataFrame:
    """Return the passage's sentences that need no context, else the post's, else any sentences."""
    length = pl.col("end") - pl.col("start")
    is_inside = pl.col("start").ge(start) & pl.col("end").le(end)
    is_long = length >= MIN_SENTENCE_CHARACTERS
    is_dependent = [
        re.match(_DEPENDENT_OPENING, text[first:last]) is not None
        for first, last in sentences.select("start", "end").iter_rows()
    ]
    is_standalone = (
        is_long & length.le(MAX_SENTENCE_CHARACTERS) & ~pl.Series(is_dependent, dtype=pl.Boolean)
    )
    for condition in (is_inside & is_standalone, is_standalone, is_inside & is_long, is_inside):
        if (matches := sentences.filter(condition)).height:
            return matches
    return sentences.clear()


def _find_nearest_passage(query: np.ndarray, passages: pl.DataFrame, *, title: str) -> int:
    """Return the index of the passage nearest to a question, preferring those with the title."""
    numbered_passages = passages.with_row_index("index")
    titled_passages = (
        numbered_passages.filter(pl.col("title") == title) if title else numbered_passages
    )
    rows = titled_passages if titled_passages.height else numbered_passages
    return rows["index"].to_list()[_find_nearest_row(query, rows)]


def _find_nearest_row(query: np.ndarray, rows: pl.DataFrame) -> int:
    """Return the index of the row with the highest cosine after subtraction of the rows' mean."""
    import numpy as np

    vectors: np.ndarray = rows["vector"].to_numpy()
    mean = vectors.mean(axis=0) if rows.height > 1 else 0.0
    lengths = np.maximum(np.linalg.norm(vectors - mean, axis=1), 1e-12)
    return int(((vectors - mean) @ (query - mean) / lengths).argmax())
