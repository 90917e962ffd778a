"""Compute an author's row of `quote_calibration` from the author's passages.

Scope: selecting and sampling the passages and the questions, the row's contract. Out of scope: the
threshold (`twin_resources/models/quotes/calibration.py`), the asset.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_resources.models.quotes import calibration
from twin_resources.models.quotes.passages import split_into_passages
from twin_resources.models.quotes.quoter import CALIBRATION_TABLE, PASSAGES_TABLE

if TYPE_CHECKING:
    import numpy as np

    from twin_resources.models.embedder.embedder import Embedder
    from twin_resources.storage.tables.tables import SyncResult, Tables

# Up to this number, all passages are read and any change triggers a new calibration. A larger
# corpus is sampled to this size and calibrated again when it has grown by a tenth, because reading
# 1,000,000 vectors for ten new posts would cost more than importing them.
MAX_PASSAGES = 20_000
RECALIBRATION_GROWTH = 1.1
QUESTION_LANGUAGES = ("en", "de", "fr", "es", "it", "pt")
MIN_LANGUAGE_SHARE = 0.02  # share of all passages
CALIBRATED_COLUMNS = ["passage_id", "document_id", "language", "start", "end", "text", "vector"]


def calibration_columns(dimension: int) -> Mapping[str, pl.DataType]:
    """Return the column types; see `calibration.Calibration`. `mean` does not have unit length.

    `languages` are those of the posts, the most frequent first. `known_languages` are those of the
    embedder. Both are ISO 639-1 codes. `threshold_elsewhere` applies to questions in languages
    other than the posts', which score lower. It is null if the embedder supports one language.
    """
    return {
        "author": pl.String(),
        "embedder": pl.String(),
        "threshold": pl.Float64(),
        "threshold_elsewhere": pl.Float64(),
        "own": pl.Int64(),
        "own_declined": pl.Float64(),
        "foreign": pl.Int64(),
        "foreign_declined": pl.Float64(),
        "passages": pl.Int64(),
        "mean": pl.Array(pl.Float32(), dimension),
        "languages": pl.List(pl.String()),
        "known_languages": pl.List(pl.String()),
    }


def update_calibration(tables: Tables, author: str, embedder: Embedder) -> SyncResult:
    """Update an author's row, or remove it if the author has no passage."""
    stored_ids = tables.read(PASSAGES_TABLE, author, columns=["passage_id"])
    passage_ids: list[str] = stored_ids["passage_id"].to_list()
    corpus_state = (
        tables.data_version(PASSAGES_TABLE, author)
        if len(passage_ids) <= MAX_PASSAGES
        else f"about {RECALIBRATION_GROWTH} ^ "
        f"{int(math.log(len(passage_ids), RECALIBRATION_GROWTH))} passages"
    )
    state_row = pl.DataFrame(
        {
            "author": [author] if passage_ids else [],
            "passages": [corpus_state] if passage_ids else [],
        }
    )

    def calibrate(_: pl.DataFrame) -> pl.DataFrame:
        sampled_ids = [
            passage_ids[index] for index in calibration.sample_indexes(passage_ids, MAX_PASSAGES)
        ]
        return compute_calibration_row(
            author, _read_passages(tables, author, sampled_ids), embedder
        )

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


def compute_calibration_row(
    author: str, passages: pl.DataFrame, embedder: Embedder
) -> pl.DataFrame:
    """Compute the author's row of `quote_calibration`.

    Args:
        passages: `CALIBRATED_COLUMNS` of all rows of `passage_embeddings`, or of a random sample;
            at least one row.
    """
    vectors: np.ndarray = passages["vector"].to_numpy()
    held_out_indices, sentences = _sample_held_out(passages)
    own_scores = calibration.relevance_scores(
        embedder.embed(sentences, are_questions=True),
        vectors,
        excluded_passages=[
            _find_overlapping_passages(passages, index) for index in held_out_indices
        ],
    )

    def fit(language: str) -> calibration.Calibration:
        foreign_vectors = embedder.embed(read_foreign_questions(language), are_questions=True)
        return calibration.calibrate(
            own_scores,
            calibration.relevance_scores(foreign_vectors, vectors),
            calibration.relevance_scores(foreign_vectors, vectors, max_nearest=1),
        )

    languages = _find_frequent_languages(passages["language"])
    language = next((code for code in languages if code in QUESTION_LANGUAGES), "en")
    author_calibration, threshold_elsewhere = fit(language), None
    if len(embedder.languages) > 1:
        threshold_elsewhere = fit("de" if language == "en" else "en").threshold
    row: dict[str, Any] = {
        "author": author,
        "embedder": embedder.revision,
        "threshold": author_calibration.threshold,
        "threshold_elsewhere": threshold_elsewhere,
        "own": author_calibration.own,
        "own_declined": author_calibration.own_declined,
        "foreign": author_calibration.foreign,
        "foreign_declined": author_calibration.foreign_declined,
        "passages": passages.height,
        "mean": vectors.mean(axis=0),
        "languages": languages,
        "known_languages": list(embedder.languages),
    }
    return pl.DataFrame([row], schema=dict(calibration_columns(embedder.dimension)))


@cache
def read_foreign_questions(language: str = "en") -> tuple[str, ...]:
    """Read questions to other authors on a wide range of subjects.

    Args:
        language: one of `QUESTION_LANGUAGES`; questions score higher on posts in their language.
    """
    file = resources.files("twin_assets.knowledge") / f"questions_to_others.{language}.txt"
    return tuple(file.read_text(encoding="utf-8").splitlines())


def _find_frequent_languages(languages: pl.Series) -> list[str]:
    """Return the languages of the posts, the most frequent first.

    Languages below `MIN_LANGUAGE_SHARE` are omitted, because the language detector makes errors on
    short posts.
    """
    language_counts = languages.value_counts(sort=True)
    frequent_rows = language_counts.filter(pl.col("count") >= MIN_LANGUAGE_SHARE * languages.len())
    return [language for language in frequent_rows[languages.name] if language]


def _sample_held_out(passages: pl.DataFrame) -> tuple[list[int], list[str]]:
    """Return the indices of sampled passages, and the first sufficiently long sentence of each."""
    passage_ids: list[str] = passages["passage_id"].to_list()
    indices: list[int] = []
    sentences: list[str] = []
    for index in calibration.sample_indexes(passage_ids, calibration.MAX_OWN_SENTENCES):
        sentence = _find_first_long_sentence(passages["text"][index])
        if sentence:
            indices.append(index)
            sentences.append(sentence)
    return indices, sentences


def _find_first_long_sentence(text: str) -> str:
    for passage in split_into_passages(text):
        for start, end in passage.sentences:
            if len(text[start:end].split()) >= calibration.MIN_QUESTION_WORDS:
                return text[start:end]
    return ""


def _find_overlapping_passages(passages: pl.DataFrame, index: int) -> list[int]:
    """Return the indices of the passages that overlap this passage, including its own."""
    row = passages.row(index, named=True)
    overlaps = (
        (passages["document_id"] == row["document_id"])
        & (passages["start"] < row["end"])
        & (passages["end"] > row["start"])
    )
    return overlaps.arg_true().to_list()


def _read_passages(tables: Tables, author: str, passage_ids: list[str]) -> pl.DataFrame:
    selected_ids = pl.Series("passage_id", passage_ids, dtype=pl.String).to_frame()
    return (
        tables.scan(PASSAGES_TABLE, author)
        .select(CALIBRATED_COLUMNS)
        .join(selected_ids.lazy(), on="passage_id", how="semi")
        .collect()
        .sort("passage_id")
    )
