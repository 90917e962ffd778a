"""What must hold for every kept document, measured on its text.

Belongs here: measuring a document against what it was made from, and finding those that break a
claim. Does not belong here: putting them aside (`cleaning_tables`), the checks as Dagster sees them
(`cleaned_documents`), cleaning.

No claim asks the function by which cleaning decided: menus are found in running words
(`share_menus`), signatures by another rule (`signatures`), personal data by a second list
(`personal_traces`), lost marks and quotations against the source (`lost_marks`,
`source_quotations`), copies by other candidates. A document is measured once, when it changed
(table `document_claims`).
"""
# pyright: strict

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dataframely as dy
import polars as pl

from twin_assets.corpus import formatting_loss, source_quotations
from twin_assets.corpus.code_blocks import prose_lines, without_code
from twin_assets.corpus.corpus_tables import columns_of
from twin_assets.corpus.near_duplicates import SIMILAR, shingles_of
from twin_assets.corpus.personal_traces import count_personal_traces
from twin_assets.corpus.share_menus import count_menus
from twin_assets.corpus.shingles import jaccard
from twin_assets.corpus.signatures import signed_by, signed_by_others

CLAIMS_VERSION = "5"

CLAIMS: Mapping[str, str] = {
    "no_platform_boilerplate_left": "No kept document holds a platform's menu, button or notice, "
    "or begins or ends in paragraphs that repeat over the author's posts.",
    "no_foreign_byline": "No kept document is signed by somebody else.",
    "no_pii_left": "No kept document holds personal data or a secret of a shape that leaves no "
    "doubt.",
    "punctuation_and_paragraphs_kept": "Documents have the punctuation and the paragraphs that "
    "their posts had.",
    "quotations_keep_their_mark": "What stands in a quotation in the post stands in one in the "
    "document, or is not in it.",
    "no_near_duplicates_left": "No two kept documents are copies of one another.",
}
"""Name of the check → what it claims."""

DOCUMENT_COLUMNS = ("document_id", "source_id", "title", "text", "kept")
"""What `measure` reads of `cleaned_documents`."""
SOURCE_COLUMNS = ("source_id", "source", "author", "text", "markup")
"""What `measure` reads of `raw_posts`."""

FEWEST_REPEATS = 10
SMALLEST_SHARE = 0.01
"""Twice what cleaning asks of a repeated line: copies and dropped posts, which it counts, are no
kept documents."""
_FEWEST_WORDS = 4
_AT_THE_BEGINNING, _AT_THE_END = 2, 3

_FEWEST_MARKS = 8
_FEWEST_BREAKS = 3
_SMALLEST = 8
_SHARED = 2
"""Two documents with two of eight smallest shingles in common are compared exactly; of similar ones
(.65) 99 % are."""
_NEIGHBOURS = 8
_MOST_COMPARED = 2_000

_WORD = re.compile(r"\w+")
_NO_PARAGRAPH = re.compile(r"\s*(?:#{1,6} |\||$)")


class DocumentClaims(dy.Schema):
    """Table `document_claims`: one row a row that may go into `cleaned_documents`; zeros where it
    is dropped.

    `words`, `marks` (of punctuation) and `paragraphs` are of the prose, `…_before` of the post as
    it was imported, and `…_kept` and `…_lost` those of the post around words that stayed.
    `platform_lines` counts menus, buttons and notices; `signed` is who signed the post;
    `quotations` counts the post's quoted paragraphs, `quotations_unmarked` those of them that are
    prose now; `edges` are the first and last paragraphs, `smallest` the smallest shingles.
    `text_hash` is of title and text: what was measured.
    """

    document_id = dy.String(primary_key=True, min_length=1)
    source_id = dy.String(min_length=1)
    source = dy.String()
    kept = dy.Bool()
    text_hash = dy.String(min_length=1)
    platform_lines = dy.Int64(min=0)
    signed = dy.String()
    personal = dy.Int64(min=0)
    words_before = dy.Int64(min=0)
    marks_before = dy.Int64(min=0)
    paragraphs_before = dy.Int64(min=0)
    words = dy.Int64(min=0)
    marks = dy.Int64(min=0)
    paragraphs = dy.Int64(min=0)
    marks_kept = dy.Int64(min=0)
    marks_lost = dy.Int64(min=0)
    breaks_kept = dy.Int64(min=0)
    breaks_lost = dy.Int64(min=0)
    quotations = dy.Int64(min=0)
    quotations_unmarked = dy.Int64(min=0)
    edges = dy.List(dy.Int64())
    smallest = dy.List(dy.Int64())


def measure(documents: pl.DataFrame, sources: pl.DataFrame) -> pl.DataFrame:
    """Measure documents (`DocumentClaims`, in their order).

    Args:
        documents: `DOCUMENT_COLUMNS` of `cleaned_documents`.
        sources: `SOURCE_COLUMNS` of the posts behind them.
    """
    posts = {row["source_id"]: row for row in sources.iter_rows(named=True)}
    rows = [_measured(row, posts.get(row["source_id"])) for row in documents.iter_rows(named=True)]
    return pl.DataFrame(rows, schema=columns_of(DocumentClaims))


def text_hash_of(title: str, text: str) -> str:
    """Names what was measured of a document."""
    return hashlib.sha256(f"{title}\0{text}".encode()).hexdigest()[:32]


def _measured(document: Mapping[str, Any], post: Mapping[str, Any] | None) -> dict[str, Any]:
    is_accepted, title, text = bool(document["kept"]), str(document["title"]), str(document["text"])
    prose = without_code(text)
    source = formatting_loss.source_prose(post) if is_accepted and post else ""
    before, now = formatting_loss.Prose.of(source), formatting_loss.Prose.of(prose)
    quoted = source_quotations.quotations_of(post) if is_accepted and post else ()
    return {
        "document_id": document["document_id"],
        "source_id": document["source_id"],
        "source": str(post["source"]) if post else "",
        "kept": is_accepted,
        "text_hash": text_hash_of(title, text),
        "platform_lines": count_menus(text),
        "signed": signed_by(str(post["text"]), str(post["author"] or ""))
        if is_accepted and post
        else "",
        "personal": count_personal_traces(text) + count_personal_traces(title),
        "words_before": before.words,
        "marks_before": before.marks,
        "paragraphs_before": before.paragraphs,
        "words": now.words,
        "marks": now.marks,
        "paragraphs": now.paragraphs,
        **vars(formatting_loss.lost(source, prose)),
        "quotations": len(quoted),
        "quotations_unmarked": source_quotations.count_unmarked(quoted, text),
        "edges": _edges(text),
        "smallest": sorted(shingles_of(text))[:_SMALLEST],
    }


def _edges(text: str) -> list[int]:
    """A number for each of the first and last paragraphs: equal for equal words and figures."""
    lines = [line for _, line in prose_lines(text) if not _NO_PARAGRAPH.match(line)]
    at_the_end = lines[max(_AT_THE_BEGINNING, len(lines) - _AT_THE_END) :]
    edges: list[int] = []
    for line in (*lines[:_AT_THE_BEGINNING], *at_the_end):
        words = _WORD.findall(line.casefold())
        if len(words) >= _FEWEST_WORDS:
            digest = hashlib.blake2b(" ".join(words).encode(), digest_size=7).digest()
            edges.append(int.from_bytes(digest, "big"))
    return edges


@dataclass(frozen=True)
class DocumentClaim:
    """Which documents break a claim; `counted` says by what numbers."""

    counted: Mapping[str, Any]
    broken: frozenset[str] = field(default_factory=frozenset[str])

    @property
    def holds(self) -> bool:
        return not self.broken


def all_claims(
    measured: pl.DataFrame,
    names: Sequence[str],
    texts_of: Callable[[Sequence[str]], Mapping[str, str]],
    bylines: pl.DataFrame | None = None,
) -> dict[str, DocumentClaim]:
    """Each of `CLAIMS`, of all an author's documents.

    Args:
        measured: `DocumentClaims`.
        names: the author's name and aliases.
        texts_of: document ids → text of each.
        bylines: `document_id`, `byline` as cleaning left them, judged beside `signed`.
    """
    return {
        "no_platform_boilerplate_left": platform_boilerplate(measured),
        "no_foreign_byline": foreign_bylines(measured, names, bylines),
        "no_pii_left": personal_data(measured),
        "punctuation_and_paragraphs_kept": punctuation_and_paragraphs(measured),
        "quotations_keep_their_mark": quotations(measured),
        "no_near_duplicates_left": near_duplicates(measured, texts_of),
    }


def platform_boilerplate(measured: pl.DataFrame) -> DocumentClaim:
    """No kept document holds a menu, button or notice, or begins or ends in repeated paragraphs."""
    accepted = measured.filter("kept")
    least = max(FEWEST_REPEATS, math.ceil(SMALLEST_SHARE * accepted.height))
    held = accepted.select("document_id", "edges").explode("edges", empty_as_null=True).drop_nulls()
    often = held.unique().group_by("edges").len().filter(pl.col("len") >= least)
    repeating = held.join(often, on="edges", how="semi")["document_id"].unique()
    with_lines = accepted.filter(pl.col("platform_lines") > 0)
    return DocumentClaim(
        {
            "platform_lines": int(with_lines["platform_lines"].sum()),
            "documents_with_platform_lines": with_lines.height,
            "documents_with_repeated_lines": repeating.len(),
        },
        frozenset([*with_lines["document_id"], *repeating]),
    )


def personal_data(measured: pl.DataFrame) -> DocumentClaim:
    """No kept document or its title holds what `personal_traces` finds."""
    leaking = measured.filter(pl.col("kept") & (pl.col("personal") > 0))
    return DocumentClaim(
        {"documents": leaking.height, "pieces": int(leaking["personal"].sum())},
        frozenset(leaking["document_id"]),
    )


def punctuation_and_paragraphs(measured: pl.DataFrame) -> DocumentClaim:
    """Documents have the punctuation and the paragraphs that their posts had.

    Around words that stayed (`lost_marks`): a document is *stripped* that has lost more of the
    marks than it has kept, *flattened* where most ends of paragraphs are gone.
    """
    accepted = measured.filter("kept")
    marks = pl.col("marks_kept") + pl.col("marks_lost")
    breaks = pl.col("breaks_kept") + pl.col("breaks_lost")
    stripped = accepted.filter(marks >= _FEWEST_MARKS, pl.col("marks_lost") > pl.col("marks_kept"))
    flat = accepted.filter(breaks >= _FEWEST_BREAKS, pl.col("breaks_lost") > pl.col("breaks_kept"))
    return DocumentClaim(
        {
            "documents": accepted.height,
            "stripped": stripped.height,
            "flattened": flat.height,
            "marks_a_word_before": _ratio(accepted["marks_before"], accepted["words_before"]),
            "marks_a_word": _ratio(accepted["marks"], accepted["words"]),
        },
        frozenset([*stripped["document_id"], *flat["document_id"]]),
    )


def quotations(measured: pl.DataFrame) -> DocumentClaim:
    """No quoted paragraph of a post is prose in its document (`source_quotations`)."""
    kept = measured.filter("kept")
    unmarked = kept.filter(pl.col("quotations_unmarked") > 0)
    return DocumentClaim(
        {
            "documents": unmarked.height,
            "quotations": int(kept["quotations"].sum()),
            "unmarked": int(unmarked["quotations_unmarked"].sum()),
        },
        frozenset(unmarked["document_id"]),
    )


def foreign_bylines(
    measured: pl.DataFrame, names: Sequence[str], bylines: pl.DataFrame | None = None
) -> DocumentClaim:
    """No kept document is signed by somebody else (`signatures`).

    Args:
        measured: `document_id`, `source`, `signed`, `kept`.
        names: the author's.
        bylines: `document_id`, `byline` as cleaning left them; a row's counts where it has one.
    """
    accepted = measured.filter("kept").select("document_id", "source", "signed")
    foreign = signed_by_others(accepted.iter_rows(), names)
    if bylines is not None:
        left = accepted.join(bylines, on="document_id").select("document_id", "source", "byline")
        foreign |= signed_by_others(left.iter_rows(), names)
    return DocumentClaim({"kept": len(foreign), "signed": _signed(accepted["signed"])}, foreign)


def _signed(names: Iterable[str]) -> int:
    return sum(bool(name) for name in names)


def near_duplicates(
    measured: pl.DataFrame, texts_of: Callable[[Sequence[str]], Mapping[str, str]]
) -> DocumentClaim:
    """No two kept documents are copies of one another.

    Candidates come from smallest shingles, not from the bands that cleaning used.

    Args:
        measured: `DocumentClaims`.
        texts_of: document ids → text of each.
    """
    candidates = _candidates(measured.filter("kept"))
    compared = candidates.head(_MOST_COMPARED)
    names = sorted({*compared["document_id"].to_list(), *compared["other"].to_list()})
    sets = {name: shingles_of(text) for name, text in texts_of(names).items()}
    left = [
        (one, other)
        for one, other in compared.select("document_id", "other").iter_rows()
        if jaccard(sets[one], sets[other]) >= SIMILAR
    ]
    gone: set[str] = set()
    for pair in sorted(left):
        if gone.isdisjoint(pair):  # of two copies the one that says less, else the later name
            gone.add(max(pair, key=lambda name: (-len(sets[name]), name)))
    return DocumentClaim(
        {
            "pairs": len(left),
            "compared": compared.height,
            "not_compared": candidates.height - compared.height,
        },
        frozenset(gone),
    )


def _candidates(candidates: pl.DataFrame) -> pl.DataFrame:
    """Pairs of documents by how many of their smallest shingles they share, most first.

    A shingle that many hold ("one of the") pairs each with the next few of them only, so the pairs
    grow with the documents and not with their square. Copies share further shingles; those of a
    large family hold the same ones, so each is paired with others of it.
    """
    candidates = candidates.select("document_id", pl.col("smallest").alias("element")).sort(
        "document_id"
    )
    # By places, not names: 100,000 posts that quote one another are millions of pairs.
    place, element = pl.col("place"), pl.col("element")
    held = (
        candidates.select(pl.int_range(pl.len(), dtype=pl.UInt64).alias("place"), "element")
        .explode("element", empty_as_null=True)
        .filter(element.is_duplicated() & element.is_not_null())
        .sort("element", "place")
        .lazy()
    )
    pairs = [
        held.select(
            (place * candidates.height + place.shift(-step)).alias("pair"),
            same=element == element.shift(-step),
        )
        .filter("same")
        .select("pair")
        for step in range(1, _NEIGHBOURS + 1)
    ]
    counted = (
        pl.concat(pairs)
        .group_by("pair")
        .len("shared")
        .filter(pl.col("shared") >= _SHARED)
        .sort("shared", "pair", descending=[True, False])
        .collect()
    )
    names = candidates["document_id"]
    return pl.DataFrame(
        {
            "document_id": names.gather(counted["pair"] // max(1, candidates.height)),
            "other": names.gather(counted["pair"] % max(1, candidates.height)),
            "shared": counted["shared"],
        }
    )


def _ratio(part: pl.Series, whole: pl.Series) -> float:
    return round(float(part.sum()) / max(1, int(whole.sum())), 4)
