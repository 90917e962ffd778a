"""Cleaned documents → rows of `passage_embeddings` and `sentence_embeddings`: what may be quoted.

Belongs here: the contracts of the two tables, the pure functions that fill them, and their update.
Does not belong here: where a passage begins and ends (`twin_resources/models/quotes/passages.py`),
the model.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import dataframely as dy
import polars as pl

from twin_resources.models.quotes.passages import PASSAGES_VERSION, embedded_text, passages_of
from twin_resources.models.quotes.quoter import PASSAGES, SENTENCES
from twin_resources.storage.tables.tables import SyncResult, Tables, Upstream

if TYPE_CHECKING:
    from twin_resources.models.embedder.embedder import Embedder
    from twin_resources.processes.progress_lines import SyncProgressLines

DOCUMENT_COLUMNS = ("document_id", "title", "url", "published_at", "language", "text", "kept")
"""What `embed_passages` and `embed_sentences` read of `cleaned_documents`."""

Progress = Callable[[int, int], object]


class PassageEmbeddings(dy.Schema):
    """One row a passage of at most 120 words; `text` is the document's `text[start:end]`.

    `passage_id` is the document's id and `searched_start`. The vector is of the title and the words
    from `searched_start` to `searched_end`, which lie within the passage.
    """

    passage_id = dy.String(primary_key=True, min_length=1)
    document_id = dy.String(min_length=1)
    title = dy.String()
    url = dy.String()
    language = dy.String()
    published_at = dy.Datetime(nullable=True, time_unit="us", time_zone="UTC")
    start = dy.Int64(min=0)
    end = dy.Int64(min=1)
    searched_start = dy.Int64(min=0)
    searched_end = dy.Int64(min=1)
    text = dy.String(min_length=1)

    @dy.rule()
    def offsets_fit_the_text(cls) -> pl.Expr:
        return pl.col("end") - pl.col("start") == pl.col("text").str.len_chars()

    @dy.rule()
    def searched_part_is_shown(cls) -> pl.Expr:
        inside = pl.col("start") <= pl.col("searched_start")
        return inside & (pl.col("searched_end") <= pl.col("end"))


class SentenceEmbeddings(dy.Schema):
    """One row a sentence of a passage, by its place; the vector is of the title and its words."""

    sentence_id = dy.String(primary_key=True, min_length=1)
    document_id = dy.String(min_length=1)
    start = dy.Int64(min=0)
    end = dy.Int64(min=1)


def table_columns(schema: type[dy.Schema], dimension: int) -> Mapping[str, pl.DataType]:
    """Column → type: those of the contract, `embedder` (revision) and `vector`."""
    return {
        **{name: column.dtype for name, column in schema.columns().items()},
        "embedder": pl.String(),
        "vector": pl.Array(pl.Float32(), dimension),
    }


def update_passages(
    tables: Tables, author: str, embedder: Embedder, *, progress: SyncProgressLines
) -> SyncResult:
    """Bring an author's passages up to date with the cleaned documents; what was done."""

    def embed(rows: pl.DataFrame) -> pl.DataFrame:
        return embed_passages(rows, embedder, progress=progress.advance)

    return _update(tables, PASSAGES, author, PassageEmbeddings, embed, embedder, progress)


def update_sentences(
    tables: Tables, author: str, embedder: Embedder, *, progress: SyncProgressLines
) -> SyncResult:
    """Bring an author's sentences up to date with the cleaned documents; what was done."""

    def embed(rows: pl.DataFrame) -> pl.DataFrame:
        return embed_sentences(rows, embedder, progress=progress.advance)

    return _update(tables, SENTENCES, author, SentenceEmbeddings, embed, embedder, progress)


def _update(
    tables: Tables,
    table: str,
    author: str,
    contract: type[dy.Schema],
    function: Callable[[pl.DataFrame], pl.DataFrame],
    embedder: Embedder,
    progress: SyncProgressLines,
) -> SyncResult:
    (row_key,) = contract.primary_key()
    return tables.sync(
        Upstream("cleaned_documents", author, columns=DOCUMENT_COLUMNS),
        table,
        author=author,
        key="document_id",
        function=function,
        version=f"{PASSAGES_VERSION}:{embedder.revision}",
        schema=table_columns(contract, embedder.dimension),
        row_key=row_key,
        announce=progress.begin,
        at_once=True,
    )


def embed_passages(
    documents: pl.DataFrame, embedder: Embedder, *, progress: Progress | None = None
) -> pl.DataFrame:
    """Cut every kept document into passages and embed them.

    Args:
        documents: `DOCUMENT_COLUMNS` of `cleaned_documents`.
        progress: as of `Embedder.embed`.

    Returns:
        `table_columns` of `PassageEmbeddings`; vectors are float32 of length 1.
    """
    rows: list[dict[str, Any]] = []
    texts: list[str] = []
    for document in documents.filter(pl.col("kept")).to_dicts():
        text = str(document["text"])
        for passage in passages_of(text, language=str(document["language"])):
            begin, stop = passage.searched
            rows.append(
                {
                    "passage_id": f"{document['document_id']}-{begin}",
                    **{
                        name: document[name] for name in ("document_id", "title", "url", "language")
                    },
                    "published_at": document["published_at"],
                    "start": passage.start,
                    "end": passage.end,
                    "searched_start": begin,
                    "searched_end": stop,
                    "text": text[passage.start : passage.end],
                }
            )
            texts.append(embedded_text(document["title"] or "", text[begin:stop]))
    return _embedded(PassageEmbeddings, rows, texts, embedder, progress)


def embed_sentences(
    documents: pl.DataFrame, embedder: Embedder, *, progress: Progress | None = None
) -> pl.DataFrame:
    """The sentences of every kept document's passages, embedded each by itself.

    Args:
        documents: `DOCUMENT_COLUMNS` of `cleaned_documents`.
        progress: as of `Embedder.embed`.

    Returns:
        `table_columns` of `SentenceEmbeddings`; vectors are float32 of length 1.
    """
    rows: list[dict[str, Any]] = []
    texts: list[str] = []
    for document in documents.filter(pl.col("kept")).to_dicts():
        text, name = str(document["text"]), str(document["document_id"])
        passages = passages_of(text, language=str(document["language"]))
        for start, end in sorted({place for passage in passages for place in passage.sentences}):
            rows.append(
                {
                    "sentence_id": f"{name}-{start}",
                    "document_id": name,
                    "start": start,
                    "end": end,
                }
            )
            texts.append(embedded_text(document["title"] or "", text[start:end]))
    return _embedded(SentenceEmbeddings, rows, texts, embedder, progress)


def _embedded(
    schema: type[dy.Schema],
    rows: list[dict[str, Any]],
    texts: list[str],
    embedder: Embedder,
    progress: Progress | None,
) -> pl.DataFrame:
    types = table_columns(schema, embedder.dimension)
    plain = {name: types[name] for name in schema.columns()}
    table = pl.DataFrame(schema.validate(pl.DataFrame(rows, schema=plain)))
    return table.with_columns(
        pl.lit(embedder.revision).alias("embedder"),
        pl.Series("vector", embedder.embed(texts, progress=progress), dtype=types["vector"]),
    )


def misquoted(passages: pl.DataFrame, documents: pl.DataFrame) -> int:
    """Count passages that are not, character by character, the part of a document that they name.

    Args:
        passages: `document_id`, `start`, `end`, `text` of `passage_embeddings`.
        documents: `document_id` and `text` of the kept documents.
    """
    texts: dict[str, str] = dict(documents.select("document_id", "text").iter_rows())
    rows = passages.select("document_id", "start", "end", "text").iter_rows()
    return sum(texts.get(document, "")[start:end] != text for document, start, end, text in rows)
