"""Check the claims about the stored `cleaned_documents` of an author.

Scope: checking the measurements of the stored documents, and counting the quarantined ones. Out of
scope: measuring a document (`document_claims`, and `cleaning_tables` whenever one changes),
quarantining it (`cleaning_tables`), Dagster.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.corpus import document_claims
from twin_assets.corpus.cleaning_tables import (
    CLEANED_TABLE,
    MEASURED_TABLE,
    QUARANTINE_TABLE,
    list_author_names,
)
from twin_assets.corpus.contracts import FAILED_RULES
from twin_assets.corpus.document_claims import CLAIMS

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.storage.tables.tables import Tables

MAX_QUARANTINED_SETTING = "TWIN_MOST_QUARANTINED"
_STORED_COLUMNS = ("document_id", "source_id", "byline", "kept", "dropped_because")


@dataclass(frozen=True)
class ClaimResult:
    """The result of checking one claim about stored documents.

    Attributes:
        holds: whether no document in the table violates the claim, and few enough documents were
            quarantined.
        counts: the numbers on which the result is based.
        message: the claim, the number of quarantined documents, and the next step if the claim does
            not hold.
    """

    holds: bool
    counts: Mapping[str, Any]
    message: str


def check_all(tables: Tables, author: Author, *, most_quarantined: float) -> dict[str, ClaimResult]:
    """Check all claims (`CLAIMS`) about the stored documents.

    Args:
        most_quarantined: maximum share of the usable documents that may violate a claim.

    Raises:
        TableNotFoundError: `cleaned_documents` has never been materialized.
    """
    slug = author.slug
    documents = tables.read(CLEANED_TABLE, slug, columns=list(_STORED_COLUMNS))
    measurements = tables.read(MEASURED_TABLE, slug).join(documents, on="document_id", how="semi")
    claims = document_claims.check_claims(
        measurements, list_author_names(author), bylines=documents.select("document_id", "byline")
    )
    dropped_count = documents.filter(pl.col("dropped_because") == "foreign_byline").height
    quarantined_rules = tables.read(QUARANTINE_TABLE, slug, columns=[FAILED_RULES])[
        FAILED_RULES
    ].to_list()
    claim_violations = [rules for rules in quarantined_rules if not CLAIMS.keys().isdisjoint(rules)]
    kept_count = int(documents["kept"].sum())
    share = len(claim_violations) / max(1, kept_count + len(claim_violations))
    examined_claims: dict[str, ClaimResult] = {}
    for name, claim in claims.items():
        quarantined_count = sum(name in rules for rules in claim_violations)
        exceeds_limit = bool(quarantined_count) and share > most_quarantined
        counts = {
            **claim.counts,
            **({"dropped": dropped_count} if name == "no_foreign_byline" else {}),
            "quarantined": quarantined_count,
            "quarantined_for_any_claim": len(claim_violations),
            "quarantined_share": round(share, 4),
            "most_quarantined": most_quarantined,
        }
        message = f"{CLAIMS[name]} Documents quarantined because of it: {quarantined_count:,}."
        if exceeds_limit:
            message += (
                f" {share:.0%} of the usable documents violate a claim, but "
                f"{MAX_QUARANTINED_SETTING} allows only {most_quarantined:.0%}. "
                "Run `twin import PATH --dry-run` to list the files. "
                f"Fix them, or raise {MAX_QUARANTINED_SETTING} to continue without them."
            )
        examined_claims[name] = ClaimResult(claim.holds and not exceeds_limit, counts, message)
    return examined_claims
