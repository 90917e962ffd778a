"""Rows of `raw_posts` → rows of `cleaned_documents`: each kept, or dropped with a reason.

Belongs here: which posts are kept, exact duplicates, and the row. Does not belong here: how a body
is cleaned (`markdown_cleaning`, `html_cleaning`), reading and storing.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from twin_assets.corpus.html_cleaning import clean_html
from twin_assets.corpus.language import count_words, detect_language
from twin_assets.corpus.markdown_cleaning import clean_markdown
from twin_assets.corpus.schema import CleanedDocuments, columns_of, validated

CLEANING_VERSION = "1"
"""Version of `clean_posts`: a higher one cleans every post again."""

FEWEST_WORDS = 10
"""Below it a post is dropped as `too_short`. Short notes are an author's writing too (of 1,871
notes the shortest has 13 words, title included); below ten words there is no sentence to learn
from."""

RAW_COLUMNS = (
    "source_id",
    "title",
    "url",
    "kind",
    "text",
    "markup",
    "created_at",
    "content_hash",
    "deleted",
    "problem",
)
"""What `clean_posts` reads of `raw_posts`; `content_hash` is the group that it must get whole."""

_INVISIBLE = re.compile("[\ufeff\u200b\u2060\u00ad\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LATEST = datetime.max.replace(tzinfo=UTC)


def clean_posts(posts: pl.DataFrame) -> pl.DataFrame:
    """Clean posts and collapse exact duplicates.

    Args:
        posts: `RAW_COLUMNS`; of each `content_hash` all rows or none.

    Returns:
        One row a post (`schema.CleanedDocuments`), in the order of the posts. Of posts with the
        same body the earliest is kept (undated last, then by `source_id`).
    """
    rows = [_cleaned(row) for row in posts.to_dicts()]
    kept_first: dict[str, str] = {}
    for row in sorted(rows, key=_by_age):
        if not row["kept"]:
            continue
        original = kept_first.setdefault(row["content_hash"], row["document_id"])
        if original != row["document_id"]:
            row |= {"kept": False, "text": "", "dropped_because": "duplicate"}
            row["duplicate_of"] = original
    frame = pl.DataFrame(rows, schema=columns_of(CleanedDocuments))
    return validated(frame, CleanedDocuments)


@dataclass(frozen=True)
class Account:
    """Numbers of posts, for the claim that none was lost between import and cleaning."""

    imported: int
    kept: int
    dropped: int
    missing: int
    unknown: int
    twice: int
    without_reason: int

    @property
    def balanced(self) -> bool:
        faults = self.missing + self.unknown + self.twice + self.without_reason
        return not faults and self.kept + self.dropped == self.imported


def account_for(raw: pl.DataFrame, cleaned: pl.DataFrame) -> Account:
    """Compare `source_id` of the imported posts with `source_id`, `kept`, `dropped_because`.

    Counted by identity, not by sums: one post lost and another doubled would still add up.
    """
    imported, documents = set(raw["source_id"]), set(cleaned["source_id"])
    kept = cleaned.filter(pl.col("kept"))
    dropped = cleaned.filter(~pl.col("kept") & (pl.col("dropped_because") != ""))
    return Account(
        imported=len(imported),
        kept=kept.height,
        dropped=dropped.height,
        missing=len(imported - documents),
        unknown=len(documents - imported),
        twice=cleaned.height - len(documents),
        without_reason=cleaned.height - kept.height - dropped.height,
    )


def dropped_by_reason(cleaned: pl.DataFrame) -> dict[str, int]:
    """Reason → number of dropped posts, from the column `dropped_because`, most frequent first."""
    dropped = cleaned.filter(pl.col("dropped_because") != "")
    counts = dropped.group_by("dropped_because").len().sort("len", "dropped_because")
    return {str(reason): int(count) for reason, count in reversed(counts.rows())}


def document_id_of(source_id: str) -> str:
    """The stable name of a document: it follows from the post's path alone, so an edit keeps it."""
    return "d" + hashlib.sha256(source_id.encode()).hexdigest()[:16]


def normalized(text: str) -> str:
    """NFC, `\\n` line ends, plain spaces, no invisible characters."""
    unified = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _INVISIBLE.sub("", unified.replace("\u00a0", " ").replace("\u202f", " "))


def _cleaned(post: Mapping[str, Any]) -> dict[str, Any]:
    title = " ".join(normalized(str(post["title"])).split())
    row: dict[str, Any] = {
        "document_id": document_id_of(str(post["source_id"])),
        "source_id": post["source_id"],
        "title": title,
        "url": post["url"],
        "published_at": post["created_at"],
        "text": "",
        "language": "",
        "words": 0,
        "kept": False,
        "dropped_because": _why_not_read(post),
        "duplicate_of": "",
        "content_hash": post["content_hash"],
    }
    if row["dropped_because"]:
        return row
    clean = clean_html if post["markup"] == "html" else clean_markdown
    text = normalized(clean(normalized(str(post["text"])), title=title)).strip()
    row["words"] = count_words(text)
    row["language"] = detect_language(text)
    if not row["words"]:
        row["dropped_because"] = "no_text"
    elif row["words"] < FEWEST_WORDS:
        row["dropped_because"] = "too_short"
    else:
        row |= {"text": text, "kept": True}
    return row


def _why_not_read(post: Mapping[str, Any]) -> str:
    if post["deleted"]:
        return "deleted_at_the_source"
    if post["problem"]:
        return str(post["problem"])
    return "draft" if post["kind"] == "draft" else ""


def _by_age(row: Mapping[str, Any]) -> tuple[datetime, str]:
    return row["published_at"] or _LATEST, str(row["source_id"])
