"""Decide the verdicts that depend on all of an author's posts.

Scope: repeated lines, lists of posts, foreign bylines, copies, and the verdict of each post. Out of
scope: cleaning a text (`cleaning`), finding similar texts (`near_duplicates`), storing verdicts.

They are decided again at every import: of 1,871 posts, that takes a second or two.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime

import polars as pl

from twin_assets.corpus.boilerplate import (
    find_lists_of_posts,
    find_repeated_lines,
    remove_repeated_lines,
    select_prose,
)
from twin_assets.corpus.bylines import (
    find_foreign_bylines,
    is_co_signed,
    is_named_author,
    is_possible_handle,
    is_role,
    is_translation,
)
from twin_assets.corpus.importers import feed
from twin_assets.corpus.language import count_words
from twin_assets.corpus.near_duplicates import (
    collapse_copies,
    find_containing_texts,
    find_similar_texts,
)
from twin_assets.corpus.reconciliation import sum_counts

MIN_WORDS = 10
"""A shorter post is dropped as `too_short`. The limit is low because short notes are an author's
writing too: the shortest of 1,871 notes has 13 words, including its title."""

VERDICT_SCHEMA = {
    "document_id": pl.String(),
    "text": pl.String(),
    "text_words": pl.Int64(),
    "dropped_because": pl.String(),
    "duplicate_of": pl.String(),
    "copies": pl.List(pl.Struct({"document_id": pl.String(), "url": pl.String()})),
}
"""Columns of the verdicts, one row per post; `text` is empty if the post is dropped."""

UNSIGNED, CO_SIGNED = "unsigned", "co-signed"
"""Among the author's `aliases`: such posts beside posts by others are the author's all the same."""
ALIAS_BY_REASON = {"co_signed": CO_SIGNED, "unsigned_among_others": UNSIGNED}
FOREIGN_REASONS = ("foreign_byline", *ALIAS_BY_REASON)
"""Why a post is not taken for the author's, from its own byline and those of its source."""
LIST_OF_POSTS = "list_of_posts"

_MAJORITY_SHARE = 0.5
_MIN_SHARE_OF_OTHERS = 0.1  # of a source's signed posts; a guest or two do not make it a magazine
# One co-signed of 516 notes, of which few are signed, put 408 aside. The price: of a source that
# others sign more rarely than this, their unsigned posts are the author's.
_MIN_SHARE_OF_OTHERS_IN_ALL = 0.02
_LATEST = datetime.max.replace(tzinfo=UTC)


def find_foreign_posts(posts: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return the `source_id` of each post by someone else, and the `reason` (`FOREIGN_REASONS`).

    The owner of an account may sign with a handle. A byline on more than half of a source's posts
    is therefore the author's if it may be a handle (`bylines.is_possible_handle`) and no post there
    has the author's name.

    Where others sign too, nobody knows who wrote an unsigned post. It is the author's only if
    others sign less than a tenth of the signed posts or a fiftieth of all, or if the author never
    signs there and others sign at most half of the posts.

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
    has_others = (pl.col("others") >= _MIN_SHARE_OF_OTHERS * pl.col("signed")) & (
        pl.col("others") >= _MIN_SHARE_OF_OTHERS_IN_ALL * pl.col("all")
    )
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


def decide_verdicts(
    posts: pl.DataFrame,
    *,
    names: Sequence[str],
    on_text: Callable[[int, int], object] = lambda _done, _total: None,
) -> pl.DataFrame:
    """Return the verdict on each post and its text without repeated lines (`VERDICT_SCHEMA`).

    Args:
        posts: `PreparedPosts` of all posts.
        names: the author's name and aliases.
        on_text: called with the number of texts that are compared and of all texts.
    """
    foreign = find_foreign_posts(posts, names)
    columns = ("document_id", "source_id", "published_at", "content_hash", "lines", "body", "words")
    remaining = (
        posts.filter(pl.col("own_reason") == "")
        .join(foreign, on="source_id", how="anti")
        .select(*columns, "source", "title", "url")
        .sort(pl.col("published_at").fill_null(_LATEST), "source_id")  # undated posts are last
    )
    lists = find_lists_of_posts(remaining)
    remaining = remaining.filter(~pl.col("document_id").is_in(lists))
    repeated_lines = frozenset(find_repeated_lines(remaining["lines"]))
    # Of posts with the same body, only the oldest is compared; the others get its verdict.
    oldest_ids: dict[str, str] = {}
    texts: dict[str, str] = {}
    kept_paragraphs: set[int] = set()
    ranks: dict[str, tuple[datetime, int, str]] = {}
    for id_, source_id, published_at, content_hash, lines, body, words in remaining.select(
        columns
    ).iter_rows():
        if oldest_ids.setdefault(content_hash, id_) == id_:
            repeated = repeated_lines.intersection(lines)
            first_paragraphs = select_prose(repeated) - kept_paragraphs
            kept_paragraphs |= first_paragraphs
            repeated -= first_paragraphs
            texts[id_] = remove_repeated_lines(body, repeated) if repeated else body
            # The original is kept, with its day and its address; of equally old ones, the longest.
            word_count = count_words(texts[id_]) if repeated else words
            ranks[id_] = (published_at or _LATEST, -word_count, source_id)
    remaining = remaining.drop("lines", "body")  # of 20,000 posts, they take 60 MB
    comparable = {id_: text for id_, text in texts.items() if -ranks[id_][1] >= MIN_WORDS}
    teasers = find_containing_texts(comparable, _list_whole_posts(remaining, comparable))
    whole_texts = {id_: text for id_, text in comparable.items() if id_ not in teasers}
    replacements = collapse_copies(ranks, find_similar_texts(whole_texts, on_text=on_text))
    replacements |= {id_: replacements.get(whole, whole) for id_, whole in teasers.items()}
    verdicts: dict[str, tuple[str, str]] = dict.fromkeys(posts["document_id"], ("", ""))
    verdicts |= dict.fromkeys(lists, (LIST_OF_POSTS, ""))
    copies: dict[str, list[dict[str, str]]] = defaultdict(list)
    for id_, url, content_hash in (
        remaining.select("document_id", "url", "content_hash").sort("document_id").iter_rows()
    ):
        oldest_id = oldest_ids[content_hash]
        kept_id = replacements.get(oldest_id, oldest_id)
        if oldest_id not in comparable:
            verdicts[id_] = ("only_boilerplate", "")
        elif kept_id != id_:
            reason = "near_duplicate" if oldest_id in replacements else "duplicate"
            verdicts[id_] = (reason, kept_id)
            copies[kept_id].append({"document_id": id_, "url": url})
    reasons = dict(posts.select("document_id", "own_reason").iter_rows()) | dict(
        foreign.join(posts, on="source_id").filter(pl.col("own_reason") == "")
        .select("document_id", "reason").iter_rows()
    )  # fmt: skip
    dropped_because = {id_: reasons[id_] or reason for id_, (reason, _) in verdicts.items()}
    return pl.DataFrame(
        {
            "document_id": list(verdicts),
            "text": ["" if reason else texts[id_] for id_, reason in dropped_because.items()],
            "text_words": [
                0 if reason else -ranks[id_][1] for id_, reason in dropped_because.items()
            ],
            "dropped_because": list(dropped_because.values()),
            "duplicate_of": [kept_id for _, kept_id in verdicts.values()],
            "copies": [copies[id_] for id_ in verdicts],
        },
        schema=VERDICT_SCHEMA,
    )


def _list_whole_posts(posts: pl.DataFrame, ids: Collection[str]) -> dict[str, list[str]]:
    """Return the posts of which a feed's entry may be the beginning, by the entry's id.

    They have its address or its title, and are not from a feed.

    Args:
        posts: `document_id`, `source`, `title` and `url`.
        ids: the posts that count.
    """
    pages: dict[tuple[str, str], list[str]] = defaultdict(list)
    entries: dict[str, tuple[tuple[str, str], ...]] = {}
    for id_, source, title, url in posts.select(
        "document_id", "source", "title", "url"
    ).iter_rows():
        if id_ not in ids:
            continue
        address = re.sub(r"\Ahttps?://|/?(?:index\.html?)?\Z", "", url)
        keys = tuple((kind, key) for kind, key in (("url", address), ("title", title)) if key)
        if source == feed.NAME:
            entries[id_] = keys
        else:
            for key in keys:
                pages[key].append(id_)
    candidates = {
        id_: list(dict.fromkeys(page for key in keys for page in pages.get(key, ())))
        for id_, keys in entries.items()
    }
    return {id_: found for id_, found in candidates.items() if found}
