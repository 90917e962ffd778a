"""Clean rows of `raw_posts` and make rows of `cleaned_documents`, kept or dropped with a reason.

Scope: decisions about one post alone, the row of a document, and both in memory. Out of scope:
cleaning a body (`markdown_cleaning`, `html_cleaning`), decisions about all posts of an author
(`cleaning_verdicts`), storing (`cleaning_tables`).
"""
# pyright: strict

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import polars as pl

from twin_assets.corpus import boilerplate, contracts, document_claims, near_duplicates
from twin_assets.corpus.bylines import is_translation, said_author, said_translator
from twin_assets.corpus.cleaning_account import PostCounts, account_for, dropped_by_reason
from twin_assets.corpus.cleaning_verdicts import MIN_WORDS, decide, repeating
from twin_assets.corpus.corpus_tables import CleanedDocuments, PreparedPosts, columns_of, validated
from twin_assets.corpus.html_cleaning import clean_html
from twin_assets.corpus.importers.said_authors import TRANSLATED_BY
from twin_assets.corpus.language import UNDETERMINED, count_words, detect_language
from twin_assets.corpus.markdown_cleaning import clean_markdown
from twin_resources import privacy

__all__ = [
    "CLEANING_VERSION",
    "MIN_WORDS",
    "RAW_COLUMNS",
    "PostCounts",
    "account_for",
    "claims_broken",
    "clean_posts",
    "document_id_of",
    "document_rows",
    "dropped_by_reason",
    "normalized",
    "parted_posts",
    "prepare_posts",
    "rows_put_aside",
]

CLEANING_VERSION = f"6, privacy {privacy.PRIVACY_VERSION}"
"""Version of the rules below: a higher version cleans every post again."""

RAW_COLUMNS = (
    "source",
    "source_id",
    "title",
    "url",
    "author",
    "kind",
    "text",
    "markup",
    "language",
    "created_at",
    "content_hash",
    "deleted",
    "problem",
)
"""Columns of `raw_posts` that `prepare_posts` reads."""

_INVISIBLE = re.compile("[\ufeff\u200b\u2060\u00ad\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean_posts(posts: pl.DataFrame, *, names: Sequence[str] = ()) -> pl.DataFrame:
    """Clean all posts of an author in memory, as the asset does in tables.

    Args:
        posts: `RAW_COLUMNS`.
        names: the author's name and aliases; without names, no byline is foreign.

    Returns:
        One row per post (`corpus_tables.CleanedDocuments`), in the order of the posts, without the
        posts that `parted_posts` quarantines.
    """
    return parted_posts(posts, names=names)[0]


def parted_posts(
    posts: pl.DataFrame, *, names: Sequence[str] = ()
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Clean all posts in memory, and separate the documents that break a claim.

    Args:
        posts: `RAW_COLUMNS`.
        names: the author's name and aliases.

    Returns:
        `corpus_tables.CleanedDocuments`, and the quarantined rows with `failed_rules`, the claims
        that a row breaks.
    """
    prepared = prepare_posts(posts)
    candidates = repeating(prepared, names=names)
    bodies = candidates.join(prepared.select("document_id", "text"), on="document_id", how="left")
    similar = near_duplicates.similar_bodies(bodies)
    verdicts = decide(prepared, candidates, similar, names=names)
    rows = document_rows(verdicts, prepared)
    measured = document_claims.measure(rows, posts.select(document_claims.SOURCE_COLUMNS))
    broken = claims_broken(prepared, document_claims.all_claims(measured, names))
    sound = rows.join(broken, on="source_id", how="anti")
    return validated(sound, CleanedDocuments), rows_put_aside(rows, broken)


def claims_broken(
    prepared: pl.DataFrame, claims: Mapping[str, document_claims.DocumentClaim]
) -> pl.DataFrame:
    """Return `source_id` of each document that breaks a claim, and its claims as `breaks`.

    Args:
        prepared: `document_id`, `source_id` of all posts.
        claims: the result of `document_claims.all_claims`.
    """
    pairs = [
        (name, claim)
        for claim, claim_result in claims.items()
        for name in sorted(claim_result.broken)
    ]
    schema = {"document_id": pl.String(), "breaks": pl.String()}
    broken = pl.DataFrame(pairs, schema=schema, orient="row")
    return (
        broken.group_by("document_id", maintain_order=True)
        .agg("breaks")
        .join(prepared.select("document_id", "source_id"), on="document_id")
        .select("source_id", "breaks")
    )


def rows_put_aside(rows: pl.DataFrame, broken: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of `cleaned_documents` that break their contract or a claim, with its name.

    See `contracts.quarantine_columns`.

    Args:
        broken: `source_id`, `breaks`.
    """
    claims = broken.filter(pl.col("breaks").list.len() > 0).select(
        "source_id", pl.col("breaks").alias(contracts.RULES)
    )
    sound = contracts.good_rows(rows, CleanedDocuments)
    return pl.concat(
        [
            contracts.bad_rows(rows, CleanedDocuments),
            sound.join(claims, on="source_id", maintain_order="left"),
        ]
    )


def prepare_posts(posts: pl.DataFrame) -> pl.DataFrame:
    """Clean each post by itself; return one row per post (`corpus_tables.PreparedPosts`), in order.

    Args:
        posts: `RAW_COLUMNS`.
    """
    rows = [_prepared(row) for row in posts.select(RAW_COLUMNS).to_dicts()]
    return pl.DataFrame(rows, schema=columns_of(PreparedPosts))


def document_rows(verdicts: pl.DataFrame, prepared: pl.DataFrame) -> pl.DataFrame:
    """Return rows of `cleaned_documents` for rows of `cleaning_verdicts.decide`, in the same order.

    Args:
        verdicts: any of these rows.
        prepared: `PreparedPosts`, at least for these verdicts.
    """
    rows = verdicts.join(
        prepared.drop("dropped_because", "fields_hash"),
        on="source_id",
        how="left",
        maintain_order="left",
    ).to_dicts()
    return pl.DataFrame([_document(row) for row in rows], schema=columns_of(CleanedDocuments))


def document_id_of(source_id: str) -> str:
    """Return the stable id of a document; it depends only on the post's path, so edits keep it."""
    return "d" + hashlib.sha256(source_id.encode()).hexdigest()[:16]


def normalized(text: str) -> str:
    """Normalize text to NFC, `\\n` line ends and plain spaces, without invisible characters."""
    unified = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _INVISIBLE.sub("", unified.replace("\u00a0", " ").replace("\u202f", " "))


def _prepared(post: Mapping[str, Any]) -> dict[str, Any]:
    title = " ".join(normalized(str(post["title"])).split())
    row: dict[str, Any] = {
        "document_id": document_id_of(str(post["source_id"])),
        "source_id": post["source_id"],
        "source": post["source"],
        "kind": post["kind"],
        "title": "",
        "url": post["url"],
        "published_at": post["created_at"],
        "byline": post["author"] or "",
        "text": "",
        "language": "",
        "words": 0,
        "dropped_because": _why_not_read(post),
        "content_hash": post["content_hash"],
        "lines": [],
        "personal": [],
    }
    text = language = ""
    if not row["dropped_because"]:
        is_mdx = str(post["source_id"]).lower().endswith(".mdx")
        text = _body(str(post["markup"]), str(post["text"]), title=title, mdx=is_mdx)
        row["byline"] = row["byline"] or said_author(text)
        if (translator := said_translator(text)) and not is_translation(row["byline"]):
            row["byline"] = f"{row['byline']}, {TRANSLATED_BY} {translator}".lstrip(", ")
        text = boilerplate.without_platform_lines(text)
        language = _language(text, declared=post["language"] or "")
    # Some number formats occur only where the language is spoken.
    look = partial(privacy.redact, region=language)
    redacted_title, redacted = look(title), look(text)
    row["title"] = redacted_title.text
    if not row["dropped_because"]:
        row |= {
            "text": redacted.text,
            "words": count_words(redacted.text),
            "language": language,
            "personal": _counts(redacted_title.counts, redacted.counts),
            "lines": boilerplate.line_numbers(redacted.text),
        }
        if row["words"] < MIN_WORDS:
            row["dropped_because"] = "too_short" if row["words"] else "no_text"
    return row | {"fields_hash": hashlib.sha256(repr(sorted(row.items())).encode()).hexdigest()}


def _body(markup: str, source: str, *, title: str, mdx: bool) -> str:
    source = normalized(source)
    if markup == "text":
        return "\n".join(line.rstrip() for line in source.split("\n")).strip()
    if markup == "html":
        return normalized(clean_html(source, title=title)).strip()
    return normalized(clean_markdown(source, title=title, mdx=mdx)).strip()


def _language(text: str, *, declared: str) -> str:
    """Return the detected language, or the source's declared language if a text is too short."""
    detected = detect_language(text)
    return (
        declared.split("-", maxsplit=1)[0].lower()
        if detected == UNDETERMINED and declared
        else detected
    )


def _counts(*counted: Mapping[str, int]) -> list[dict[str, Any]]:
    kinds = sorted({kind for counts in counted for kind in counts})
    return [
        {"kind": kind, "count": sum(counts.get(kind, 0) for counts in counted)} for kind in kinds
    ]


def _document(row: Mapping[str, Any]) -> dict[str, Any]:
    text = ""
    if not row["dropped_because"]:
        text = boilerplate.without_repeated_lines(row["text"], frozenset(row["repeated"]))
    document = {name: row[name] for name in columns_of(CleanedDocuments) if name in row}
    return document | {
        "text": text,
        "words": count_words(text) if text else row["words"],
        "kept": not row["dropped_because"],
    }


def _why_not_read(post: Mapping[str, Any]) -> str:
    if post["deleted"]:
        return "deleted_at_the_source"
    if post["problem"]:
        return str(post["problem"])
    return "draft" if post["kind"] == "draft" else ""
