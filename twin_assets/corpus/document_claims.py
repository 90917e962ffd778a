"""Check the claims about every kept document by measuring its text.

No check reuses the code that made the decision in cleaning. Menus are found in running text
(`share_menus`), signatures by a different rule (`signatures`), quotations in the source
(`source_quotations`), and lost words by a plain reader of the source (`importers.source_words`). A
document is measured again only after it changes (`cleaning.clean_posts`). The measures are the
columns of `cleaned_documents` that begin with `measured_`:

- `text_hash`: the hash of the measured title and text;
- `platform_lines`: the number of menus, buttons and notices;
- `signed`: the name in the post's signature;
- `quotations`: the number of quoted paragraphs in the post, and `quotations_unmarked` of those that
  are prose in the document;
- `edges`: hashes of the first and last paragraphs;
- `words_changed`: the number of words that the body misses or has gained beyond the limit.

The counts of a dropped row are zero. Personal data has no claim: the redacted text is searched by
the redaction itself until it finds nothing more.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from twin_assets.corpus import source_quotations
from twin_assets.corpus.boilerplate import is_platform_line
from twin_assets.corpus.cleaning_verdicts import FOREIGN_REASONS
from twin_assets.corpus.code_blocks import iter_prose_lines
from twin_assets.corpus.corpus_tables import QUARANTINED, CleanedDocuments, column_types
from twin_assets.corpus.importers.source_words import read_html_words
from twin_assets.corpus.share_menus import count_menus
from twin_assets.corpus.signatures import find_foreign_signatures, find_signature
from twin_resources.privacy.kinds import KINDS

CLAIMS_VERSION = "10"

CLAIMS: Mapping[str, str] = {
    "no_platform_boilerplate_left": "No kept document contains a platform's menu, button or "
    "notice, or begins or ends with paragraphs that repeat across the author's posts.",
    "no_foreign_byline": "No kept document is signed by somebody else.",
    "quotations_keep_their_mark": "Text that the post marks as a quotation is either marked in the "
    "document too, or absent from it.",
    "no_words_lost": "No kept document misses, or has gained, more than 2 % of the words of its "
    "page's running text.",
}
"""The claims, by the name of their check."""

DOCUMENT_COLUMNS = ("document_id", "source_id", "title", "text", "body", "kept")
"""Columns of `cleaned_documents` that `measure` reads."""
SOURCE_COLUMNS = ("source_id", "source", "author", "text", "markup")
"""Columns of `raw_posts` that `measure` reads."""

MAX_QUARANTINED_SETTING = "TWIN_MOST_QUARANTINED"

MIN_REPEATS = 10
MIN_SHARE = 0.01
"""This share is twice that of a repeated line in cleaning, because cleaning also counts copies and
dropped posts, which are not kept documents."""
_MIN_WORDS = 4
_LEADING_PARAGRAPHS, _TRAILING_PARAGRAPHS = 2, 3

_WORD = re.compile(r"\w+")
_PLACEHOLDER = re.compile("|".join(re.escape(f"[{kind}]") for kind in KINDS))
_NON_PARAGRAPH_LINE = re.compile(r"\s*(?:#{1,6} |\||$)")


MEASURES = {
    name: dtype
    for name, dtype in column_types(CleanedDocuments).items()
    if name.startswith("measured_")
}
"""The types of the columns with measures."""


def measure(
    documents: pl.DataFrame,
    sources: pl.DataFrame,
    *,
    on_document: Callable[[int], object] = lambda _done: None,
) -> pl.DataFrame:
    """Measure documents and return `document_id` and `MEASURES` in the same order.

    Args:
        documents: `DOCUMENT_COLUMNS` of `cleaned_documents`.
        sources: `SOURCE_COLUMNS` of their posts.
        on_document: called before each document with the number of documents that are done.
    """
    posts = {row["source_id"]: row for row in sources.iter_rows(named=True)}
    rows: list[dict[str, Any]] = []
    for done, row in enumerate(documents.iter_rows(named=True)):
        on_document(done)
        rows.append(_measure_document(row, posts.get(row["source_id"])))
    return pl.DataFrame(rows, schema={"document_id": pl.String(), **MEASURES})


def hash_document_text(title: str, text: str) -> str:
    """Return the hash that identifies the measured title and text of a document."""
    return hashlib.sha256(f"{title}\0{text}".encode()).hexdigest()[:32]


def _measure_document(
    document: Mapping[str, Any], post: Mapping[str, Any] | None
) -> dict[str, Any]:
    is_kept, title, text = bool(document["kept"]), str(document["title"]), str(document["text"])
    quotations = source_quotations.find_quotations(post) if is_kept and post else ()
    return {
        "document_id": document["document_id"],
        "measured_text_hash": hash_document_text(title, text),
        "measured_platform_lines": count_menus(text),
        "measured_signed": find_signature(str(post["text"]), str(post["author"] or ""))
        if is_kept and post
        else "",
        "measured_quotations": len(quotations),
        "measured_quotations_unmarked": source_quotations.count_unmarked_quotations(
            quotations, text
        ),
        "measured_edges": _hash_edge_paragraphs(text),
        "measured_words_changed": _count_changed_words(document, post) if is_kept and post else 0,
    }


def _count_changed_words(document: Mapping[str, Any], post: Mapping[str, Any]) -> int:
    """Return the words that a page's document misses or has gained; 0 within the limit.

    Other formats are Markdown in `raw_posts`: their importer has compared the words.
    """
    if post["markup"] != "html":
        return 0
    words = read_html_words(str(post["text"]), is_notice=is_platform_line)
    # Lines that repeat across posts are in the body; placeholders are the redaction's words.
    body = _PLACEHOLDER.sub(" ", str(document["body"]))
    return max(words.count_changes(body)) if words.is_changed(body) else 0


def _hash_edge_paragraphs(text: str) -> list[int]:
    """Return a hash for each of the first and last paragraphs, based only on their words."""
    lines = [line for _, line in iter_prose_lines(text) if not _NON_PARAGRAPH_LINE.match(line)]
    trailing_lines = lines[max(_LEADING_PARAGRAPHS, len(lines) - _TRAILING_PARAGRAPHS) :]
    edges: list[int] = []
    for line in (*lines[:_LEADING_PARAGRAPHS], *trailing_lines):
        words = _WORD.findall(line.casefold())
        if len(words) >= _MIN_WORDS:
            digest = hashlib.blake2b(" ".join(words).encode(), digest_size=7).digest()
            edges.append(int.from_bytes(digest, "big"))
    return edges


@dataclass(frozen=True)
class DocumentClaim:
    """The documents that violate a claim, and the counts to report."""

    counts: Mapping[str, Any]
    violating_ids: frozenset[str] = field(default_factory=frozenset[str])

    @property
    def holds(self) -> bool:
        return not self.violating_ids


def check_claims(
    documents: pl.DataFrame, names: Sequence[str], *, has_clean_bylines: bool = False
) -> dict[str, DocumentClaim]:
    """Check each of `CLAIMS` for all documents of an author.

    Args:
        documents: `document_id`, `source`, `kept` and `MEASURES`.
        names: the author's name and aliases.
        has_clean_bylines: whether the `byline` after cleaning is checked in addition to the one
            that was measured.
    """
    kept = documents.filter("kept")
    unmarked = kept.filter(pl.col("measured_quotations_unmarked") > 0)
    changed = kept.filter(pl.col("measured_words_changed") > 0)
    bylines = ["measured_signed", *(["byline"] if has_clean_bylines else [])]
    foreign_ids = frozenset[str]().union(
        *(
            find_foreign_signatures(kept.select("document_id", "source", byline).iter_rows(), names)
            for byline in bylines
        )
    )
    return {
        "no_platform_boilerplate_left": _check_platform_boilerplate(kept),
        "no_foreign_byline": DocumentClaim(
            {
                "kept": len(foreign_ids),
                "signed": kept.filter(pl.col("measured_signed") != "").height,
            },
            foreign_ids,
        ),
        "quotations_keep_their_mark": DocumentClaim(
            {
                "documents": unmarked.height,
                "quotations": int(kept["measured_quotations"].sum()),
                "unmarked": int(unmarked["measured_quotations_unmarked"].sum()),
            },
            frozenset(unmarked["document_id"]),
        ),
        "no_words_lost": DocumentClaim(
            {"documents": changed.height, "words": int(changed["measured_words_changed"].sum())},
            frozenset(changed["document_id"]),
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
    documents: pl.DataFrame, names: Sequence[str], *, most_quarantined: float
) -> dict[str, ClaimResult]:
    """Check all claims (`CLAIMS`) about the stored documents.

    Args:
        documents: `document_id`, `source`, `byline`, `kept`, `dropped_because` and `MEASURES` of
            `cleaned_documents`.
        names: the author's name and aliases.
        most_quarantined: maximum share of the usable documents that may violate a claim.
    """
    claims = check_claims(documents, names, has_clean_bylines=True)
    quarantined = {
        name: documents.filter(pl.col("dropped_because") == QUARANTINED + name).height
        for name in CLAIMS
    }
    quarantined_count = sum(quarantined.values())
    share = quarantined_count / max(1, int(documents["kept"].sum()) + quarantined_count)
    results: dict[str, ClaimResult] = {}
    for name, claim in claims.items():
        exceeds_limit = bool(quarantined[name]) and share > most_quarantined
        counts = {
            **claim.counts,
            "quarantined": quarantined[name],
            "quarantined_for_any_claim": quarantined_count,
            "quarantined_share": round(share, 4),
            "most_quarantined": most_quarantined,
        }
        if name == "no_foreign_byline":
            is_foreign = pl.col("dropped_because").is_in(FOREIGN_REASONS)
            counts["dropped"] = documents.filter(is_foreign).height
        message = f"{CLAIMS[name]} Documents quarantined for violating it: {quarantined[name]:,}."
        if exceeds_limit:
            message += (
                f" {share:.0%} of the usable documents violate a claim, but "
                f"{MAX_QUARANTINED_SETTING} allows only {most_quarantined:.0%}. "
                "Run `twin import PATH --dry-run` to list the files. "
                f"Fix them, or raise {MAX_QUARANTINED_SETTING} to continue without them."
            )
        results[name] = ClaimResult(claim.holds and not exceeds_limit, counts, message)
    return results


def _check_platform_boilerplate(kept: pl.DataFrame) -> DocumentClaim:
    """Check that no kept document has menus, buttons, notices or repeated edge paragraphs."""
    min_documents = max(MIN_REPEATS, math.ceil(MIN_SHARE * kept.height))
    edges = (
        kept.select("document_id", edge="measured_edges")
        .explode("edge", empty_as_null=True)
        .drop_nulls()
        .unique()
    )
    repeats = edges.filter(pl.len().over("edge") >= min_documents)["document_id"].unique()
    with_lines = kept.filter(pl.col("measured_platform_lines") > 0)
    return DocumentClaim(
        {
            "platform_lines": int(with_lines["measured_platform_lines"].sum()),
            "documents_with_platform_lines": with_lines.height,
            "documents_with_repeated_lines": repeats.len(),
        },
        frozenset([*with_lines["document_id"], *repeats]),
    )
