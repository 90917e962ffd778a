"""Decide the verdicts that depend on all of an author's posts.

Scope: repeated lines, foreign bylines, copies, and the verdict of each post. Out of scope: cleaning
a text (`cleaning`), finding similar texts (`near_duplicates`), storing verdicts.

All functions here read a few small columns of all posts, but not their text. Posts with an
unchanged verdict are not processed again (`cleaning_tables`).
"""
# pyright: strict

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

import polars as pl

from twin_assets.corpus.boilerplate import find_repeated_lines
from twin_assets.corpus.bylines import (
    find_foreign_bylines,
    is_co_signed,
    is_named_author,
    is_possible_handle,
    is_role,
    is_translation,
)
from twin_assets.corpus.near_duplicates import collapse_copies
from twin_assets.corpus.reconciliation import sum_counts

MIN_WORDS = 10
"""A shorter post is dropped as `too_short`. The limit is low because short notes are an author's
writing too: the shortest of 1,871 notes has 13 words, including its title."""

VERDICT_INPUT_COLUMNS = (
    *("document_id", "source_id", "source", "url", "published_at", "byline", "dropped_because"),
    *("content_hash", "lines", "fields_hash"),
)
"""Columns of `PreparedPosts` that this module reads."""

VERDICT_SCHEMA = {
    "source_id": pl.String(),
    "fields_hash": pl.String(),
    "repeated": pl.List(pl.Int64()),
    "dropped_because": pl.String(),
    "duplicate_of": pl.String(),
    "copies": pl.List(pl.Struct({"document_id": pl.String(), "url": pl.String()})),
}
"""Columns of the verdicts, one row per post; `repeated` lists the post's repeated lines."""

UNSIGNED, CO_SIGNED = "unsigned", "co-signed"
"""Among the author's `aliases`: such posts beside posts by others are the author's all the same."""
ALIAS_BY_REASON = {"co_signed": CO_SIGNED, "unsigned_among_others": UNSIGNED}
FOREIGN_REASONS = ("foreign_byline", *ALIAS_BY_REASON)
"""Why a post is not taken for the author's, from its own byline and those of its source."""

_MAJORITY_SHARE = 0.5
_MIN_SHARE_OF_OTHERS = 0.1  # of a source's signed posts; a guest or two do not make it a magazine
_LATEST = datetime.max.replace(tzinfo=UTC)


def find_foreign_posts(posts: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return the `source_id` of each post by someone else, and the `reason` (`FOREIGN_REASONS`).

    The owner of an account may sign with a handle. A byline on more than half of a source's posts
    is therefore the author's if it may be a handle (`bylines.is_possible_handle`) and no post there
    has the author's name.

    Where others sign too, nobody knows who wrote an unsigned post. It is the author's only if the
    author never signs there, and others sign at most half of the posts.

    Args:
        posts: `source_id`, `source` and `byline`.
        names: the author's name and aliases; without names, no post is foreign.
    """
    posts = posts.select("source_id", "source", "byline")  # they have a `kind` of their own
    kinds = _classify_bylines(posts, names)
    totals = (
        posts.join(kinds, on=["source", "byline"])
        .group_by("source")
        .agg(
            pl.len().alias("all"),
            pl.col("kind").is_in(["others", "co_signed"]).sum().alias("others"),
            (pl.col("kind") != "unsigned").sum().alias("signed"),
            (pl.col("kind") == "own").any().alias("author_signs"),
        )
    )
    has_others = pl.col("others") >= _MIN_SHARE_OF_OTHERS * pl.col("signed")
    is_shared = (pl.col("others") > 0) & (
        (pl.col("author_signs") & has_others) | (pl.col("others") > _MAJORITY_SHARE * pl.col("all"))
    )
    aliases = {name.casefold() for name in names}
    is_kept = {"unsigned": UNSIGNED in aliases, "co_signed": CO_SIGNED in aliases}
    reasons = pl.DataFrame(
        {
            "kind": ["others", "co_signed", "unsigned"],
            "reason": FOREIGN_REASONS,
        }
    ).filter(~pl.col("kind").is_in([kind for kind, kept in is_kept.items() if kept]))
    return (
        posts.join(kinds, on=["source", "byline"])
        .join(totals.select("source", is_shared.alias("is_shared")), on="source")
        .filter((pl.col("kind") != "unsigned") | pl.col("is_shared"))
        .join(reasons, on="kind")
        .select("source_id", "reason")
    )


def _classify_bylines(posts: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return each byline of each source with its `kind`: own, others, co_signed or unsigned."""
    bylines = posts.select("source", "byline").unique(maintain_order=True)
    if not names:
        return bylines.with_columns(kind=pl.lit("own"))
    foreign = _count_bylines(posts, names).filter(~(pl.col("majority") & pl.col("adoptable")))
    others = set(foreign.select("source", "byline").iter_rows())
    kinds = [
        "others"
        if (source, byline) in others
        else "co_signed"
        if is_co_signed(byline, names)
        else "own"
        if is_named_author(byline, tuple(names)) or not is_role(byline)
        else "unsigned"
        for source, byline in bylines.iter_rows()
    ]
    return bylines.with_columns(kind=pl.Series(kinds, dtype=pl.String()))


def find_adopted_handles(posts: pl.DataFrame, names: Sequence[str]) -> dict[str, int]:
    """Return the number of posts by each handle that counts as the author's.

    Args:
        posts: as in `find_foreign_posts`.
        names: the author's name and aliases.
    """
    return _sum_by_byline(_count_bylines(posts, names).filter("majority", "adoptable"))


def find_unclaimed_bylines(posts: pl.DataFrame, names: Sequence[str]) -> dict[str, int]:
    """Return the number of posts by each majority byline that is not known to be the author's.

    Adopted handles and bylines with a translator are excluded. The user must say which of the
    remaining bylines are the author's.

    Args:
        posts: as in `find_foreign_posts`.
        names: the author's name and aliases.
    """
    byline_counts = _count_bylines(posts, names)
    bylines = [byline for byline in byline_counts["byline"].unique() if not is_translation(byline)]
    return _sum_by_byline(
        byline_counts.filter("majority", ~pl.col("adoptable"), pl.col("byline").is_in(bylines))
    )


def _sum_by_byline(counts: pl.DataFrame) -> dict[str, int]:
    rows = counts.select("byline", "len").iter_rows()
    return sum_counts(*({byline: count} for byline, count in rows))


def _count_bylines(posts: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Count each source's posts by foreign byline, and mark majorities and possible handles."""
    posts_by_source = posts.group_by("source").len("source_post_count")
    signed_posts = posts.filter(pl.col("byline") != "")
    byline_counts = (
        signed_posts.group_by("source", "byline").len().join(posts_by_source, on="source")
    )
    foreign_bylines = find_foreign_bylines(byline_counts["byline"].unique().to_list(), names)
    handles = [byline for byline in foreign_bylines if is_possible_handle(byline)]
    author_bylines = [
        byline
        for byline in byline_counts["byline"].unique()
        if is_named_author(byline, tuple(names))
    ]
    signed_sources = byline_counts.filter(pl.col("byline").is_in(author_bylines))["source"].unique()
    return (
        byline_counts.filter(pl.col("byline").is_in(sorted(foreign_bylines)))
        .with_columns(
            (pl.col("len") > _MAJORITY_SHARE * pl.col("source_post_count")).alias("majority"),
            (
                pl.col("byline").is_in(sorted(handles))
                & ~pl.col("source").is_in(signed_sources.implode())
            ).alias("adoptable"),
        )
        .sort("source", "byline")
    )


def select_comparison_candidates(posts: pl.DataFrame, *, names: Sequence[str]) -> pl.DataFrame:
    """Return the posts to compare: the oldest post with each body, without dropped posts.

    Args:
        posts: `VERDICT_INPUT_COLUMNS` of all posts.

    Returns:
        `document_id`, `body_hash` (of the text without repeated lines), `repeated`.
    """
    remaining_posts = _select_remaining_posts(posts, names)
    repeated_hashes = find_repeated_lines(remaining_posts["lines"])
    age = pl.col("published_at").fill_null(_LATEST)  # undated posts are last
    sorted_posts = remaining_posts.sort(age, "source_id", maintain_order=True)
    oldest_posts = sorted_posts.unique("content_hash", keep="first", maintain_order=True)
    candidates = _add_repeated_lines(oldest_posts, repeated_hashes)
    body_hashes = [
        hashlib.sha256(f"{fields} {lines}".encode()).hexdigest()[:32]
        for fields, lines in zip(
            candidates["fields_hash"], candidates["repeated"].to_list(), strict=True
        )
    ]
    return candidates.select(
        "document_id", pl.Series("body_hash", body_hashes, dtype=pl.String), "repeated"
    )


def decide_verdicts(
    posts: pl.DataFrame, candidates: pl.DataFrame, bodies: pl.DataFrame, *, names: Sequence[str]
) -> pl.DataFrame:
    """Return the verdict of each post (`VERDICT_SCHEMA`), ordered by `source_id`.

    Args:
        posts: `VERDICT_INPUT_COLUMNS` of all posts.
        candidates: the result of `select_comparison_candidates`.
        bodies: the result of `near_duplicates.compare_bodies` for all candidates.
    """
    verdicts = _decide_comparison_verdicts(posts, candidates, bodies, names=names)
    copies = (
        verdicts.filter(pl.col("duplicate_of") != "")
        .join(posts.select("document_id", "url"), on="document_id")
        .sort("document_id")
        .group_by("duplicate_of", maintain_order=True)
        .agg(pl.struct("document_id", "url").alias("copies"))
        .rename({"duplicate_of": "document_id"})
    )
    foreign_rows = find_foreign_posts(posts, names).rename({"reason": "foreign"})
    all_posts = (
        posts.select("document_id", "source_id", "fields_hash", "dropped_because")
        .join(candidates.select("document_id", "repeated"), on="document_id", how="left")
        .join(verdicts, on="document_id", how="left")
        .join(copies, on="document_id", how="left")
        .join(foreign_rows, on="source_id", how="left")
    )
    reason = pl.coalesce(
        pl.when(pl.col("dropped_because") != "").then("dropped_because"), "foreign", "verdict"
    )
    empty_list = pl.lit([], dtype=VERDICT_SCHEMA["repeated"])
    return (
        all_posts.with_columns(
            reason.alias("dropped_because"),
            pl.col("duplicate_of").fill_null(""),
            pl.col("copies").fill_null(pl.lit([], dtype=VERDICT_SCHEMA["copies"])),
        )
        .with_columns(
            pl.when(pl.col("dropped_because") == "")
            .then(pl.col("repeated").fill_null(empty_list))
            .otherwise(empty_list)
        )
        .select(VERDICT_SCHEMA.keys())
        .sort("source_id")
    )


def _decide_comparison_verdicts(
    posts: pl.DataFrame, candidates: pl.DataFrame, bodies: pl.DataFrame, *, names: Sequence[str]
) -> pl.DataFrame:
    """Return `document_id`, `verdict` and `duplicate_of` of the posts that are not yet dropped."""
    boilerplate_only = bodies.filter(pl.col("words") < MIN_WORDS).select("document_id")
    near_duplicates = _collapse_near_duplicates(
        posts, bodies.join(boilerplate_only, on="document_id", how="anti")
    )
    remaining_posts = _select_remaining_posts(posts, names)
    # Posts with the same body as a candidate get that candidate's verdict.
    representatives = (
        remaining_posts.select("document_id", "content_hash")
        .join(
            remaining_posts.join(candidates, on="document_id", how="semi").select(
                "content_hash", pl.col("document_id").alias("oldest")
            ),
            on="content_hash",
        )
        .join(near_duplicates, left_on="oldest", right_on="document_id", how="left")
        .join(
            boilerplate_only.with_columns(is_boilerplate=True),
            left_on="oldest",
            right_on="document_id",
            how="left",
        )
    )
    is_oldest = pl.col("document_id") == pl.col("oldest")
    replacement = pl.col("replacement")
    return representatives.select(
        "document_id",
        pl.when(pl.col("is_boilerplate").is_not_null())
        .then(pl.lit("only_boilerplate"))
        .when(replacement.is_not_null())
        .then(pl.lit("near_duplicate"))
        .when(~is_oldest)
        .then(pl.lit("duplicate"))
        .otherwise(pl.lit(""))
        .alias("verdict"),
        pl.when(pl.col("is_boilerplate").is_not_null() | (is_oldest & replacement.is_null()))
        .then(pl.lit(""))
        .otherwise(pl.coalesce(replacement, "oldest"))
        .alias("duplicate_of"),
    )


def _select_remaining_posts(posts: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    return posts.filter(pl.col("dropped_because") == "").join(
        find_foreign_posts(posts, names), on="source_id", how="anti"
    )


def _add_repeated_lines(posts: pl.DataFrame, repeated: pl.Series) -> pl.DataFrame:
    """Return `posts` with a sorted list of the repeated lines in each."""
    repeated_by_post = (
        posts.select("document_id", pl.col("lines").alias("line"))
        .explode("line", empty_as_null=True)
        .filter(pl.col("line").is_in(repeated.implode()))
        .group_by("document_id")
        .agg(pl.col("line").unique().sort().alias("repeated"))
    )
    empty_list = pl.lit([], dtype=VERDICT_SCHEMA["repeated"])
    return posts.join(
        repeated_by_post, on="document_id", how="left", maintain_order="left"
    ).with_columns(pl.col("repeated").fill_null(empty_list))


def _collapse_near_duplicates(posts: pl.DataFrame, bodies: pl.DataFrame) -> pl.DataFrame:
    """Return each near-duplicate's `document_id`, with the kept document as `replacement`."""
    pairs = (
        bodies.select("document_id", "words", "body_hash", "similar")
        .explode("similar", empty_as_null=True)
        .drop_nulls("similar")
        .unnest("similar")
    )
    # Similarities to texts that have changed or are no longer candidates are ignored.
    current_bodies = bodies.select(
        pl.col("document_id").alias("other_id"), pl.col("body_hash").alias("other_hash")
    )
    pairs = pairs.join(current_bodies, on=["other_id", "other_hash"], how="semi")
    paired_ids = pl.concat([pairs["document_id"], pairs["other_id"]]).unique()
    paired_documents = (
        bodies.select("document_id", "words")
        .join(paired_ids.alias("document_id").to_frame(), on="document_id", how="semi")
        .join(posts.select("document_id", "published_at", "source_id"), on="document_id")
    )
    # The original is kept, with its day and its address; of equally old ones, the longest.
    ranks = {
        document_id: (published_at or _LATEST, -words, source_id)
        for document_id, words, published_at, source_id in paired_documents.iter_rows()
    }
    similarities = pairs.select("document_id", "other_id", "similarity").iter_rows()
    replacements = collapse_copies(
        ranks, {(min(pair), max(pair)): similarity for *pair, similarity in similarities}
    )
    return pl.DataFrame(
        {"document_id": list(replacements.keys()), "replacement": list(replacements.values())},
        schema={"document_id": pl.String, "replacement": pl.String},
    )
