"""Clean rows of `raw_posts` and build rows of `cleaned_documents`, kept or dropped with a reason.

What depends on a post alone (its body, the hashes of its lines, its measures) is stored in the row
and computed again only if the post changes. What depends on all posts is decided at every import.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.corpus import boilerplate, contracts, document_claims
from twin_assets.corpus.bylines import find_byline
from twin_assets.corpus.cleaning_verdicts import MIN_WORDS, decide_verdicts
from twin_assets.corpus.corpus_tables import (
    QUARANTINED,
    CleanedDocuments,
    PreparedPosts,
    column_types,
    validate_rows,
)
from twin_assets.corpus.html_cleaning import clean_html
from twin_assets.corpus.language import UNDETERMINED, count_words, detect_language
from twin_assets.corpus.markdown_cleaning import clean_markdown
from twin_assets.corpus.raw_posts_import import OnProgress
from twin_assets.corpus.speakers import has_dialogue_form, mark_other_speakers
from twin_resources import privacy
from twin_resources.storage.storage_faults import StorageError
from twin_resources.storage.tables.rows_by_id import read_by_id

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.storage.tables.tables import SyncResult, Tables

CLEANING_VERSION = f"12, privacy {privacy.PRIVACY_VERSION}"
"""Version of the rules below; changing it cleans every post again."""

RAW_COLUMNS = (
    *("source", "source_id", "title", "url", "author", "kind", "text", "markup", "language"),
    *("created_at", "local_time", "content_hash", "deleted", "problem"),
)
"""Columns of `raw_posts` that `prepare_posts` reads."""

CLEANED_TABLE = "cleaned_documents"
_POSTS_AT_A_TIME = 1_000  # their texts are in memory while they are cleaned

_INVISIBLE = re.compile("[\ufeff\u200b\u2060\u00ad\x00-\x08\x0b-\x1f\x7f-\x9f]")


def update_cleaned_documents(
    tables: Tables,
    author: Author,
    *,
    finished: Tables | None = None,
    on_progress: OnProgress = lambda _stage, _done, _total: None,
) -> SyncResult:
    """Bring `cleaned_documents` up to date with `raw_posts`; only changed posts are cleaned.

    Args:
        finished: other tables, whose documents of equal posts are not cleaned again either.
        on_progress: called with the stage, the number of posts that are done and of all posts.

    Raises:
        TableNotFoundError: `raw_posts` has never been materialized.
    """
    slug, names = author.slug, list_author_names(author)
    version = f"{CLEANING_VERSION}, {document_claims.CLAIMS_VERSION}".encode()
    hashes = tables.read_row_hashes("raw_posts", slug)
    posts = hashes.select(
        "source_id",
        post_hash=pl.Series(
            [
                hashlib.sha256(row_hash + version).hexdigest()[:32]
                for row_hash in hashes["row_hash"]
            ],
            dtype=pl.String,
        ),
    )
    known = _read_known_documents(tables, slug, posts, names)
    if finished is not None:
        # The command that made a preview may have ended and removed it.
        with suppress(StorageError):
            known = pl.concat([known, _read_known_documents(finished, slug, posts, names)])
    rows = clean_posts(
        posts,
        lambda ids: read_by_id(tables, "raw_posts", slug, "source_id", ids, RAW_COLUMNS),
        names=names,
        known=known.unique("source_id", keep="first", maintain_order=True),
        on_progress=on_progress,
    )
    return tables.sync(
        rows,
        CLEANED_TABLE,
        author=slug,
        key="source_id",
        function=lambda changed: changed,
        version=CLEANING_VERSION,
        schema=column_types(CleanedDocuments),
        row_key="document_id",
    )


def _read_known_documents(
    tables: Tables, slug: str, posts: pl.DataFrame, names: Sequence[str]
) -> pl.DataFrame:
    """Return the stored documents of posts with an equal hash; of dialogs, with equal names."""
    types = column_types(CleanedDocuments)
    stored = tables.read(CLEANED_TABLE, slug) if tables.exists(CLEANED_TABLE, slug) else None
    if stored is None or stored.schema != types:
        return pl.DataFrame(schema=types)
    return stored.join(posts, on=["source_id", "post_hash"], how="semi").filter(
        pl.col("dialogue_names").is_in(["", _join_names(names)])
    )


def list_author_names(author: Author) -> tuple[str, ...]:
    """Return the names that may appear in an author's bylines."""
    return tuple(name for name in (author.name, *author.aliases) if name)


def clean_all_posts(posts: pl.DataFrame, *, names: Sequence[str] = ()) -> pl.DataFrame:
    """Clean posts in memory, as the asset does.

    Args:
        posts: `RAW_COLUMNS`.
        names: the author's name and aliases.

    Returns:
        `corpus_tables.CleanedDocuments`, ordered by `source_id`.
    """
    return clean_posts(
        posts.select("source_id", post_hash=pl.lit("in memory")),
        lambda ids: posts.filter(pl.col("source_id").is_in(ids.implode())),
        names=names,
    )


def clean_posts(
    posts: pl.DataFrame,
    read_posts: Callable[[pl.Series], pl.DataFrame],
    *,
    names: Sequence[str],
    known: pl.DataFrame | None = None,
    on_progress: OnProgress = lambda _stage, _done, _total: None,
) -> pl.DataFrame:
    """Clean the changed posts, and decide about all of them.

    Args:
        posts: `source_id` and `post_hash` of all posts.
        read_posts: returns the `RAW_COLUMNS` of the posts with these source ids.
        names: the author's name and aliases.
        known: `CleanedDocuments` of posts with an equal hash, which are not cleaned again, and
            whose texts are not measured again if they stay equal.
        on_progress: called with the stage, the number of posts that are done and of all posts.

    Returns:
        `corpus_tables.CleanedDocuments`, ordered by `source_id`.
    """
    if known is None:
        known = pl.DataFrame(schema=column_types(CleanedDocuments))
    # Each step's frames hold all texts, so they end with the step.
    rows = _decide_rows(
        _prepare_changed_posts(posts, read_posts, known, names, on_progress), names, on_progress
    )
    rows = _measure_changed_rows(rows, read_posts, known, on_progress)
    return validate_rows(_quarantine(rows, names).sort("source_id"), CleanedDocuments)


def _prepare_changed_posts(
    posts: pl.DataFrame,
    read_posts: Callable[[pl.Series], pl.DataFrame],
    known: pl.DataFrame,
    names: Sequence[str],
    on_progress: OnProgress,
) -> pl.DataFrame:
    """Return `PreparedPosts` of all posts, of which those that are not known are cleaned."""
    # The words of a text without its repeated lines are not those of the body.
    has_text = pl.col("kept") | pl.col("dropped_because").str.starts_with(QUARANTINED)
    shortened = known.filter(has_text & pl.col("body").is_not_null()).select(
        "document_id", words=pl.col("body").map_elements(count_words, return_dtype=pl.Int64)
    )
    columns = column_types(PreparedPosts).keys()
    parts = [
        known.with_columns(body=pl.coalesce("body", "text"))
        .update(shortened, on="document_id")
        .select(columns)
    ]
    changed = posts.join(known, on="source_id", how="anti")
    for number, batch in enumerate(changed.iter_slices(_POSTS_AT_A_TIME)):
        prepared = prepare_posts(
            read_posts(batch["source_id"]),
            names=names,
            on_post=lambda done, before=number * _POSTS_AT_A_TIME: on_progress(
                "cleaning posts", before + done, changed.height
            ),
        )
        parts.append(prepared.join(batch, on="source_id").select(columns))
    return pl.concat(parts).sort("source_id")


def _decide_rows(
    prepared_posts: pl.DataFrame, names: Sequence[str], on_progress: OnProgress
) -> pl.DataFrame:
    """Return the rows of `cleaned_documents`, with the hash of each text but not measured."""
    verdicts = decide_verdicts(
        prepared_posts,
        names=names,
        on_text=lambda done, total: on_progress("comparing posts", done, total),
    )
    rows = build_document_rows(verdicts, prepared_posts)
    text_hashes = [
        document_claims.hash_document_text(*fields)
        for fields in rows.select("title", "text").iter_rows()
    ]
    return rows.with_columns(measured_text_hash=pl.Series(text_hashes, dtype=pl.String))


def _measure_changed_rows(
    rows: pl.DataFrame,
    read_posts: Callable[[pl.Series], pl.DataFrame],
    known: pl.DataFrame,
    on_progress: OnProgress,
) -> pl.DataFrame:
    """Return the rows with their measures, which are taken of those whose text is not known."""
    measured = known.select("document_id", pl.col("^measured_.*$"))
    parts = [measured]
    for number, batch in enumerate(rows.iter_slices(_POSTS_AT_A_TIME)):
        unmeasured = batch.join(measured, on=["document_id", "measured_text_hash"], how="anti")
        if unmeasured.is_empty():
            continue
        sources = read_posts(unmeasured.filter("kept")["source_id"])
        measures = document_claims.measure(
            unmeasured,
            sources,
            on_document=lambda done, before=number * _POSTS_AT_A_TIME: on_progress(
                "checking posts", before + done, rows.height
            ),
        )
        parts.append(measures)
    rows = rows.join(pl.concat(parts), on=["document_id", "measured_text_hash"])
    return rows.select(column_types(CleanedDocuments).keys())


def _quarantine(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return the rows, of which those that break a rule of the table or a claim are dropped."""
    broken: dict[str, str] = {}
    for batch in rows.iter_slices(_POSTS_AT_A_TIME):
        invalid_rows = contracts.split_rows(batch, CleanedDocuments)[1]
        for document_id, rules in invalid_rows.select(
            "document_id", contracts.FAILED_RULES
        ).iter_rows():
            broken[document_id] = rules[0]
    for name, claim in document_claims.check_claims(rows, names).items():
        for document_id in claim.violating_ids:
            broken.setdefault(document_id, name)
    reasons = pl.DataFrame(
        {"document_id": list(broken), "rule": list(broken.values())},
        schema={"document_id": pl.String, "rule": pl.String},
    )
    is_broken = pl.col("rule").is_not_null()
    return (
        rows.join(reasons, on="document_id", how="left")
        .with_columns(
            kept=pl.col("kept") & ~is_broken,
            text=pl.when(is_broken).then(pl.lit("")).otherwise("text"),
            dropped_because=pl.coalesce(
                pl.concat_str(pl.lit(QUARANTINED), "rule"), "dropped_because"
            ),
            duplicate_of=pl.when(is_broken).then(pl.lit("")).otherwise("duplicate_of"),
            copies=pl.when(is_broken)
            .then(pl.lit([], dtype=rows.schema["copies"]))
            .otherwise("copies"),
        )
        .with_columns(body=pl.when(pl.col("body") != pl.col("text")).then("body"))
        .drop("rule")
    )


def prepare_posts(
    posts: pl.DataFrame,
    *,
    names: Sequence[str] = (),
    on_post: Callable[[int], object] = lambda _done: None,
) -> pl.DataFrame:
    """Clean each post separately; return `corpus_tables.PreparedPosts` without `post_hash`.

    Args:
        posts: `RAW_COLUMNS`.
        names: the author's name and aliases, by which the turns of other speakers are told.
        on_post: called before each post with the number of posts that are done.
    """
    rows: list[dict[str, Any]] = []
    for done, row in enumerate(posts.select(RAW_COLUMNS).to_dicts()):
        on_post(done)
        rows.append(_prepare_post(row, names))
    types = column_types(PreparedPosts)
    return pl.DataFrame(rows, schema={name: types[name] for name in types if name != "post_hash"})


def build_document_rows(verdicts: pl.DataFrame, prepared_posts: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of `cleaned_documents`, not measured yet, in the order of the posts.

    Args:
        verdicts: the result of `cleaning_verdicts.decide_verdicts`.
        prepared_posts: `PreparedPosts` of the same posts.
    """
    rows = prepared_posts.join(verdicts, on="document_id", how="left", maintain_order="left")
    return rows.with_columns(
        kept=pl.col("dropped_because") == "",
        words=pl.when(pl.col("dropped_because") == "").then("text_words").otherwise("words"),
    ).drop("text_words")


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
        "body": "",
        "language": "",
        "words": 0,
        "own_reason": _find_drop_reason(post),
        "content_hash": post["content_hash"],
        "dialogue_names": "",
        "lines": [],
        "personal": [],
    }
    text = language = ""
    if not row["own_reason"]:
        is_mdx = str(post["source_id"]).lower().endswith(".mdx")
        text = _clean_body(str(post["markup"]), str(post["text"]), title=title, is_mdx=is_mdx)
        row["byline"] = find_byline(text, row["byline"], title=title)
        text = boilerplate.remove_platform_lines(text)
        if has_dialogue_form(text):
            text = mark_other_speakers(text, names)
            row["dialogue_names"] = _join_names(names)
        language = _choose_language(text, declared_language=post["language"] or "")
    # Some number formats occur only in regions where the language is spoken.
    redact = partial(privacy.redact, region=language)
    redacted_title, redacted_text = redact(title), redact(text)
    row["title"] = redacted_title.text
    counts = Counter(redacted_title.counts) + Counter(redacted_text.counts)
    if not row["own_reason"]:
        row |= {
            "body": redacted_text.text,
            "words": count_words(redacted_text.text),
            "language": language,
            "personal": [{"kind": kind, "count": count} for kind, count in sorted(counts.items())],
            "lines": boilerplate.hash_lines(redacted_text.text),
        }
        if row["words"] < MIN_WORDS:
            row["own_reason"] = "too_short" if row["words"] else "no_text"
    return row


def _join_names(names: Sequence[str]) -> str:
    return f"of {' / '.join(names)}"  # not empty without names either


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


def _find_drop_reason(post: Mapping[str, Any]) -> str:
    if post["deleted"]:
        return "deleted_at_the_source"
    if post["problem"]:
        return str(post["problem"])
    return "draft" if post["kind"] == "draft" else ""
