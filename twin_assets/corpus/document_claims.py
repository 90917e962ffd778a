"""What must hold for every kept document, measured on the stored texts.

Belongs here: measuring a document against what it was made from, and counting what breaks a claim.
Does not belong here: the checks as Dagster sees them (`cleaned_documents`), cleaning.

A document is measured once, when it changed (table `document_claims`): a check over ten new posts
reads ten texts and narrow columns of the others.
"""
# pyright: strict

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dataframely as dy
import polars as pl

from twin_assets.corpus import boilerplate
from twin_assets.corpus.cleaning_verdicts import foreign
from twin_assets.corpus.code_blocks import fenced, replace_highlights, without_code
from twin_assets.corpus.corpus_tables import columns_of
from twin_assets.corpus.near_duplicates import SIMILAR, shingles_of
from twin_assets.corpus.shingles import jaccard
from twin_resources.privacy import find_personal

CLAIMS_VERSION = "2"

SOURCE_COLUMNS = ("source_id", "text", "markup")
"""What `measure` reads of `raw_posts`."""

MOST_STRIPPED = 0.01
"""Of the documents so many may look stripped: some posts are lists, tables or verse."""

_OFTEN = 2
_SMALLEST = 8
_SHARED = 2
"""Two documents with two of eight smallest shingles in common are compared exactly; of similar ones
(.65) 99 % are."""
_NEIGHBOURS = 8
_MOST_COMPARED = 2_000

_MARK = re.compile(r"(?<=\w)[.,;:!?](?=[\s\"'”’)\]]|$)|(?<=\w)['’](?=\w)")
_WORD = re.compile(r"\w+")
_HIDDEN = re.compile(r"<(pre|script|style)\b.*?</\1\s*>|<!--.*?-->", re.DOTALL | re.IGNORECASE)
_BLOCK_END = re.compile(r"</(?:p|div|li|h[1-6]|blockquote|tr)\s*>|<br\s*/?>\s*<br", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]{0,2000}>")
_PARAGRAPH_BREAK = re.compile(r"\n[ \t]*\n")


class DocumentClaims(dy.Schema):
    """Table `document_claims`: one row a row of `cleaned_documents`; zeros where it is dropped.

    `words`, `marks` (of punctuation) and `paragraphs` are of the prose, `…_before` of the post as
    it was imported. `lines`: as in `prepared_posts`, of this text; `smallest`: its
    smallest shingles.
    """

    document_id = dy.String(primary_key=True, min_length=1)
    kept = dy.Bool()
    platform_lines = dy.Int64(min=0)
    personal = dy.Int64(min=0)
    words_before = dy.Int64(min=0)
    marks_before = dy.Int64(min=0)
    paragraphs_before = dy.Int64(min=0)
    words = dy.Int64(min=0)
    marks = dy.Int64(min=0)
    paragraphs = dy.Int64(min=0)
    lines = dy.List(dy.Int64())
    smallest = dy.List(dy.Int64())


def measure(documents: pl.DataFrame, sources: pl.DataFrame) -> pl.DataFrame:
    """Measure documents (`DocumentClaims`, in their order).

    Args:
        documents: `document_id`, `source_id`, `title`, `text`, `language` and `kept` of
            `cleaned_documents`.
        sources: `SOURCE_COLUMNS` of the posts behind them.
    """
    posts = {row["source_id"]: row for row in sources.iter_rows(named=True)}
    rows = [_measured(row, posts.get(row["source_id"])) for row in documents.iter_rows(named=True)]
    return pl.DataFrame(rows, schema=columns_of(DocumentClaims))


def _measured(document: Mapping[str, Any], post: Mapping[str, Any] | None) -> dict[str, Any]:
    before = _Prose.of(_source_prose(post)) if document["kept"] and post else _Prose(0, 0, 0)
    text = str(document["text"])
    now = _Prose.of(without_code(text))
    return {
        "document_id": document["document_id"],
        "kept": document["kept"],
        "platform_lines": boilerplate.count_platform_lines(text),
        "personal": sum(
            len(find_personal(part, region=str(document["language"])))
            for part in (text, str(document["title"]))
        ),
        "words_before": before.words,
        "marks_before": before.marks,
        "paragraphs_before": before.paragraphs,
        "words": now.words,
        "marks": now.marks,
        "paragraphs": now.paragraphs,
        "lines": boilerplate.line_numbers(text),
        "smallest": sorted(shingles_of(text))[:_SMALLEST],
    }


@dataclass(frozen=True)
class _Prose:
    words: int
    marks: int
    paragraphs: int

    @classmethod
    def of(cls, prose: str) -> _Prose:
        paragraphs = sum(bool(_WORD.search(part)) for part in _PARAGRAPH_BREAK.split(prose))
        return cls(len(_WORD.findall(prose)), len(_MARK.findall(prose)), paragraphs)


def _source_prose(post: Mapping[str, Any]) -> str:
    """The prose of a post as it was imported, by means that cleaning does not use."""
    text = replace_highlights(str(post["text"]).replace("\r\n", "\n"), fenced)
    if post["markup"] == "html":
        text = _TAG.sub("", _BLOCK_END.sub("\n\n", _HIDDEN.sub("\n\n", without_code(text))))
        return html.unescape(text)
    return without_code(text)


@dataclass(frozen=True)
class DocumentClaim:
    """Whether a claim holds; `counted` says by what numbers."""

    holds: bool
    counted: Mapping[str, Any]


def platform_boilerplate(measured: pl.DataFrame) -> DocumentClaim:
    """No kept document holds a platform's button or notice, or begins or ends in repeated lines.

    A line must repeat twice as often as cleaning asks, since copies and dropped posts, which
    cleaning counts, are no kept documents.
    """
    kept = measured.filter("kept")
    found = boilerplate.repeated_lines(kept["lines"], times=_OFTEN)
    repeated = frozenset(found.to_list())
    left = (
        sum(boilerplate.holds_repeated(lines, repeated) for lines in kept["lines"].to_list())
        if repeated
        else 0
    )
    lines = int(kept["platform_lines"].sum())
    return DocumentClaim(
        not lines and not left,
        {
            "platform_lines": lines,
            "documents_with_platform_lines": kept.filter(pl.col("platform_lines") > 0).height,
            "documents_with_repeated_lines": left,
        },
    )


def personal_data(measured: pl.DataFrame) -> DocumentClaim:
    """Nothing that `privacy` knows how to find is left in a kept document or its title."""
    found = measured.filter(pl.col("kept") & (pl.col("personal") > 0))
    return DocumentClaim(
        found.is_empty(),
        {"documents": found.height, "pieces": int(found["personal"].sum())},
    )


def punctuation_and_paragraphs(measured: pl.DataFrame) -> DocumentClaim:
    """Documents have the punctuation and the paragraphs that their posts had.

    Counted by density, since cleaning takes out menus and link targets: a document is *stripped*
    with less than half the marks a word, *flattened* when four paragraphs or more became one.
    """
    kept = measured.filter(pl.col("kept") & (pl.col("words_before") > 0))
    before = pl.col("marks_before") / pl.col("words_before")
    now = pl.col("marks") / pl.max_horizontal("words", pl.lit(1))
    enough = pl.col("words") >= 50
    stripped = kept.filter(enough & (before >= 0.02) & (now < before / 2)).height
    flat = enough & (pl.col("paragraphs_before") >= 4) & (pl.col("paragraphs") <= 1)
    flattened = kept.filter(flat).height
    return DocumentClaim(
        stripped + flattened <= MOST_STRIPPED * kept.height,
        {
            "documents": kept.height,
            "stripped": stripped,
            "flattened": flattened,
            "marks_a_word_before": _ratio(kept["marks_before"], kept["words_before"]),
            "marks_a_word": _ratio(kept["marks"], kept["words"]),
        },
    )


def foreign_bylines(cleaned: pl.DataFrame, names: Sequence[str]) -> DocumentClaim:
    """No kept document is signed by somebody else.

    Args:
        cleaned: `source_id`, `source`, `byline`, `kept` of all documents.
        names: the author's.
    """
    strange = foreign(cleaned, names)
    kept = cleaned.filter("kept").join(strange, on="source_id", how="semi").height
    return DocumentClaim(not kept, {"kept": kept, "dropped": strange.height - kept})


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
    left = sum(
        jaccard(sets[one], sets[other]) >= SIMILAR
        for one, other in compared.select("document_id", "other").iter_rows()
    )
    return DocumentClaim(
        not left,
        {
            "pairs": left,
            "compared": compared.height,
            "not_compared": candidates.height - compared.height,
        },
    )


def _candidates(kept: pl.DataFrame) -> pl.DataFrame:
    """Pairs of documents by how many of their smallest shingles they share, most first.

    A shingle that many hold ("one of the") pairs each with the next few of them only, so the pairs
    grow with the documents and not with their square. Copies share further shingles; those of a
    large family hold the same ones, so each is paired with others of it.
    """
    kept = kept.select("document_id", pl.col("smallest").alias("element")).sort("document_id")
    # By places, not names: 100,000 posts that quote one another are millions of pairs.
    place, element = pl.col("place"), pl.col("element")
    held = (
        kept.select(pl.int_range(pl.len(), dtype=pl.UInt64).alias("place"), "element")
        .explode("element", empty_as_null=True)
        .filter(element.is_duplicated() & element.is_not_null())
        .sort("element", "place")
        .lazy()
    )
    pairs = [
        held.select(
            (place * kept.height + place.shift(-step)).alias("pair"),
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
    names = kept["document_id"]
    return pl.DataFrame(
        {
            "document_id": names.gather(counted["pair"] // max(1, kept.height)),
            "other": names.gather(counted["pair"] % max(1, kept.height)),
            "shared": counted["shared"],
        }
    )


def _ratio(part: pl.Series, whole: pl.Series) -> float:
    return round(float(part.sum()) / max(1, int(whole.sum())), 4)
