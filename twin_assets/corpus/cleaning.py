"""Clean rows of `raw_posts` and build rows of `cleaned_documents`, kept or dropped with a reason.

Scope: decisions about a single post, the row of a document, and cleaning all posts in memory. Out
of scope: cleaning a body (`markdown_cleaning`, `html_cleaning`), decisions that depend on all of an
author's posts (`cleaning_verdicts`), storing rows (`cleaning_tables`).
"""
# pyright: strict

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from functools import partial
from typing import Any

import polars as pl

from twin_assets.corpus import boilerplate, contracts, document_claims, near_duplicates
from twin_assets.corpus.bylines import extract_author, extract_translator, is_translation
from twin_assets.corpus.cleaning_verdicts import (
    MIN_WORDS,
    decide_verdicts,
    select_comparison_candidates,
)
from twin_assets.corpus.corpus_tables import (
    CleanedDocuments,
    PreparedPosts,
    column_types,
    validate_rows,
)
from twin_assets.corpus.html_cleaning import clean_html
from twin_assets.corpus.importers.byline_fields import TRANSLATED_BY
from twin_assets.corpus.language import UNDETERMINED, count_words, detect_language
from twin_assets.corpus.markdown_cleaning import clean_markdown
from twin_assets.corpus.speakers import mark_other_speakers
from twin_resources import privacy

CLEANING_VERSION = f"8, privacy {privacy.PRIVACY_VERSION}"
"""Version of the rules below; changing it cleans every post again."""

RAW_COLUMNS = (
    *("source", "source_id", "title", "url", "author", "kind", "text", "markup", "language"),
    *("created_at", "local_time", "content_hash", "deleted", "problem"),
)
"""Columns of `raw_posts` that `prepare_posts` reads."""

_INVISIBLE = re.compile("[\ufeff\u200b\u2060\u00ad\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean_and_quarantine(
    posts: pl.DataFrame,
    *,
    names: Sequence[str] = (),
    on_progress: Callable[[int, int], object] = lambda _done, _total: None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Clean all posts in memory, as the asset does, and separate those that violate a claim.

    Args:
        posts: `RAW_COLUMNS`.
        names: the author's name and aliases.
        on_progress: called with the number of posts cleaned and of all posts.

    Returns:
        `corpus_tables.CleanedDocuments`, and the quarantined rows with `failed_rules`, the claims
        that a row violates.
    """
    prepared_posts = prepare_posts(posts, names=names, on_progress=on_progress)
    candidates = select_comparison_candidates(prepared_posts, names=names)
    bodies = candidates.join(
        prepared_posts.select("document_id", "text"), on="document_id", how="left"
    )
    similarities = near_duplicates.compare_bodies(bodies)
    verdicts = decide_verdicts(prepared_posts, candidates, similarities, names=names)
    rows = build_document_rows(verdicts, prepared_posts)
    measurements = document_claims.measure(rows, posts.select(document_claims.SOURCE_COLUMNS))
    violations = find_violated_claims(
        prepared_posts, document_claims.check_claims(measurements, names)
    )
    valid_rows = rows.join(violations, on="source_id", how="anti")
    return validate_rows(valid_rows, CleanedDocuments), select_quarantined_rows(rows, violations)


def find_violated_claims(
    prepared_posts: pl.DataFrame, claims: Mapping[str, document_claims.DocumentClaim]
) -> pl.DataFrame:
    """Return the `source_id` of each document that violates a claim, with the claims as `breaks`.

    Args:
        prepared_posts: `document_id` and `source_id` of all posts.
        claims: the result of `document_claims.check_claims`.
    """
    pairs = [
        (document_id, claim)
        for claim, claim_result in claims.items()
        for document_id in sorted(claim_result.violating_ids)
    ]
    schema = {"document_id": pl.String(), "breaks": pl.String()}
    violations = pl.DataFrame(pairs, schema=schema, orient="row")
    return (
        violations.group_by("document_id", maintain_order=True)
        .agg("breaks")
        .join(prepared_posts.select("document_id", "source_id"), on="document_id")
        .select("source_id", "breaks")
    )


def select_quarantined_rows(rows: pl.DataFrame, violations: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of `cleaned_documents` that violate their contract or a claim.

    The columns are those of `contracts.build_quarantine_columns`; one of them names the violated
    rules.

    Args:
        violations: `source_id` and `breaks`.
    """
    claims = violations.filter(pl.col("breaks").list.len() > 0).select(
        "source_id", pl.col("breaks").alias(contracts.FAILED_RULES)
    )
    valid_rows, invalid_rows = contracts.split_rows(rows, CleanedDocuments)
    violating_rows = valid_rows.join(claims, on="source_id", maintain_order="left")
    return pl.concat([invalid_rows, violating_rows])


def prepare_posts(
    posts: pl.DataFrame,
    *,
    names: Sequence[str] = (),
    on_progress: Callable[[int, int], object] = lambda _done, _total: None,
) -> pl.DataFrame:
    """Clean each post separately and return the rows (`corpus_tables.PreparedPosts`), in order.

    Args:
        posts: `RAW_COLUMNS`.
        names: the author's name and aliases, by which the turns of other speakers are told.
    """
    rows: list[dict[str, Any]] = []
    for done, row in enumerate(posts.select(RAW_COLUMNS).to_dicts()):
        on_progress(done, posts.height)
        rows.append(_prepare_post(row, names))
    return pl.DataFrame(rows, schema=column_types(PreparedPosts))


def build_document_rows(verdicts: pl.DataFrame, prepared_posts: pl.DataFrame) -> pl.DataFrame:
    """Return one row of `cleaned_documents` per row of `decide_verdicts`, in the same order.

    Args:
        verdicts: rows from `cleaning_verdicts.decide_verdicts`.
        prepared_posts: `PreparedPosts`, including every post that has a verdict.
    """
    rows = verdicts.join(
        prepared_posts.drop("dropped_because", "fields_hash"),
        on="source_id",
        how="left",
        maintain_order="left",
    ).to_dicts()
    return pl.DataFrame(
        [_build_document_row(row) for row in rows], schema=column_types(CleanedDocuments)
    )


def build_document_id(source_id: str) -> str:
    """Return the stable id of a document, which depends only on the post's `source_id`."""
    return "d" + hashlib.sha256(source_id.encode()).hexdigest()[:16]


def normalize_text(text: str) -> str:
    """Normalize to NFC, `\\n` line endings and plain spaces, and remove invisible characters."""
    normalized_text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _INVISIBLE.sub("", normalized_text.replace("\u00a0", " ").replace("\u202f", " "))


def _prepare_post(post: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    title = " ".join(normalize_text(str(post["title"])).split())
    row: dict[str, Any] = {
        "document_id": build_document_id(str(post["source_id"])),
        "source_id": post["source_id"],
        "source": post["source"],
        "kind": post["kind"],
        "title": "",
        "url": post["url"],
        # The day that the site shows is the day that is cited.
        "published_at": post["local_time"].replace(tzinfo=UTC)
        if post["local_time"]
        else post["created_at"],
        "byline": post["author"] or "",
        "text": "",
        "language": "",
        "words": 0,
        "dropped_because": _find_drop_reason(post),
        "content_hash": post["content_hash"],
        "lines": [],
        "personal": [],
    }
    text = language = ""
    if not row["dropped_because"]:
        is_mdx = str(post["source_id"]).lower().endswith(".mdx")
        text = _clean_body(str(post["markup"]), str(post["text"]), title=title, is_mdx=is_mdx)
        row["byline"] = row["byline"] or extract_author(text)
        if (translator := extract_translator(text)) and not is_translation(row["byline"]):
            row["byline"] = f"{row['byline']}, {TRANSLATED_BY} {translator}".lstrip(", ")
        text = mark_other_speakers(boilerplate.remove_platform_lines(text), names)
        language = _choose_language(text, declared_language=post["language"] or "")
    # Some number formats occur only in regions where the language is spoken.
    redact = partial(privacy.redact, region=language)
    redacted_title, redacted_text = redact(title), redact(text)
    row["title"] = redacted_title.text
    counts = Counter(redacted_title.counts) + Counter(redacted_text.counts)
    if not row["dropped_because"]:
        row |= {
            "text": redacted_text.text,
            "words": count_words(redacted_text.text),
            "language": language,
            "personal": [{"kind": kind, "count": count} for kind, count in sorted(counts.items())],
            "lines": boilerplate.hash_lines(redacted_text.text),
        }
        if row["words"] < MIN_WORDS:
            row["dropped_because"] = "too_short" if row["words"] else "no_text"
    return row | {"fields_hash": hashlib.sha256(repr(sorted(row.items())).encode()).hexdigest()}


def _clean_body(markup: str, source: str, *, title: str, is_mdx: bool) -> str:
    source = normalize_text(source)
    if markup == "text":
        return "\n".join(line.rstrip() for line in source.split("\n")).strip()
    if markup == "html":
        return normalize_text(clean_html(source, title=title)).strip()
    return normalize_text(clean_markdown(source, title=title, is_mdx=is_mdx)).strip()


def _choose_language(text: str, *, declared_language: str) -> str:
    """Return the detected language, or the declared language if it cannot be detected."""
    language = detect_language(text)
    return (
        declared_language.split("-", maxsplit=1)[0].lower()
        if language == UNDETERMINED and declared_language
        else language
    )


def _build_document_row(row: Mapping[str, Any]) -> dict[str, Any]:
    text = ""
    if not row["dropped_because"]:
        text = boilerplate.remove_repeated_lines(row["text"], frozenset(row["repeated"]))
    document = {name: row[name] for name in column_types(CleanedDocuments) if name in row}
    return document | {
        "text": text,
        "words": count_words(text) if text else row["words"],
        "kept": not row["dropped_because"],
    }


def _find_drop_reason(post: Mapping[str, Any]) -> str:
    if post["deleted"]:
        return "deleted_at_the_source"
    if post["problem"]:
        return str(post["problem"])
    return "draft" if post["kind"] == "draft" else ""
