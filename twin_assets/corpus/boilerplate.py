"""Remove lines that are not part of a post: a platform's buttons and an author's repeated lines.

Scope: finding and removing these lines, and finding pages that only list posts. Out of scope: HTML
outside the main text (`html_cleaning`), reading all posts (`cleaning_verdicts`).

A repeated line occurs in at least five posts and in at least 0.5 % of the author's posts. Copies of
one post repeat all of its lines, so a post counts only if at least a quarter of its words are in
lines of its own. Repeated lines are removed from the beginning and the end of a post, where
boilerplate occurs. A repeated line of eight words or more is removed anywhere. Code, tables and
headings are never removed. A repeated paragraph of forty words or more is the author's prose, such
as the introduction of a series: it stays in the oldest post that has it.

A site's pages of tags, months and categories show the first paragraphs of its posts, which would
make them repeated lines of the posts; such pages are found by their lines and put aside before.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from typing import Any

import polars as pl

from twin_assets.corpus.code_blocks import iter_prose_lines
from twin_assets.corpus.shingles import split_words

MIN_POSTS = 5
MIN_SHARE = 0.005
SHORT_LINE_WORDS = 4
"""A shorter line ("Enjoy!") may be the author's style, so it must occur in 2 % of the posts."""
SHORT_LINE_SHARE = 0.02
LONG_LINE_WORDS = 8
PROSE_WORDS = 40
"""A longer line is a paragraph of prose; notices have one or two sentences."""
MIN_OWN_SHARE = 0.25
"""A post with a smaller share of words in its own lines is a copy (similarity of about 0.65)."""
LEADING_LINES, TRAILING_LINES = 2, 3
"""Number of lines at either end of a post that may be boilerplate. When a line is removed, the next
one counts instead."""
MAX_LINES = 200
"""Maximum number of a post's lines compared with other posts, half from each end."""
MIN_LISTED_SHARE = 2 / 3
"""A page is a list of posts if this share of its words is in the long lines of at least
`MIN_LISTED_POSTS` other posts, each of which has other lines of the page than the rest."""
MIN_LISTED_POSTS = 3
_MAX_HOLDERS = 50  # a line in more posts is a notice; of such lines, no comparison is needed

_LINE_MARKUP = re.compile(r"^[\s>*_~#+-]+|[\s*_~#]+$")
_HEADING = re.compile(r" {0,3}#{1,6} ")
_LIST_ITEM = re.compile(r"\s*(?:[-+*]|\d{1,9}[.)]) ")
_EMPTY_LINES = re.compile(r"\n{3,}")

# These patterns match whole lines in lower case. Words that an author may write on a separate line
# ("About", "Help", "Related") are not listed; repetition reveals such lines.
_PLATFORM_LINE = re.compile(
    r"""
      open\ in\ app | (?:sign\ (?:up|in)(?:\ |$)){1,4} | sign\ (?:up|in)\ with\ \w+
    | member-only\ story | \d+\ min(?:ute)?s?\ read(?:\W.{0,40})?
    | get\ unlimited\ access | recommended\ from\ medium | text\ to\ speech
    | (?:see\ )?(?:all\ )?responses\ \(\d+\) | \d+(?:\.\d+)?k?\ (?:followers|claps)
    | (?:listen|share|follow|subscribe|comment|like)(?:[\s|·•/]+(?:listen|share|follow|save|more
        |subscribe|comment|like|repost|send|copy\ link))*
    | subscribe\ (?:now|for\ free|today)\W? | (?:already\ a\ subscriber\W+)?upgrade\ to\ paid
    | type\ your\ email.{0,3} | leave\ a\ (?:comment|reply)\W? | give\ a\ gift\ subscription
    | refer\ a\ friend | share\ this(?:\ (?:post|article|story))?\W? | read\ in\ (?:the\ )?app
    | get\ more\ from\ .{1,80}\ in\ the\ substack\ app.{0,80}
    | thanks\ for\ reading\b.{0,80}\bsubscribe\b.{0,160}
    | .{0,120}\bis\ a\ reader-supported\ publication\b.{0,200}
    | this\ (?:post|episode)\ is\ (?:public\ so\ feel\ free\ to\ share\ it
        |(?:only\ )?for\ paid\ subscribers)\W?
    | .{0,60}to\ receive\ new\ posts\ and\ support\ my\ work.{0,120}
    | (?:report\ this\ post|view\ profile|see\ more|…\s?see\ more)
    | like\ this:?(?:\ like\ loading\W*)? | like\ loading\W* | loading(?:\.\.\.|…)
    | click\ to\ (?:share|email|print)\b.{0,80}\(opens\ in\ new\ window\).{0,80}
    | the\ post\ .{1,200}\ (?:first\ appeared|appeared\ first)\ on\ .{1,100}
    | (?:this\ (?:post|article|story)\ )?(?:was\ )?originally\ (?:published|posted|appeared)
        \ (?:at|on|in|by)\ .{1,160}
    | (?:continue\ reading|read\ more|read\ the\ full\ (?:post|story|article))\W*
    | powered\ by\ (?:ghost|wordpress|substack|medium|jekyll|hugo)\b.{0,40}
    """,
    re.VERBOSE,
)


def remove_platform_lines(text: str) -> str:
    """Return Markdown without the known buttons and notices of platforms."""
    return _remove_lines(
        text, {index for index, line in iter_prose_lines(text) if is_platform_line(line)}
    )


def is_platform_line(line: str) -> bool:
    """Return whether a line is a button or notice; a one-word list item belongs to the author."""
    if len(line) > 500 or "|" in line[:1]:
        return False
    words = " ".join(_LINE_MARKUP.sub("", line).lower().split())
    if not words or (_LIST_ITEM.match(line) and " " not in words):
        return False
    return bool(_PLATFORM_LINE.fullmatch(words))


def hash_lines(text: str) -> list[int]:
    """Return the hashes of the lines that may be boilerplate, in order; at most `MAX_LINES`.

    Lines with the same words have the same hash. Digits are part of the words: without them, lines
    such as "5 km in 31 minutes" from different days were removed as repetitions.
    """
    hashes = [line_hash for _, line_hash in _hash_prose_lines(text)]
    half = MAX_LINES // 2
    return hashes if len(hashes) <= MAX_LINES else hashes[:half] + hashes[-half:]


def find_repeated_lines(lines: pl.Series) -> pl.Series:
    """Return the hashes of the lines that repeat across an author's posts, sorted.

    Args:
        lines: the `hash_lines` of each post.
    """
    min_posts = max(MIN_POSTS, math.ceil(MIN_SHARE * lines.len()))
    min_posts_short_line = max(2 * MIN_POSTS, math.ceil(SHORT_LINE_SHARE * lines.len()))
    words = pl.col("line") % (_MAX_WORDS + 1)
    required_posts = pl.when(words < SHORT_LINE_WORDS).then(min_posts_short_line)
    is_repeated = pl.len().over("line") >= required_posts.otherwise(min_posts)
    own_words = words.filter(~pl.col("is_repeated")).sum().over("post")
    return (
        pl.DataFrame({"line": lines}, schema={"line": pl.List(pl.Int64)})
        .with_row_index("post")
        .explode("line", empty_as_null=True)
        .drop_nulls("line")
        .unique()
        .with_columns(is_repeated=is_repeated)
        .filter(own_words >= MIN_OWN_SHARE * words.sum().over("post"))
        .filter(is_repeated)["line"]
        .unique()
        .sort()
    )


def find_lists_of_posts(posts: pl.DataFrame) -> set[str]:
    """Return the `document_id` of each page that only lists other posts, by their paragraphs.

    A post's paragraphs are in several lists too, but each of these has most of what it shares with
    the post, or none of it. A list shares other paragraphs with each of its posts. Lists are put
    aside from the longest on, and what is put aside counts no longer as a place of its text.

    Args:
        posts: `document_id` and `lines`, the `hash_lines` of each post.
    """
    words = pl.col("line") % (_MAX_WORDS + 1)
    holders = pl.len().over("line")
    lines = (
        posts.select("document_id", line="lines")
        .explode("line", empty_as_null=True)
        .drop_nulls()
        .unique()
        .with_columns(words=words, is_shared=holders.is_between(2, _MAX_HOLDERS))
        .with_columns(is_shared=pl.col("is_shared") & (words >= LONG_LINE_WORDS))
    )
    shared_words = words.filter(pl.col("is_shared")).sum()
    candidates = (
        lines.group_by("document_id")
        .agg(total=words.sum(), shared=shared_words, count=pl.col("is_shared").sum())
        .filter(
            pl.col("shared") >= MIN_LISTED_SHARE * pl.col("total"),
            pl.col("count") >= MIN_LISTED_POSTS,
        )
        .sort("total", "document_id", descending=True)
    )
    if candidates.is_empty():
        return set()
    shared = lines.filter("is_shared").select("document_id", "line")
    holders_by_line: dict[int, list[str]] = defaultdict(list)
    lines_by_holder: dict[str, list[int]] = defaultdict(list)
    for holder, line in shared.sort("document_id", "line").iter_rows():
        holders_by_line[line].append(holder)
        lines_by_holder[holder].append(line)
    lists: set[str] = set()
    for id_, total in candidates.select("document_id", "total").iter_rows():
        parts: dict[str, set[int]] = defaultdict(set)
        for line in lines_by_holder[id_]:
            for holder in holders_by_line[line]:
                if holder != id_ and holder not in lists:
                    parts[holder].add(line)
        sizes = sorted(
            (size, name)
            for name, part in parts.items()
            if 2 * (size := sum(line & _MAX_WORDS for line in part)) < total
        )
        # The smallest parts may be one paragraph of a post, the largest those of another list.
        for order in (sizes, sizes[::-1]):
            covered: set[int] = set()
            count = 0
            for _, name in order:
                if covered.isdisjoint(parts[name]):
                    covered |= parts[name]
                    count += 1
            covered_words = sum(line & _MAX_WORDS for line in covered)
            if count >= MIN_LISTED_POSTS and covered_words >= MIN_LISTED_SHARE * total:
                lists.add(id_)
                break
    return lists


def select_prose(lines: Collection[int]) -> set[int]:
    """Return the hashes of those lines that are long paragraphs."""
    return {line for line in lines if line & _MAX_WORDS >= PROSE_WORDS}


def remove_repeated_lines(text: str, repeated: Collection[int]) -> str:
    """Return Markdown without the repeated lines that are boilerplate by position or length.

    Args:
        repeated: all of the author's `find_repeated_lines`, or only those in this text.
    """
    if not repeated:
        return text
    remaining_lines = list(_hash_prose_lines(text))
    removed_indexes = {
        index
        for index, line_hash in remaining_lines
        if line_hash in repeated and line_hash & _MAX_WORDS >= LONG_LINE_WORDS
    }
    remaining_lines = [
        (index, line_hash) for index, line_hash in remaining_lines if index not in removed_indexes
    ]
    for window in (slice(0, LEADING_LINES), slice(-TRAILING_LINES, None)):
        while repeated_pairs := [pair for pair in remaining_lines[window] if pair[1] in repeated]:
            removed_indexes.update(index for index, _ in repeated_pairs)
            remaining_lines = [pair for pair in remaining_lines if pair not in repeated_pairs]
    return _remove_lines(text, removed_indexes) if removed_indexes else text


def count_removed_lines(documents: pl.DataFrame) -> dict[str, Any]:
    """Return how much of the posts was removed as repeated lines.

    Args:
        documents: `body` and `text` of the kept documents that are shorter than their body.

    Returns:
        `documents`, `words`, and `lines`: the number of documents by removed line, most frequent
        first.
    """
    counts: Counter[str] = Counter()
    for body, text in documents.select("body", "text").iter_rows():
        removed = Counter(str(body).split("\n")) - Counter(str(text).split("\n"))
        counts.update(line.strip() for line in removed.elements())
    del counts[""]
    words = sum(count * len(split_words(line)) for line, count in counts.items())
    return {"documents": documents.height, "words": words, "lines": dict(counts.most_common())}


# The lowest ten bits of a line's hash contain its word count, so counting needs no text.
_MAX_WORDS = (1 << 10) - 1


def _hash_prose_lines(text: str) -> Iterator[tuple[int, int]]:
    for index, line in iter_prose_lines(text):
        if _HEADING.match(line) or line.lstrip().startswith("|"):
            continue
        words = split_words(line)
        if words:
            digest = hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest()
            # The hash stays below 2^63, so that Int64 can store it.
            shifted_hash = int.from_bytes(digest, "big") >> 11 << 10
            yield index, shifted_hash | min(len(words), _MAX_WORDS)


def _remove_lines(text: str, line_indexes: Collection[int]) -> str:
    """Remove the given lines, then any headings left without text at the end."""
    if not line_indexes:
        return text
    lines = [line for index, line in enumerate(text.split("\n")) if index not in line_indexes]
    while lines and (not lines[-1].strip() or _HEADING.match(lines[-1])):
        lines.pop()
    return _EMPTY_LINES.sub("\n\n", "\n".join(lines)).strip("\n")
