"""Remove lines that are not part of the post: a platform's buttons, and an author's repeated lines.

Scope: finding these lines, and a text without them. Out of scope: HTML outside the main text
(`html_cleaning`), reading all posts (`cleaning_verdicts`).

A repeated line is in at least five posts and in one in two hundred of the author's. Copies of one
post repeat all their lines, so only posts with at least a quarter of their own words count. A
repeated line is removed at the beginning and the end of a post, where boilerplate occurs. A
sentence of eight words or more is removed anywhere, since nobody writes one five times. Code,
tables and headings are never removed.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Iterator

import polars as pl

from twin_assets.corpus.code_blocks import prose_lines
from twin_assets.corpus.shingles import words_of

MIN_POSTS = 5
MIN_SHARE = 0.005
FEW_WORDS = 4
"""A shorter line ("Enjoy!") may be the author's style: it must be in a fiftieth of the posts."""
SHORT_LINE_SHARE = 0.02
LONG_LINE = 8
OWN_SHARE = 0.25
"""A post with a smaller share of words in its own lines is a copy: a similarity of about .65."""
AT_THE_BEGINNING, AT_THE_END = 2, 3
"""Lines at either end of a post that may be boilerplate; when one is removed, the next takes its
place."""
MAX_LINES = 200
"""Maximum number of a post's lines compared with other posts, half from either end."""

_MARKS = re.compile(r"^[\s>*_~#+-]+|[\s*_~#]+$")
_HEADING = re.compile(r" {0,3}#{1,6} ")
_ITEM = re.compile(r"\s*(?:[-+*]|\d{1,9}[.)]) ")
_EMPTY_LINES = re.compile(r"\n{3,}")

# Whole lines, in lower case and without punctuation. A word that an author may write on a separate
# line ("About", "Help", "Related") is not listed; such lines are found by their repetition.
_PLATFORM = re.compile(
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


def without_platform_lines(text: str) -> str:
    """Return Markdown without a platform's known buttons and notices."""
    return _without(text, {place for place, line in prose_lines(text) if is_platform_line(line)})


def is_platform_line(line: str) -> bool:
    """Return whether a whole line is a button or notice; a word in a list is the author's."""
    if len(line) > 500 or "|" in line[:1]:
        return False
    bare = " ".join(_MARKS.sub("", line).lower().split())
    if not bare or (_ITEM.match(line) and " " not in bare):
        return False
    return bool(_PLATFORM.fullmatch(bare))


def line_numbers(text: str) -> list[int]:
    """Return a number for each line that may be boilerplate, in order: equal for equal words.

    Figures are words. When all figures were equal, the lines "5 km in 31 minutes" of different days
    were removed as one line.
    """
    numbers = [number for _, number in _numbered(text)]
    half = MAX_LINES // 2
    return numbers if len(numbers) <= MAX_LINES else numbers[:half] + numbers[-half:]


def repeated_lines(lines: pl.Series) -> pl.Series:
    """Return the lines that repeat over all posts of an author, in order.

    Args:
        lines: the `line_numbers` of each post.
    """
    least = max(MIN_POSTS, math.ceil(MIN_SHARE * lines.len()))
    least_short = max(2 * MIN_POSTS, math.ceil(SHORT_LINE_SHARE * lines.len()))
    needed = pl.when(_words(pl.col("line")) < FEW_WORDS).then(least_short).otherwise(least)
    held = (
        pl.DataFrame({"line": lines}, schema={"line": pl.List(pl.Int64)})
        .with_row_index("post")
        .explode("line", empty_as_null=True)
        .drop_nulls("line")
        .unique()
    )
    often = held.group_by("line").len("posts").filter(pl.col("posts") >= needed).select("line")
    if often.is_empty():
        return often["line"]
    words = _words(pl.col("line"))
    own = held.with_columns(own=~pl.col("line").is_in(often["line"].implode())).group_by("post")
    differing = own.agg((words.filter("own").sum() / words.sum()).alias("share")).filter(
        pl.col("share") >= OWN_SHARE
    )
    counted = held.join(differing, on="post", how="semi").group_by("line").len("posts")
    return counted.filter(pl.col("posts") >= needed)["line"].sort()


def without_repeated_lines(text: str, repeated: Collection[int]) -> str:
    """Return Markdown without the repeated lines where they are boilerplate.

    Args:
        repeated: the author's `repeated_lines`, all of them or those in this text.
    """
    if not repeated:
        return text
    left = list(_numbered(text))
    taken = {
        place for place, number in left if number in repeated and number & _MAX_WORDS >= LONG_LINE
    }
    left = [(place, number) for place, number in left if place not in taken]
    for window in (slice(0, AT_THE_BEGINNING), slice(-AT_THE_END, None)):
        while repeated_pairs := [pair for pair in left[window] if pair[1] in repeated]:
            taken.update(place for place, _ in repeated_pairs)
            left = [pair for pair in left if pair not in repeated_pairs]
    return _without(text, taken) if taken else text


# The lowest ten bits of a line's number are its word count, so that counting needs no text.
_MAX_WORDS = (1 << 10) - 1


def _words(number: pl.Expr) -> pl.Expr:
    return number % (_MAX_WORDS + 1)


def _numbered(text: str) -> Iterator[tuple[int, int]]:
    for place, line in prose_lines(text):
        if _HEADING.match(line) or line.lstrip().startswith("|"):
            continue
        words = words_of(line)
        if words:
            digest = hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest()
            # below 2^63, so that Int64 can store it
            number = int.from_bytes(digest, "big") >> 11 << 10
            yield place, number | min(len(words), _MAX_WORDS)


def _without(text: str, places: Collection[int]) -> str:
    """Remove lines from the text, and headings that then have no text below."""
    if not places:
        return text
    lines = [line for place, line in enumerate(text.split("\n")) if place not in places]
    while lines and (not lines[-1].strip() or _HEADING.match(lines[-1])):
        lines.pop()
    return _EMPTY_LINES.sub("\n\n", "\n".join(lines)).strip("\n")
