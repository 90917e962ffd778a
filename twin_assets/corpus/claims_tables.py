"""The claims over an author's `cleaned_documents`, from the tables.

Belongs here: bringing `document_claims` up to date, and examining each claim. Does not belong here:
how one is counted (`claims`), dagster.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from twin_assets.corpus import document_claims
from twin_assets.corpus.cleaning_tables import CLEANED, names_of
from twin_assets.corpus.corpus_tables import columns_of
from twin_assets.corpus.document_claims import DocumentClaim, DocumentClaims
from twin_resources.privacy import PRIVACY_VERSION
from twin_resources.storage.tables.rows_by_id import read_by_id
from twin_resources.storage.tables.tables import Upstream

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.storage.tables.tables import Tables

TABLE = "document_claims"

CLAIMS: Mapping[str, str] = {
    "no_platform_boilerplate_left": "No kept document holds a platform's button or notice, or "
    "begins or ends in lines that repeat over the author's posts.",
    "no_foreign_byline": "No kept document is signed by somebody else.",
    "no_pii_left": "Nothing that `privacy` knows how to find is left in a kept document.",
    "punctuation_and_paragraphs_kept": "Documents have the punctuation and the paragraphs that "
    "their posts had.",
    "no_near_duplicates_left": "No two kept documents are copies of one another.",
}
"""Name of the check → what it claims."""

_DOCUMENT_COLUMNS = ("document_id", "source_id", "title", "text", "language", "kept")


def examine(tables: Tables, author: Author) -> dict[str, DocumentClaim]:
    """Measure what changed and examine all claims (`CLAIMS`).

    Raises:
        TableMissing: `cleaned_documents` was never materialized.
    """
    slug = author.slug

    def measured_with_sources(documents: pl.DataFrame) -> pl.DataFrame:
        ids, columns = documents["source_id"], document_claims.SOURCE_COLUMNS
        posts = read_by_id(tables, "raw_posts", slug, "source_id", ids, columns)
        return document_claims.measure(documents, posts)

    tables.sync(
        Upstream(CLEANED, slug, columns=_DOCUMENT_COLUMNS),
        TABLE,
        author=slug,
        key="document_id",
        function=measured_with_sources,
        version=f"{document_claims.CLAIMS_VERSION}, privacy {PRIVACY_VERSION}",
        schema=columns_of(DocumentClaims),
        row_key="document_id",
    )
    measured = tables.read(TABLE, slug)
    signed = tables.read(CLEANED, slug, columns=["source_id", "source", "byline", "kept"])

    def texts_of(names: Sequence[str]) -> dict[str, str]:
        wanted = pl.Series("document_id", names, dtype=pl.String)
        columns = ("document_id", "text")
        return dict(read_by_id(tables, CLEANED, slug, "document_id", wanted, columns).iter_rows())

    return {
        "no_platform_boilerplate_left": document_claims.platform_boilerplate(measured),
        "no_foreign_byline": document_claims.foreign_bylines(signed, names_of(author)),
        "no_pii_left": document_claims.personal_data(measured),
        "punctuation_and_paragraphs_kept": document_claims.punctuation_and_paragraphs(measured),
        "no_near_duplicates_left": document_claims.near_duplicates(measured, texts_of),
    }
