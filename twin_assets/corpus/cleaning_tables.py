"""`raw_posts` → `cleaned_documents` in tables, at the cost of what changed.

Belongs here: the tables between the two, and in which order they are brought up to date. Does not
belong here: what is decided (`cleaning`, `cleaning_verdicts`, `near_duplicates`), dagster.

    raw_posts → prepared_posts       each post cleaned by itself
              → near_duplicates      bands of each text, and the texts that it is a copy of
              → document_claims      what each document is measured by, and so which break a claim
              → cleaned_documents    the verdict over all posts, and the text without repeated lines
              → cleaned_documents_quarantine    rows that break the contract or a claim, with which

Verdicts are taken from narrow columns of all posts; texts are read of changed posts only. The bands
lie in a list column, one row a document, and a lookup scans it: .14 CPU seconds for 100,000 posts
(a LABEL_LIST index took 1.2, and a B-tree needs a row a band, which costs a sync more than the
lookup saves).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from twin_assets.corpus import cleaning, contracts, document_claims, near_duplicates
from twin_assets.corpus.cleaning_verdicts import NARROW_COLUMNS, decide, repeating
from twin_assets.corpus.corpus_tables import CleanedDocuments, PreparedPosts, columns_of, validated
from twin_assets.corpus.document_claims import DocumentClaims
from twin_resources.storage.tables.rows_by_id import read_by_id
from twin_resources.storage.tables.tables import Upstream

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.storage.tables.tables import SyncResult, Tables

PREPARED, SIMILAR = "prepared_posts", "near_duplicates"
CLEANED, QUARANTINE = "cleaned_documents", "cleaned_documents_quarantine"
MEASURED = "document_claims"

BANDS_VERSION = (
    f"1, {near_duplicates.BANDS} x {near_duplicates.ROWS} bands of {near_duplicates.SHINGLE_WORDS} "
    f"words, {near_duplicates.SIMILAR}"
)
_DOCUMENTS_COMPARED_AT_ONCE = 5_000  # each lookup scans the bands of all


@dataclass(frozen=True)
class CleaningRun:
    """What one update did, table by table."""

    prepared: SyncResult
    similar: SyncResult
    measured: SyncResult
    cleaned: SyncResult
    quarantined: SyncResult

    @property
    def bytes_written(self) -> int:
        steps = (self.prepared, self.similar, self.measured, self.cleaned, self.quarantined)
        return sum(step.bytes_written for step in steps)


def names_of(author: Author) -> tuple[str, ...]:
    """The names under which an author may sign."""
    return tuple(name for name in (author.name, *author.aliases) if name)


def update_cleaned_documents(tables: Tables, author: Author) -> CleaningRun:
    """Bring all five tables up to date with `raw_posts`.

    Raises:
        TableMissing: `raw_posts` was never materialized.
    """
    slug, names = author.slug, names_of(author)
    prepared = tables.sync(
        Upstream("raw_posts", slug, columns=cleaning.RAW_COLUMNS),
        PREPARED,
        author=slug,
        key="source_id",
        function=lambda rows: validated(cleaning.prepare_posts(rows), PreparedPosts),
        version=cleaning.CLEANING_VERSION,
        schema=columns_of(PreparedPosts),
        row_key="document_id",
    )
    narrow = tables.read(PREPARED, slug, columns=NARROW_COLUMNS)
    candidates = repeating(narrow, names=names)
    similar = tables.sync(
        candidates,
        SIMILAR,
        author=slug,
        key="document_id",
        function=lambda new: near_duplicates.similar_bodies(
            _with_texts(new, tables, slug), known=_Stored(tables, slug, candidates, new)
        ),
        version=BANDS_VERSION,
        schema=near_duplicates.SIMILAR_SCHEMA,
        row_key="document_id",
        batch_rows=_DOCUMENTS_COMPARED_AT_ONCE,
    )
    similar_rows = tables.read(
        SIMILAR, slug, columns=["document_id", "body_hash", "words", "similar"]
    )
    verdicts = decide(narrow, candidates, similar_rows, names=names)

    def rows_of(part: pl.DataFrame) -> pl.DataFrame:
        columns = list(columns_of(PreparedPosts))
        ids = part["source_id"]
        return cleaning.document_rows(
            part, read_by_id(tables, PREPARED, slug, "source_id", ids, columns)
        )

    def measure(part: pl.DataFrame) -> pl.DataFrame:
        rows = rows_of(part)
        accepted, columns = rows.filter("kept")["source_id"], document_claims.SOURCE_COLUMNS
        posts = read_by_id(tables, "raw_posts", slug, "source_id", accepted, columns)
        return document_claims.measure(rows, posts)

    measured = tables.sync(
        verdicts.select("source_id", "fields_hash", "repeated", "dropped_because"),
        MEASURED,
        author=slug,
        key="source_id",
        function=measure,
        version=f"{document_claims.CLAIMS_VERSION}, {cleaning.CLEANING_VERSION}",
        schema=columns_of(DocumentClaims),
        row_key="document_id",
    )

    def texts_of(document_ids: Sequence[str]) -> dict[str, str]:
        wanted = narrow.filter(pl.col("document_id").is_in(document_ids))
        rows = rows_of(verdicts.join(wanted, on="source_id", how="semi"))
        return dict(rows.select("document_id", "text").iter_rows())

    claims = document_claims.all_claims(tables.read(MEASURED, slug), names, texts_of)
    judged = verdicts.join(
        cleaning.claims_broken(narrow, claims), on="source_id", how="left", maintain_order="left"
    ).with_columns(pl.col("breaks").fill_null(pl.lit([], dtype=pl.List(pl.String))))
    cleaned = tables.sync(
        judged,
        CLEANED,
        author=slug,
        key="source_id",
        function=lambda part: contracts.good_rows(
            rows_of(part.filter(pl.col("breaks").list.len() == 0)), CleanedDocuments
        ),
        version=cleaning.CLEANING_VERSION,
        schema=columns_of(CleanedDocuments),
        row_key="document_id",
    )
    there = tables.read(CLEANED, slug, columns=["source_id"])
    quarantined = tables.sync(
        judged.join(there, on="source_id", how="anti"),
        QUARANTINE,
        author=slug,
        key="source_id",
        function=lambda part: cleaning.rows_put_aside(rows_of(part), part),
        version=cleaning.CLEANING_VERSION,
        schema=contracts.quarantine_columns(CleanedDocuments),
        row_key="document_id",
    )
    return CleaningRun(prepared, similar, measured, cleaned, quarantined)


class _Stored:
    """The stored bands of documents that are neither changed nor gone (`KnownBodies`).

    A changed document that is not stored yet will look up the others itself, when its turn comes:
    so each pair is found by the later of the two, and a run that is cut off loses none.
    """

    def __init__(
        self, tables: Tables, author: str, candidates: pl.DataFrame, new: pl.DataFrame
    ) -> None:
        self._tables, self._author = tables, author
        self._current = candidates.join(new, on="document_id", how="anti")

    def holding(self, bands: set[int]) -> pl.DataFrame:
        stored = self._tables.read(
            SIMILAR, self._author, columns=["document_id", "body_hash", "bands"]
        )
        wanted = pl.Series("band", sorted(bands), dtype=pl.Int64)
        places = (
            stored.lazy()
            .select(pl.int_range(pl.len()).alias("place"), "bands")
            .explode("bands", empty_as_null=True)
            .filter(pl.col("bands").is_in(wanted.implode()))
            .select("place")
            .unique()
            .sort("place")
            .collect()
        )
        return stored[places["place"].to_list()].join(
            self._current.select("document_id", "body_hash"),
            on=["document_id", "body_hash"],
            how="semi",
        )

    def bodies(self, document_ids: Sequence[str]) -> pl.DataFrame:
        wanted = pl.DataFrame({"document_id": document_ids}, schema={"document_id": pl.String})
        return _with_texts(
            self._current.join(wanted, on="document_id", how="semi"), self._tables, self._author
        )


def _with_texts(bodies: pl.DataFrame, tables: Tables, author: str) -> pl.DataFrame:
    ids = bodies["document_id"]
    texts = read_by_id(tables, PREPARED, author, "document_id", ids, ["document_id", "text"])
    return bodies.join(texts, on="document_id", how="left", maintain_order="left")
