"""Examine the claims about an author's `cleaned_documents` in the tables.

Scope: examining the stored documents, and the number of quarantined ones. Out of scope: measuring a
document (`document_claims`), quarantining it (`cleaning_tables`), Dagster.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.corpus import document_claims
from twin_assets.corpus.cleaning_tables import CLEANED, MEASURED, QUARANTINE, names_of
from twin_assets.corpus.contracts import RULES
from twin_assets.corpus.corpus_tables import columns_of
from twin_assets.corpus.document_claims import CLAIMS, DOCUMENT_COLUMNS, DocumentClaims
from twin_resources.processes.wording import counted
from twin_resources.storage.tables.rows_by_id import read_by_id
from twin_resources.storage.tables.tables import BATCH_ROWS

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.storage.tables.tables import Tables

__all__ = ["CLAIMS", "SETTING", "ExaminedClaim", "examine"]

SETTING = "TWIN_MOST_QUARANTINED"
_STORED = ("document_id", "source_id", "byline", "kept", "dropped_because")


@dataclass(frozen=True)
class ExaminedClaim:
    """A claim about stored documents.

    Attributes:
        holds: whether no document in the table breaks the claim, and either none was quarantined
            for it or the quarantine is small enough.
        counted: the numbers behind the verdict.
        said: what a person can do if the claim does not hold.
    """

    holds: bool
    counted: Mapping[str, Any]
    said: str


def examine(tables: Tables, author: Author, *, most_quarantined: float) -> dict[str, ExaminedClaim]:
    """Examine all claims (`CLAIMS`) about the stored documents.

    Args:
        most_quarantined: the share of the documents to keep that may break a claim.

    Raises:
        TableMissing: `cleaned_documents` was never materialized.
    """
    slug = author.slug
    stored = tables.read(CLEANED, slug, columns=list(_STORED))
    measured = _measured(tables, slug).join(stored, on="document_id", how="semi")
    claims = document_claims.all_claims(
        measured, names_of(author), bylines=stored.select("document_id", "byline")
    )
    dropped = stored.filter(pl.col("dropped_because") == "foreign_byline").height
    aside = tables.read(QUARANTINE, slug, columns=[RULES])[RULES].to_list()
    for_claims = [rules for rules in aside if not CLAIMS.keys().isdisjoint(rules)]
    documents_kept = int(stored["kept"].sum())
    share = len(for_claims) / max(1, documents_kept + len(for_claims))
    examined: dict[str, ExaminedClaim] = {}
    for name, claim in claims.items():
        mine = sum(name in rules for rules in for_claims)
        too_many = bool(mine) and share > most_quarantined
        numbers = {
            **claim.counted,
            **({"dropped": dropped} if name == "no_foreign_byline" else {}),
            "quarantined": mine,
            "quarantined_for_any_claim": len(for_claims),
            "quarantined_share": round(share, 4),
            "most_quarantined": most_quarantined,
        }
        message = f"{CLAIMS[name]} {counted(mine, 'document')} put aside for it"
        if too_many:
            message += (
                f"; {share:.0%} of all that would be kept break a claim, and {SETTING} allows "
                f"{most_quarantined:.0%}: `twin import PATH --dry-run` names the files; mend "
                f"them, or set {SETTING} higher to go on without them"
            )
        examined[name] = ExaminedClaim(claim.holds and not too_many, numbers, message)
    return examined


def _measured(tables: Tables, author: str) -> pl.DataFrame:
    """Return `DocumentClaims` of the stored documents.

    Documents that changed after their measurement are measured here, so that a claim is always
    about the stored text.
    """
    schema = columns_of(DocumentClaims)
    known = tables.read(MEASURED, author) if tables.exists(MEASURED, author) else pl.DataFrame()
    if not set(schema) <= set(known.columns):
        known = pl.DataFrame(schema=schema)
    new = tables.unverified(
        CLEANED, author, claim="as_measured", version=document_claims.CLAIMS_VERSION
    )
    hashes: dict[str, str] = dict(known.select("document_id", "text_hash").iter_rows())
    others: list[pl.DataFrame] = []
    for part in new.parts(list(DOCUMENT_COLUMNS), rows=BATCH_ROWS):
        rows = part.filter(
            [
                hashes.get(name) != document_claims.text_hash_of(title, text)
                for name, title, text in part.select("document_id", "title", "text").iter_rows()
            ]
        )
        if rows.height:
            ids, columns = rows["source_id"], document_claims.SOURCE_COLUMNS
            posts = read_by_id(tables, "raw_posts", author, "source_id", ids, columns)
            others.append(document_claims.measure(rows, posts))
    if not others:
        new.hold()
        return known.select(schema.keys())
    changed = pl.concat(others)
    same = known.select(schema.keys()).join(changed, on="document_id", how="anti")
    return pl.concat([same, changed])
