"""Update `cleaned_documents` from `raw_posts` incrementally, table by table.

Scope: the intermediate tables, the order of their updates, and checking the claims about the stored
documents. Out of scope: the decisions (`cleaning`, `cleaning_verdicts`, `near_duplicates`),
measuring a document (`document_claims`), Dagster.

    raw_posts → prepared_posts       each post, cleaned separately
              → near_duplicates      each text's bands and the texts similar to it
              → document_claims      each document's measurements
              → cleaned_documents    the verdict on each post, and the text without repeated lines
              → cleaned_documents_quarantine    rows that violate a rule, with `failed_rules`

Verdicts use a few small columns of all posts; texts are read only for changed posts. The bands are
in a list column with one row per document. A lookup scans this column, which takes 0.14 CPU seconds
for 100,000 posts; with a LABEL_LIST index, it took 1.2 seconds. A B-tree needs one row per band,
which costs each sync more time than it saves in the lookup.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.corpus import cleaning, contracts, document_claims, near_duplicates
from twin_assets.corpus.cleaning_verdicts import (
    FOREIGN_REASONS,
    VERDICT_INPUT_COLUMNS,
    decide_verdicts,
    select_comparison_candidates,
)
from twin_assets.corpus.contracts import FAILED_RULES
from twin_assets.corpus.corpus_tables import (
    CleanedDocuments,
    PreparedPosts,
    column_types,
    validate_rows,
)
from twin_assets.corpus.document_claims import CLAIMS, DocumentClaims
from twin_assets.corpus.reconciliation import count_dropped_by_reason, count_values, sum_counts
from twin_resources.storage.tables.rows_by_id import read_by_id
from twin_resources.storage.tables.tables import Upstream

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.storage.tables.tables import SyncResult, Tables

PREPARED_TABLE, SIMILAR_TABLE = "prepared_posts", "near_duplicates"
CLEANED_TABLE, QUARANTINE_TABLE = "cleaned_documents", "cleaned_documents_quarantine"
MEASURED_TABLE = "document_claims"

BANDS_VERSION = (
    f"1, {near_duplicates.BAND_COUNT} x {near_duplicates.ROWS_PER_BAND} bands of "
    f"{near_duplicates.SHINGLE_WORDS} "
    f"words, {near_duplicates.MIN_SIMILARITY}"
)
_REPORT_COLUMNS = ("document_id", "language", "words", "kept", "dropped_because", "personal")
MAX_QUARANTINED_SETTING = "TWIN_MOST_QUARANTINED"
_CLAIM_INPUT_COLUMNS = ("document_id", "source_id", "byline", "kept", "dropped_because")
_COMPARISON_BATCH_ROWS = 5_000  # each lookup scans the bands of all documents


@dataclass(frozen=True)
class CleaningRun:
    """The results of one update, by table."""

    prepared_posts: SyncResult
    near_duplicates: SyncResult
    document_claims: SyncResult
    cleaned_documents: SyncResult
    quarantine: SyncResult

    @property
    def bytes_written(self) -> int:
        return sum(result.bytes_written for result in vars(self).values())


def list_author_names(author: Author) -> tuple[str, ...]:
    """Return the names that may appear in an author's bylines."""
    return tuple(name for name in (author.name, *author.aliases) if name)


def update_cleaned_documents(tables: Tables, author: Author) -> CleaningRun:
    """Bring all five tables up to date with `raw_posts`.

    Raises:
        TableNotFoundError: `raw_posts` has never been materialized.
    """
    slug, names = author.slug, list_author_names(author)
    author_tables = _AuthorTables(tables, slug)
    prepared_sync = author_tables.sync(
        Upstream("raw_posts", slug, columns=cleaning.RAW_COLUMNS),
        PREPARED_TABLE,
        lambda rows: validate_rows(cleaning.prepare_posts(rows, names=names), PreparedPosts),
        column_types(PreparedPosts),
        version=f"{cleaning.CLEANING_VERSION}, {' / '.join(names)}",
    )
    prepared_rows = tables.read(PREPARED_TABLE, slug, columns=VERDICT_INPUT_COLUMNS)
    candidates = select_comparison_candidates(prepared_rows, names=names)
    similar_sync = tables.sync(
        candidates,
        SIMILAR_TABLE,
        author=slug,
        key="document_id",
        function=lambda changed_bodies: near_duplicates.compare_bodies(
            _add_texts(changed_bodies, tables, slug),
            known_bodies=_StoredBodies(tables, slug, candidates, changed_bodies),
        ),
        version=BANDS_VERSION,
        schema=near_duplicates.SIMILARITY_SCHEMA,
        row_key="document_id",
        batch_rows=_COMPARISON_BATCH_ROWS,
    )
    similar_rows = tables.read(
        SIMILAR_TABLE, slug, columns=["document_id", "body_hash", "words", "similar"]
    )
    verdicts = decide_verdicts(prepared_rows, candidates, similar_rows, names=names)
    measured_sync = author_tables.sync(
        verdicts.select("source_id", "fields_hash", "repeated", "dropped_because"),
        MEASURED_TABLE,
        author_tables.measure,
        column_types(DocumentClaims),
        version=f"{document_claims.CLAIMS_VERSION}, {cleaning.CLEANING_VERSION}",
    )
    verdict_rows = author_tables.add_violated_claims(verdicts, prepared_rows, names)
    cleaned_sync = author_tables.sync(
        verdict_rows,
        CLEANED_TABLE,
        lambda batch: contracts.select_valid_rows(
            author_tables.build_document_rows(batch.filter(pl.col("breaks").list.len() == 0)),
            CleanedDocuments,
        ),
        column_types(CleanedDocuments),
    )
    quarantined_sync = author_tables.sync(
        verdict_rows.join(
            tables.read(CLEANED_TABLE, slug, columns=["source_id"]), on="source_id", how="anti"
        ),
        QUARANTINE_TABLE,
        lambda batch: cleaning.select_quarantined_rows(
            author_tables.build_document_rows(batch), batch
        ),
        contracts.build_quarantine_columns(CleanedDocuments),
    )
    return CleaningRun(prepared_sync, similar_sync, measured_sync, cleaned_sync, quarantined_sync)


def compute_document_statistics(tables: Tables, author: str) -> dict[str, Any]:
    """Return statistics about the stored documents, without any text, for the event log."""
    documents = tables.read(CLEANED_TABLE, author, columns=_REPORT_COLUMNS)
    kept_documents = documents.filter("kept")
    return {
        "kept": kept_documents.height,
        "words": int(kept_documents["words"].sum()),
        "dropped": count_dropped_by_reason(documents),
        "languages": count_values(kept_documents["language"]),
        "replaced": sum_counts(
            *(
                {replaced["kind"]: replaced["count"]}
                for replacements in documents["personal"].to_list()
                for replaced in replacements
            )
        ),
    }


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


def check_stored_claims(
    tables: Tables, author: Author, *, most_quarantined: float
) -> dict[str, ClaimResult]:
    """Check all claims (`CLAIMS`) about the stored documents.

    Args:
        most_quarantined: maximum share of the usable documents that may violate a claim.

    Raises:
        TableNotFoundError: `cleaned_documents` has never been materialized.
    """
    slug = author.slug
    documents = tables.read(CLEANED_TABLE, slug, columns=list(_CLAIM_INPUT_COLUMNS))
    measurements = tables.read(MEASURED_TABLE, slug).join(documents, on="document_id", how="semi")
    claims = document_claims.check_claims(
        measurements, list_author_names(author), bylines=documents.select("document_id", "byline")
    )
    dropped_count = documents.filter(pl.col("dropped_because").is_in(FOREIGN_REASONS)).height
    quarantined_rules = tables.read(QUARANTINE_TABLE, slug, columns=[FAILED_RULES])[
        FAILED_RULES
    ].to_list()
    violations = [rules for rules in quarantined_rules if not CLAIMS.keys().isdisjoint(rules)]
    kept_count = int(documents["kept"].sum())
    share = len(violations) / max(1, kept_count + len(violations))
    results: dict[str, ClaimResult] = {}
    for name, claim in claims.items():
        quarantined_count = sum(name in rules for rules in violations)
        exceeds_limit = bool(quarantined_count) and share > most_quarantined
        counts = {
            **claim.counts,
            **({"dropped": dropped_count} if name == "no_foreign_byline" else {}),
            "quarantined": quarantined_count,
            "quarantined_for_any_claim": len(violations),
            "quarantined_share": round(share, 4),
            "most_quarantined": most_quarantined,
        }
        message = f"{CLAIMS[name]} Documents quarantined for violating it: {quarantined_count:,}."
        if exceeds_limit:
            message += (
                f" {share:.0%} of the usable documents violate a claim, but "
                f"{MAX_QUARANTINED_SETTING} allows only {most_quarantined:.0%}. "
                "Run `twin import PATH --dry-run` to list the files. "
                f"Fix them, or raise {MAX_QUARANTINED_SETTING} to continue without them."
            )
        results[name] = ClaimResult(claim.holds and not exceeds_limit, counts, message)
    return results


@dataclass(frozen=True)
class _AuthorTables:
    """The tables of one author that have at most one row per post."""

    tables: Tables
    slug: str

    def sync(
        self,
        upstream: pl.DataFrame | Upstream,
        table: str,
        function: Callable[[pl.DataFrame], pl.DataFrame],
        schema: Mapping[str, pl.DataType],
        *,
        version: str = cleaning.CLEANING_VERSION,
    ) -> SyncResult:
        return self.tables.sync(
            upstream,
            table,
            author=self.slug,
            key="source_id",
            function=function,
            version=version,
            schema=schema,
            row_key="document_id",
        )

    def build_document_rows(self, verdicts: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of `cleaned_documents` for these verdicts."""
        columns, ids = list(column_types(PreparedPosts)), verdicts["source_id"]
        posts = read_by_id(self.tables, PREPARED_TABLE, self.slug, "source_id", ids, columns)
        return cleaning.build_document_rows(verdicts, posts)

    def measure(self, verdicts: pl.DataFrame) -> pl.DataFrame:
        rows = self.build_document_rows(verdicts)
        kept_ids, columns = rows.filter("kept")["source_id"], document_claims.SOURCE_COLUMNS
        posts = read_by_id(self.tables, "raw_posts", self.slug, "source_id", kept_ids, columns)
        return document_claims.measure(rows, posts)

    def add_violated_claims(
        self, verdicts: pl.DataFrame, prepared_posts: pl.DataFrame, names: Sequence[str]
    ) -> pl.DataFrame:
        """Return the verdicts with the claims that each document violates (`breaks`)."""
        measurements = self.tables.read(MEASURED_TABLE, self.slug)
        claims = document_claims.check_claims(measurements, names)
        return verdicts.join(
            cleaning.find_violated_claims(prepared_posts, claims),
            on="source_id",
            how="left",
            maintain_order="left",
        ).with_columns(pl.col("breaks").fill_null(pl.lit([], dtype=pl.List(pl.String))))


class _StoredBodies:
    """The stored bands of documents that are neither changed nor deleted (`KnownBodies`).

    A changed document is compared with all stored ones when it is processed. The later document of
    each pair therefore finds the earlier one, even after an interrupted run.
    """

    def __init__(
        self, tables: Tables, author: str, candidates: pl.DataFrame, new_bodies: pl.DataFrame
    ) -> None:
        self._tables, self._author = tables, author
        self._candidates = candidates.join(new_bodies, on="document_id", how="anti")

    def find_by_bands(self, bands: set[int]) -> pl.DataFrame:
        stored_bodies = self._tables.read(
            SIMILAR_TABLE, self._author, columns=["document_id", "body_hash", "bands"]
        )
        wanted_bands = pl.Series("band", sorted(bands), dtype=pl.Int64)
        row_indexes = (
            stored_bodies.lazy()
            .select(pl.int_range(pl.len()).alias("row_index"), "bands")
            .explode("bands", empty_as_null=True)
            .filter(pl.col("bands").is_in(wanted_bands.implode()))
            .select("row_index")
            .unique()
            .sort("row_index")
            .collect()
        )
        return stored_bodies[row_indexes["row_index"].to_list()].join(
            self._candidates.select("document_id", "body_hash"),
            on=["document_id", "body_hash"],
            how="semi",
        )

    def read_bodies(self, document_ids: Sequence[str]) -> pl.DataFrame:
        wanted_ids = pl.DataFrame({"document_id": document_ids}, schema={"document_id": pl.String})
        matches = self._candidates.join(wanted_ids, on="document_id", how="semi")
        return _add_texts(matches, self._tables, self._author)


def _add_texts(bodies: pl.DataFrame, tables: Tables, author: str) -> pl.DataFrame:
    ids = bodies["document_id"]
    texts = read_by_id(tables, PREPARED_TABLE, author, "document_id", ids, ["document_id", "text"])
    return bodies.join(texts, on="document_id", how="left", maintain_order="left")
